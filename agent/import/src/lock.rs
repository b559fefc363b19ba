//! One run at a time for each name.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::ImportError;
use crate::places::Places;

/// Held while a name is worked on. The file lies beside the partial folder, not in it, since that
/// folder is renamed while the lock is held.
#[derive(Debug)]
pub(crate) struct NameLock {
    path: PathBuf,
    _file: File,
}

impl NameLock {
    pub(crate) fn acquire(places: &Places) -> Result<Self, ImportError> {
        let path = places.lock.clone();
        let write = |source| ImportError::write(&path, source);
        loop {
            let file =
                OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(write)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path).map_err(write)? => return Ok(Self { path, _file: file }),
                // Its holder removed the file between our opening and our locking it.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(ImportError::Busy { name: places.name.clone() }),
                Err(TryLockError::Error(source)) => return Err(write(source)),
            }
        }
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(there) => Ok(there.ino() == file.metadata()?.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl Drop for NameLock {
    fn drop(&mut self) {
        // A file that stays is locked again by the next run: nothing is lost.
        let _ = fs::remove_file(&self.path);
    }
}
