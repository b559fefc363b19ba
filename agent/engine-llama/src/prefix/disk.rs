//! States in files. Written by a thread of their own, so that no step waits for a disk.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest, Sha256};

type Hash = [u8; 32];

/// A folder of states, empty at the start.
pub(crate) struct Disk {
    folder: PathBuf,
    jobs: Sender<Job>,
    done: Receiver<(u64, io::Result<Hash>)>,
    /// Of what was written. It stays here, so that a file cannot vouch for itself.
    hashes: HashMap<u64, Hash>,
}

enum Job {
    Write(u64, Arc<Vec<u8>>),
    Delete(u64),
}

impl Disk {
    /// Empties the folder and starts the thread.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let doing = || format!("cannot empty {} for saved prefixes", folder.display());
        DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(doing)?;
        for entry in fs::read_dir(folder).with_context(doing)? {
            fs::remove_file(entry.with_context(doing)?.path()).with_context(doing)?;
        }
        let (jobs, todo) = mpsc::channel();
        let (finished, done) = mpsc::channel();
        let to = folder.to_owned();
        let work = move || {
            for job in todo {
                match job {
                    Job::Write(id, bytes) => {
                        let outcome = write(&file(&to, id), &bytes);
                        drop(bytes);
                        // Nobody listens when the engine ends.
                        let _ = finished.send((id, outcome));
                    }
                    // What was not written cannot be deleted.
                    Job::Delete(id) => drop(fs::remove_file(file(&to, id))),
                }
            }
        };
        thread::Builder::new()
            .name("saved".into())
            .spawn(work)
            .context("cannot start the thread that saves prefixes")?;
        Ok(Self { folder: folder.to_owned(), jobs, done, hashes: HashMap::new() })
    }

    /// Begins to write; [`Self::written`] tells how it went.
    pub(crate) fn write(&self, id: u64, bytes: Arc<Vec<u8>>) {
        // The thread lives as long as `self`.
        let _ = self.jobs.send(Job::Write(id, bytes));
    }

    /// Deletes what was written, or is being written.
    pub(crate) fn delete(&mut self, id: u64) {
        self.hashes.remove(&id);
        let _ = self.jobs.send(Job::Delete(id));
    }

    /// The writes that ended since the last call, and whether they succeeded.
    pub(crate) fn written(&mut self) -> Vec<(u64, bool)> {
        let mut ended = Vec::new();
        while let Ok((id, outcome)) = self.done.try_recv() {
            match outcome {
                Ok(hash) => {
                    self.hashes.insert(id, hash);
                    ended.push((id, true));
                }
                Err(error) => {
                    tracing::warn!("cannot save a prefix in {}: {error}", self.folder.display());
                    ended.push((id, false));
                }
            }
        }
        ended
    }

    /// What was written, unless the file has changed.
    pub(crate) fn read(&self, id: u64) -> Result<Vec<u8>> {
        let path = file(&self.folder, id);
        let doing = || format!("cannot read the saved prefix {}", path.display());
        let mut bytes = Vec::new();
        File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)).with_context(doing)?;
        let hash: Hash = Sha256::digest(&bytes).into();
        ensure!(self.hashes.get(&id) == Some(&hash), "the saved prefix {} has changed", path.display());
        Ok(bytes)
    }
}

fn file(folder: &Path, id: u64) -> PathBuf {
    folder.join(format!("{id}.prefix"))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<Hash> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(bytes);
    if written.is_err() {
        // Half a file only takes room.
        fs::remove_file(path)?;
    }
    written.map(|()| Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn written(disk: &mut Disk, id: u64, bytes: &[u8]) -> bool {
        disk.write(id, Arc::new(bytes.to_vec()));
        loop {
            if let Some((_, succeeded)) = disk.written().into_iter().find(|&(ended, _)| ended == id) {
                return succeeded;
            }
            thread::yield_now();
        }
    }

    #[test]
    fn what_was_written_is_read_and_what_has_changed_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("old"), "old").expect("writable");
        let mut disk = Disk::open(folder.path()).expect("a folder that can be emptied");
        assert!(!folder.path().join("old").exists());
        assert!(written(&mut disk, 1, b"state"));
        let path = file(folder.path(), 1);
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
        assert_eq!(disk.read(1).expect("it is whole"), b"state");
        for changed in [&b"stat"[..], b"statf", b"", b"state!"] {
            fs::write(&path, changed).expect("writable");
            assert!(disk.read(1).is_err(), "{changed:?}");
        }
        fs::remove_file(&path).expect("it is there");
        assert!(disk.read(1).is_err());
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_is_no_more_than_a_failed_write() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut disk = Disk::open(folder.path()).expect("a folder that can be emptied");
        fs::remove_dir(folder.path()).expect("it is empty");
        assert!(!written(&mut disk, 1, b"state"));
    }
}
