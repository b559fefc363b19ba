//! What each process wrote to standard error: a file of bounded size, and the one before it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use nabi_wire::log;
use nabi_wire::reply::ProcessLog;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};

/// When a log is this long, it replaces the one before it.
const LOG_BYTES_MAX: u64 = 4 << 20;
/// Longer lines become several.
const LINE_BYTES_MAX: usize = 8 << 10;
/// As much of a log is read for its last lines.
const TAIL_BYTES_MAX: u64 = 4 << 20;

/// One process's log. Where it cannot be opened, each write tries again: a disk that can only be read
/// must not stop the service.
pub(crate) struct Log {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
}

impl Log {
    pub(crate) fn new(folder: &Path, process: &str) -> Self {
        Self { path: folder.join(format!("{process}.log")), file: None, bytes: 0 }
    }

    fn open(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            self.bytes = file.metadata()?.len();
            self.file = Some(file);
        }
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.open()?;
        if self.bytes >= LOG_BYTES_MAX {
            fs::rename(&self.path, self.path.with_extension("log.1"))?;
            self.file = None;
        }
        let written = self.open()?.write(text)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), File::flush)
    }
}

/// Copies a child's standard error into its log until it ends; gives back its last line.
pub(crate) async fn keep(stderr: impl AsyncRead + Unpin, mut file: Log) -> String {
    let mut lines = BufReader::new(stderr);
    let (mut line, mut last) = (Vec::new(), String::new());
    loop {
        line.clear();
        match (&mut lines).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return last,
            Ok(_) => {}
        }
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
        let log = Log::new(folder.path(), "engine-x");
        let long = "y".repeat(LINE_BYTES_MAX * 2 + 1);
        let last = keep(format!("one\n{long}\ntwo\n\n").as_bytes(), log).await;
        assert_eq!(last, "two");
        let tail = tail(folder.path(), Some("engine-x"), 5).expect("tail");
        assert_eq!(tail[0].lines[2..], ["y", "two", ""]);
        assert!(tail[0].lines[..2].iter().all(|line| line.len() == LINE_BYTES_MAX));
    }

    #[tokio::test]
    async fn without_its_folder_a_log_is_read_on_and_kept_when_that_is_there() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let logs = folder.path().join("logs");
        let mut log = Log::new(&logs, "gateway");
        log.write_all(b"lost\n").expect_err("no folder");
        fs::create_dir(&logs).expect("made");
        assert_eq!(keep("kept\n".as_bytes(), log).await, "kept");
        assert_eq!(fs::read_to_string(logs.join("gateway.log")).expect("log"), "kept\n");
    }

    #[test]
    fn a_full_log_makes_room() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut log = Log::new(folder.path(), "gateway");
        for _ in 0..(LOG_BYTES_MAX >> 16) + 1 {
            log.write_all(&[b'x'; 1 << 16]).expect("written");
        }
        assert!(fs::metadata(folder.path().join("gateway.log")).expect("log").len() <= 1 << 16);
        assert!(folder.path().join("gateway.log.1").exists());
    }
}
