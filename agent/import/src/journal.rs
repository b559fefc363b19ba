//! How far a copy is, on the disk beside it.

use std::path::Path;

use nabi_models::atomic_file;
use nabi_models::regular_file;
use nabi_models::{Inspected, SourceFile};
use serde::{Deserialize, Serialize};

use crate::error::ImportError;

/// The journal's file name in the partial folder.
pub(crate) const JOURNAL_NAME: &str = ".journal.json";
/// Largest journal.
const JOURNAL_BYTES_MAX: u64 = 8 << 20;

/// How far each file is.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Journal {
    pub(crate) files: Vec<JournalFile>,
}

/// A file to copy and what is done of it. A source of another path, size or time is another file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JournalFile {
    pub(crate) source: String,
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) mtime_ns: i64,
    pub(crate) state: State,
}

/// What of a file is durably stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Nothing that counts.
    Missing,
    /// A beginning.
    Partial(Checkpoint),
    /// All of it.
    Complete { sha256: String },
}

/// A beginning of a file that is on the disk, with its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Checkpoint {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

impl JournalFile {
    fn new(file: &SourceFile) -> Self {
        Self {
            source: file.path.to_string_lossy().into_owned(),
            name: file.name.clone(),
            bytes: file.bytes,
            mtime_ns: file.mtime_ns,
            state: State::Missing,
        }
    }

    fn is_same_source(&self, other: &Self) -> bool {
        let identity = |file: &Self| (file.source.clone(), file.name.clone(), file.bytes, file.mtime_ns);
        identity(self) == identity(other)
    }

    /// Bytes that need not be copied.
    pub(crate) fn stored_bytes(&self) -> u64 {
        match &self.state {
            State::Missing => 0,
            State::Partial(checkpoint) => checkpoint.bytes,
            State::Complete { .. } => self.bytes,
        }
    }
}

impl Journal {
    /// What is to be done for a source, given what an earlier run did.
    pub(crate) fn plan(inspected: &Inspected, earlier: &Self) -> Self {
        let files = inspected.files.iter().map(JournalFile::new).map(|mut file| {
            if let Some(known) = earlier.files.iter().find(|known| known.is_same_source(&file)) {
                file.state = known.state.clone();
            }
            file
        });
        Self { files: files.collect() }
    }

    /// Reads that of a partial folder. One that is missing or damaged counts for nothing.
    pub(crate) fn read(partial: &Path) -> Self {
        let json = regular_file::read(&partial.join(JOURNAL_NAME), JOURNAL_BYTES_MAX);
        json.ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
    }

    /// Writes it into a partial folder, durably.
    pub(crate) fn write(&self, partial: &Path) -> Result<(), ImportError> {
        let path = partial.join(JOURNAL_NAME);
        let json = serde_json::to_vec(self).map_err(std::io::Error::from);
        let written = json.and_then(|json| atomic_file::write(&path, &json, 0o644));
        written.map_err(|source| ImportError::write(&path, source))
    }

    /// Bytes that are still to be copied.
    pub(crate) fn missing_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes.saturating_sub(file.stored_bytes())).sum()
    }
}

#[cfg(test)]
mod tests {
    use nabi_domain::ModelFormat;

    use super::*;

    fn inspected(mtime_ns: i64) -> Inspected {
        let file = |name: &str, mtime_ns| SourceFile {
            path: Path::new("/stick").join(name),
            name: name.into(),
            bytes: 100,
            mtime_ns,
        };
        Inspected {
            format: ModelFormat::Gguf,
            architecture: "llama".into(),
            parameters: 1,
            quantization: "F32".into(),
            context_tokens: 1,
            shape: None,
            remote_code: false,
            files: vec![file("a", 1), file("b", mtime_ns)],
        }
    }

    #[test]
    fn only_files_whose_source_is_unchanged_are_taken_over() {
        let mut earlier = Journal::plan(&inspected(1), &Journal::default());
        earlier.files[0].state = State::Complete { sha256: "aa".into() };
        earlier.files[1].state = State::Partial(Checkpoint { bytes: 64, sha256: "bb".into() });
        assert_eq!(earlier.missing_bytes(), 36);

        assert_eq!(Journal::plan(&inspected(1), &earlier), earlier);
        let after_change = Journal::plan(&inspected(2), &earlier);
        assert_eq!(after_change.files[0], earlier.files[0]);
        assert_eq!(after_change.files[1].state, State::Missing);
        assert_eq!(after_change.missing_bytes(), 100);
    }

    #[test]
    fn a_damaged_journal_counts_for_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let journal = Journal::plan(&inspected(1), &Journal::default());
        journal.write(folder.path()).expect("writes");
        assert_eq!(Journal::read(folder.path()), journal);
        std::fs::write(folder.path().join(JOURNAL_NAME), b"{\"files\":[").expect("writes");
        assert_eq!(Journal::read(folder.path()), Journal::default());
    }
}
