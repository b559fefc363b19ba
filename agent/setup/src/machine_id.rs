//! The number by which systemd knows this machine: journals, a bond's address and DHCP go by it. PID 1
//! draws one at each start unless it finds one in this file, which outlives a start and a version.

use std::fs;
use std::io;

use nabi_models::atomic_file;

use crate::places::Places;

/// Hexadecimal digits of a number.
const DIGITS: usize = 32;

/// Keeps the number of this start, if none was kept before.
pub(crate) fn keep(places: &Places) -> io::Result<()> {
    let path = places.kept_machine_id();
    if path.try_exists()? {
        return Ok(());
    }
    let id = fs::read_to_string(places.machine_id())?;
    if id.trim_end().len() != DIGITS || !id.trim_end().bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(io::Error::other(format!("{:?} is no machine ID", id.trim_end())));
    }
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    atomic_file::write(&path, id.as_bytes(), 0o444)
}
