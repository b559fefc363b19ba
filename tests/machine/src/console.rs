//! What a machine writes to its serial line.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::Path;
use std::sync::LazyLock;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use regex::Regex;

/// A machine that writes without end of line must not fill the memory.
const LINE_BYTES_MAX: u64 = 4096;
/// Of the screen, in the message of a wait that failed.
const TAIL_LINES: usize = 60;

/// The reader's end comes at once when the machine's does; the limit only ends a hang.
const LAST_WORDS_S_MAX: u64 = 10;

/// A line, and when its end came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Since the machine was switched on.
    pub at: Duration,
    /// Without escape sequences.
    pub text: String,
}

/// All that the serial line brought so far.
#[derive(Debug)]
pub struct Console {
    incoming: Receiver<Line>,
    lines: Vec<Line>,
}

impl Console {
    /// Reads a serial line to its end in a thread, into a file too.
    pub(crate) fn read(serial: impl Read + Send + 'static, log: &Path) -> Result<Self> {
        let log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let (told, incoming) = mpsc::channel();
        let started = Instant::now();
        std::thread::spawn(move || {
            lines(serial, |text| {
                let line = Line { at: started.elapsed(), text };
                // The machine goes on without its log: a full disk shows elsewhere.
                let _ = writeln!(&log, "{:9.3} {}", line.at.as_secs_f64(), line.text);
                told.send(line).is_ok()
            });
        });
        Ok(Self { incoming, lines: Vec::new() })
    }

    /// The lines so far.
    pub fn lines(&mut self) -> &[Line] {
        self.lines.extend(self.incoming.try_iter());
        &self.lines
    }

    /// Waits until a line from number `from` on matches, and gives its number.
    ///
    /// # Errors
    /// When none does within the limit, or the line ends: with the last lines.
    pub fn wait_for(&mut self, pattern: &str, from: usize, limit: Duration) -> Result<usize> {
        let regex = Regex::new(pattern).with_context(|| format!("{pattern} is no regular expression"))?;
        let deadline = Instant::now() + limit;
        let mut next = from;
        loop {
            while let Some(line) = self.lines.get(next) {
                if regex.is_match(&line.text) {
                    return Ok(next);
                }
                next += 1;
            }
            match self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.lines.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("no line like {pattern:?} within {limit:?}. {}", self.tail())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("the machine ended without a line like {pattern:?}. {}", self.tail())
                }
            }
        }
    }

    /// A line that [`Console::wait_for`] found.
    ///
    /// # Panics
    /// When it was not.
    pub fn line(&self, number: usize) -> &Line {
        &self.lines[number]
    }

    /// The last lines of a machine that has ended: all that it still said is among them.
    pub(crate) fn last_words(&mut self) -> String {
        let deadline = Instant::now() + Duration::from_secs(LAST_WORDS_S_MAX);
        while let Ok(line) = self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.lines.push(line);
        }
        self.tail()
    }

    /// The last lines, for a message.
    pub fn tail(&mut self) -> String {
        let lines = self.lines();
        let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        let last = last.iter().map(|line| format!("\n{:9.3} {}", line.at.as_secs_f64(), line.text));
        format!("The screen's last lines:{}", last.collect::<String>())
    }
}

/// Gives each line until the end, or until nobody wants more.
fn lines(serial: impl Read, mut give: impl FnMut(String) -> bool) {
    let mut serial = BufReader::new(serial);
    loop {
        let mut bytes = Vec::new();
        match serial.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes) {
            Ok(read) if read > 0 => {}
            _ => return,
        }
        if !give(plain(&bytes)) {
            return;
        }
    }
}

/// Text as a person sees it: no escape sequences, no control characters.
fn plain(bytes: &[u8]) -> String {
    static ESCAPES: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[^\[\]])").expect("it is one")
    });
    let text = String::from_utf8_lossy(bytes);
    let text = ESCAPES.replace_all(&text, "");
    text.chars().filter(|character| !character.is_control() || *character == '\t').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_HANG: Duration = Duration::from_secs(60);

    fn console(serial: &'static str) -> (Console, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let console = Console::read(serial.as_bytes(), &folder.path().join("log")).expect("a log");
        (console, folder)
    }

    #[test]
    fn lines_are_plain_and_kept_and_found_from_a_line_on() {
        let (mut console, folder) =
            console("\x1b[2J\x1b[01;01HBdsDxe\r\n[\x1b[0;32m  OK  \x1b[0m] Reached\r\nBdsDxe\nend");
        assert_eq!(console.wait_for("^BdsDxe$", 0, NO_HANG).expect("it came"), 0);
        assert_eq!(console.wait_for("^BdsDxe$", 1, NO_HANG).expect("it came again"), 2);
        assert_eq!(console.wait_for(r"\[  OK  \]", 0, NO_HANG).expect("it came before"), 1);
        let missing = console.wait_for("login", 0, NO_HANG).expect_err("it never came").to_string();
        assert!(missing.contains("ended without") && missing.ends_with(" end"), "{missing}");
        let log = std::fs::read_to_string(folder.path().join("log")).expect("a log");
        assert_eq!(log.lines().count(), 4);
        assert!(log.lines().nth(1).is_some_and(|line| line.ends_with(" [  OK  ] Reached")), "{log}");
    }

    #[test]
    fn a_wait_ends_at_its_limit() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let folder = tempfile::tempdir().expect("a folder");
        let mut console = Console::read(reader, &folder.path().join("log")).expect("a log");
        let error = console.wait_for("x", 0, Duration::ZERO).expect_err("nothing came").to_string();
        assert!(error.contains("within 0ns"), "{error}");
        drop(writer);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let endless = std::io::repeat(b'x').take(LINE_BYTES_MAX + 1);
        let mut lengths = Vec::new();
        lines(endless, |line| {
            lengths.push(line.len() as u64);
            true
        });
        assert_eq!(lengths, [LINE_BYTES_MAX, 1]);
    }
}
