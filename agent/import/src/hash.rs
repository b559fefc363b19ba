//! SHA-256 of files, with progress.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use sha2::{Digest, Sha256};

use crate::error::ImportError;
use crate::report::Progress;

/// Read and written at once.
pub(crate) const BUFFER_BYTES: usize = 1 << 20;

/// A hash as it stands in manifests.
pub(crate) fn to_hex(hasher: Sha256) -> String {
    hex::encode(hasher.finalize())
}

/// Hashes the first `bytes` bytes of a file; what is missing at its end is missing in the hash.
pub(crate) fn prefix(
    file: &File,
    path: &Path,
    bytes: u64,
    progress: &mut Progress<'_, impl Write>,
) -> Result<Sha256, ImportError> {
    let mut hasher = Sha256::new();
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    let mut left = bytes;
    while left > 0 {
        buffer.clear();
        let read = file.take(left.min(BUFFER_BYTES as u64)).read_to_end(&mut buffer);
        let read = read.map_err(|source| ImportError::read(path, source))? as u64;
        if read == 0 {
            break;
        }
        hasher.update(&buffer);
        progress.add(read)?;
        left -= read;
    }
    release_cache(file);
    Ok(hasher)
}

/// Gives a file's pages back: a model that is read once must not displace the weights that an
/// engine serves from the page cache. Only advice, so a failure is no fault.
pub(crate) fn release_cache(file: &File) {
    let _ = posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
}
