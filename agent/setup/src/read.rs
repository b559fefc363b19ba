//! Reading what anyone may have written: a file is opened only as a file, and read to a limit.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::OFlag;

/// Of a folder that anyone may have filled.
const NAMES_MAX: usize = 100;

/// What was found at a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing.
    #[default]
    Absent,
    /// A file; one byte more than its limit if it has more.
    Bytes(Vec<u8>),
    /// Something that is not to be read, and why.
    Unreadable(String),
}

/// Reads a file of at most `bytes_max` bytes.
pub(crate) fn bounded(path: &Path, bytes_max: u64) -> Found {
    match read(path, bytes_max) {
        Ok(bytes) => Found::Bytes(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Absent,
        Err(error) => Found::Unreadable(error.to_string()),
    }
}

/// The names in a folder, sorted; none where it cannot be read.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().take(NAMES_MAX).flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    // A pipe must not hold up the boot, and a link not lead elsewhere.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}
