//! Whether a copy fits on the disk.

use std::fmt;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::error::ImportError;

/// Left free for journals, manifests and what other processes write meanwhile.
const RESERVE_BYTES: u64 = 16 << 20;

/// Refuses a copy of `needed` bytes that would not fit.
pub(crate) fn check(store: &Path, needed: u64) -> Result<(), ImportError> {
    let stat = statvfs(store).map_err(|errno| ImportError::read(store, errno.into()))?;
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    let needed = needed.saturating_add(RESERVE_BYTES);
    if needed <= free {
        return Ok(());
    }
    Err(ImportError::NoSpace { store: store.to_owned(), needed: Size(needed), free: Size(free) })
}

/// A size as people write it, and exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scaled = |unit: f64| self.0 as f64 / unit;
        match self.0 {
            0..1_000_000 => write!(f, "{} bytes", self.0),
            1_000_000..1_000_000_000 => write!(f, "{:.1} MB ({} bytes)", scaled(1e6), self.0),
            _ => write!(f, "{:.1} GB ({} bytes)", scaled(1e9), self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable_and_exact() {
        let shown = [999_999, 25_000_000, 712_345_678_901].map(|bytes| Size(bytes).to_string());
        assert_eq!(shown, ["999999 bytes", "25.0 MB (25000000 bytes)", "712.3 GB (712345678901 bytes)"]);
    }
}
