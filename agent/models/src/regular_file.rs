//! Opens what is a regular file and nothing else: no link, no pipe that blocks, no device.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;

/// Why a file could not be opened or read whole.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("{path:?} could not be read")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A link inside a folder could lead anywhere.
    #[error("{path:?} is a symbolic link: copy the model with its links resolved (cp -rL) and import that")]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// A folder, a pipe, a device, a socket.
    #[error("{path:?} is not a regular file")]
    NotRegular {
        /// What was to be opened.
        path: PathBuf,
    },
    /// Larger than its reader takes.
    #[error("{path:?} has {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
}

/// Opens a file that is regular and no link.
pub fn open(path: &Path) -> Result<(File, Metadata), FileError> {
    // Without O_NONBLOCK, opening a pipe would wait for its writer.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path);
    let file = opened.map_err(|source| match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ELOOP) => FileError::Link { path: path.to_owned() },
        Some(Errno::ENXIO) => FileError::NotRegular { path: path.to_owned() },
        _ => FileError::Io { path: path.to_owned(), source },
    })?;
    let metadata = file.metadata().map_err(|source| FileError::Io { path: path.to_owned(), source })?;
    if metadata.is_file() {
        Ok((file, metadata))
    } else {
        Err(FileError::NotRegular { path: path.to_owned() })
    }
}

/// Reads a regular file of at most `max` bytes.
pub fn read(path: &Path, max: u64) -> Result<Vec<u8>, FileError> {
    let (file, metadata) = open(path)?;
    let too_large = |bytes| FileError::TooLarge { path: path.to_owned(), bytes, max };
    if metadata.len() > max {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::new();
    // One more than allowed shows a file that grew meanwhile.
    let read = file.take(max + 1).read_to_end(&mut bytes);
    read.map_err(|source| FileError::Io { path: path.to_owned(), source })?;
    if bytes.len() as u64 > max { Err(too_large(bytes.len() as u64)) } else { Ok(bytes) }
}

/// When a file's content was last changed, in nanoseconds since 1970.
pub fn mtime_ns(metadata: &Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}
