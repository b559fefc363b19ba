//! What each process wrote to standard error: a file of bounded size, and the one before it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use nabi_wire::log;
use nabi_wire::reply::ProcessLog;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

/// When a log is this long, it replaces the one before it.
const LOG_BYTES_MAX: u64 = 4 << 20;
/// Longer lines are cut.
const LINE_BYTES_MAX: usize = 8 << 10;
/// As much of a log is read for its last lines.
const TAIL_BYTES_MAX: u64 = 4 << 20;

/// One process's log.
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Log {
    pub(crate) fn open(folder: &Path, process: &str) -> io::Result<Self> {
        let path = folder.join(format!("{process}.log"));
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path, file, bytes })
    }

    fn rotate(&mut self) -> io::Result<()> {
        fs::rename(&self.path, self.path.with_extension("log.1"))?;
        self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        self.bytes = 0;
        Ok(())
    }
}

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if self.bytes >= LOG_BYTES_MAX {
            self.rotate()?;
        }
        let written = self.file.write(text)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Copies a child's standard error into its log until it ends; gives back its last line.
pub(crate) async fn keep(stderr: impl AsyncRead + Unpin, mut file: Log) -> String {
    let mut lines = BufReader::new(stderr);
    let (mut line, mut last) = (Vec::new(), String::new());
    loop {
        line.clear();
        match lines.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return last,
            Ok(_) => {}
        }
        line.truncate(LINE_BYTES_MAX);
        if !line.ends_with(b"\n") {
            line.push(b'\n');
        }
        // A full disk must not stop the service.
        let _ = file.write_all(&line);
        let text = String::from_utf8_lossy(&line);
        if !text.trim().is_empty() {
            last = log::message(text.trim());
        }
    }
}

/// The last lines of one process, or of all.
pub(crate) fn tail(folder: &Path, process: Option<&str>, lines_max: u32) -> io::Result<Vec<ProcessLog>> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".log"));
        if let Some(name) = name.filter(|&name| process.is_none_or(|wanted| wanted == name)) {
            logs.push(ProcessLog { process: name.to_owned(), lines: last_lines(&path, lines_max)? });
        }
    }
    logs.sort_by(|a, b| a.process.cmp(&b.process));
    Ok(logs)
}

fn last_lines(path: &Path, lines_max: u32) -> io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let begin = file.metadata()?.len().saturating_sub(TAIL_BYTES_MAX);
    file.seek(SeekFrom::Start(begin))?;
    let mut text = Vec::new();
    file.take(TAIL_BYTES_MAX).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(lines_max as usize);
    Ok(lines[first..].iter().map(|&line| line.to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_log_keeps_lines_in_bounds_and_tells_the_last_ones() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let log = Log::open(folder.path(), "engine-x").expect("log");
        let long = "y".repeat(LINE_BYTES_MAX * 2);
        let last = keep(format!("one\n{long}\ntwo\n\n").as_bytes(), log).await;
        assert_eq!(last, "two");
        let tail = tail(folder.path(), Some("engine-x"), 3).expect("tail");
        assert_eq!(tail[0].lines[1..], ["two", ""]);
        assert_eq!(tail[0].lines[0].len(), LINE_BYTES_MAX);
    }

    #[test]
    fn a_full_log_makes_room() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut log = Log::open(folder.path(), "gateway").expect("log");
        for _ in 0..(LOG_BYTES_MAX >> 16) + 1 {
            log.write_all(&[b'x'; 1 << 16]).expect("written");
        }
        assert!(fs::metadata(folder.path().join("gateway.log")).expect("log").len() <= 1 << 16);
        assert!(folder.path().join("gateway.log.1").exists());
    }
}
