//! Events to the supervisor.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use nabi_wire::frame;
use nabi_wire::import::ImportEvent;

use crate::error::ImportError;

/// Least time between two progress events.
const PROGRESS_INTERVAL_MS: u64 = 100;

/// Writes events, progress not too often.
#[derive(Debug)]
pub(crate) struct Reporter<W> {
    out: W,
    last: Option<Instant>,
}

impl<W: Write> Reporter<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, last: None }
    }

    pub(crate) fn event(&mut self, event: &ImportEvent) -> io::Result<()> {
        frame::write(&mut self.out, event)
    }

    /// Counts bytes towards a total.
    pub(crate) fn progress(&mut self, total_bytes: u64) -> Progress<'_, W> {
        Progress { reporter: self, file: String::new(), begun_bytes: 0, done_bytes: 0, total_bytes }
    }
}

/// How far a run is.
#[derive(Debug)]
pub(crate) struct Progress<'a, W> {
    reporter: &'a mut Reporter<W>,
    file: String,
    begun_bytes: u64,
    done_bytes: u64,
    total_bytes: u64,
}

impl<W: Write> Progress<'_, W> {
    /// Begins a file, at what is done of all.
    pub(crate) fn begin(&mut self, file: &str, done_bytes: u64) {
        file.clone_into(&mut self.file);
        self.begun_bytes = done_bytes;
        self.done_bytes = done_bytes;
    }

    /// Takes back what was counted of this file: it was in vain.
    pub(crate) fn restart(&mut self) {
        self.done_bytes = self.begun_bytes;
    }

    /// Counts bytes, and tells the supervisor if it is time.
    pub(crate) fn add(&mut self, bytes: u64) -> Result<(), ImportError> {
        self.done_bytes += bytes;
        let interval = Duration::from_millis(PROGRESS_INTERVAL_MS);
        let due = self.reporter.last.is_none_or(|last| last.elapsed() >= interval);
        if !due && self.done_bytes < self.total_bytes {
            return Ok(());
        }
        self.reporter.last = Some(Instant::now());
        let event = ImportEvent::Progress {
            file: self.file.clone(),
            done_bytes: self.done_bytes,
            total_bytes: self.total_bytes,
        };
        self.reporter.event(&event).map_err(ImportError::Supervisor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_rare_but_its_first_and_last_are_told() {
        let mut reporter = Reporter::new(Vec::new());
        let mut progress = reporter.progress(1000);
        progress.begin("a", 0);
        for _ in 0..1000 {
            progress.add(1).expect("writes to memory");
        }
        let event_bytes = 4 + 1 + 2 + 1 + 2;
        let events = reporter.out.len() / event_bytes;
        assert!((2..=4).contains(&events), "{events}");
        assert!(reporter.out.ends_with(&[0xe8, 0x07, 0xe8, 0x07]), "1000 of 1000");
    }
}
