//! Small files of the system that are shown to a person.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Of a file, so much is read.
const FILE_BYTES_MAX: u64 = 16 << 10;

/// The beginning of a file, if there is one.
pub(crate) fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
