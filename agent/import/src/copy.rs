//! Copies one file so that a kill or a power cut loses at most [`CHECKPOINT_BYTES`] of work.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nabi_models::regular_file;
use nix::fcntl::OFlag;
use sha2::{Digest, Sha256};

use crate::error::ImportError;
use crate::hash::{self, BUFFER_BYTES};
use crate::journal::{Checkpoint, JournalFile, State};
use crate::report::Progress;

/// Copied between two checkpoints.
pub(crate) const CHECKPOINT_BYTES: u64 = 64 << 20;

/// A copy in work: all before `at` is in the target, and in the hash.
struct Copy {
    source: File,
    source_path: PathBuf,
    target: File,
    target_path: PathBuf,
    hasher: Sha256,
    at: u64,
}

/// Copies `file` into the folder `partial`, or what is missing of it, and returns its SHA-256.
/// `checkpoint` is called when a beginning is durable.
pub(crate) fn copy(
    file: &JournalFile,
    partial: &Path,
    progress: &mut Progress<'_, impl Write>,
    mut checkpoint: impl FnMut(Checkpoint) -> Result<(), ImportError>,
) -> Result<String, ImportError> {
    let mut copy = Copy::begin(file, partial, progress)?;
    let mut next_checkpoint = copy.at + CHECKPOINT_BYTES;
    let mut buffer = vec![0; BUFFER_BYTES];
    while copy.at < file.bytes {
        let wanted = (file.bytes - copy.at).min(BUFFER_BYTES as u64) as usize;
        copy.step(&mut buffer[..wanted])?;
        progress.add(wanted as u64)?;
        if copy.at >= next_checkpoint {
            checkpoint(copy.checkpoint()?)?;
            next_checkpoint = copy.at + CHECKPOINT_BYTES;
        }
    }
    copy.finish(file)
}

impl Copy {
    fn begin(
        file: &JournalFile,
        partial: &Path,
        progress: &mut Progress<'_, impl Write>,
    ) -> Result<Self, ImportError> {
        let source_path = PathBuf::from(&file.source);
        let (source, _) = regular_file::open(&source_path)?;
        let target_path = partial.join(&file.name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).custom_flags(OFlag::O_NOFOLLOW.bits());
        let opened = options.open(&target_path);
        let target = opened.map_err(|source| ImportError::write(&target_path, source))?;
        let mut copy = Self { source, source_path, target, target_path, hasher: Sha256::new(), at: 0 };
        copy.check_source(file)?;
        if let State::Partial(checkpoint) = &file.state {
            copy.resume(checkpoint, progress)?;
        }
        copy.align().map_err(|source| ImportError::write(&copy.target_path, source))?;
        Ok(copy)
    }

    /// Takes over what a checkpoint promises, if the disk still holds it.
    fn resume(
        &mut self,
        checkpoint: &Checkpoint,
        progress: &mut Progress<'_, impl Write>,
    ) -> Result<(), ImportError> {
        let hasher = hash::prefix(&self.target, &self.target_path, checkpoint.bytes, progress)?;
        let name = self.target_path.display();
        if hash::to_hex(hasher.clone()) == checkpoint.sha256 {
            tracing::info!("{name}: goes on after {} bytes", checkpoint.bytes);
            self.hasher = hasher;
            self.at = checkpoint.bytes;
        } else {
            tracing::warn!("{name}: does not match its checkpoint, is copied anew");
            progress.restart();
        }
        Ok(())
    }

    /// Cuts the target to what is proven and puts both files there.
    fn align(&mut self) -> io::Result<()> {
        self.target.set_len(self.at)?;
        self.target.seek(SeekFrom::Start(self.at))?;
        self.source.seek(SeekFrom::Start(self.at))?;
        Ok(())
    }

    fn step(&mut self, buffer: &mut [u8]) -> Result<(), ImportError> {
        self.source.read_exact(buffer).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => ImportError::SourceChanged { path: self.source_path.clone() },
            _ => ImportError::read(&self.source_path, source),
        })?;
        let written = self.target.write_all(buffer);
        written.map_err(|source| ImportError::write(&self.target_path, source))?;
        self.hasher.update(&*buffer);
        self.at += buffer.len() as u64;
        Ok(())
    }

    fn checkpoint(&self) -> Result<Checkpoint, ImportError> {
        self.target.sync_data().map_err(|source| ImportError::write(&self.target_path, source))?;
        hash::release_cache(&self.source);
        hash::release_cache(&self.target);
        Ok(Checkpoint { bytes: self.at, sha256: hash::to_hex(self.hasher.clone()) })
    }

    fn check_source(&self, file: &JournalFile) -> Result<(), ImportError> {
        let metadata = self.source.metadata();
        let metadata = metadata.map_err(|source| ImportError::read(&self.source_path, source))?;
        if (metadata.len(), regular_file::mtime_ns(&metadata)) == (file.bytes, file.mtime_ns) {
            Ok(())
        } else {
            Err(ImportError::SourceChanged { path: self.source_path.clone() })
        }
    }

    fn finish(self, file: &JournalFile) -> Result<String, ImportError> {
        self.check_source(file)?;
        self.target.sync_all().map_err(|source| ImportError::write(&self.target_path, source))?;
        hash::release_cache(&self.source);
        hash::release_cache(&self.target);
        Ok(hash::to_hex(self.hasher))
    }
}
