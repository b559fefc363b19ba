//! Another disk of Nabi's in the machine: an older one that somebody left in, or a stick that is named so.

use std::fs;

use anyhow::{Result, ensure};
use nabi_machine::Setup;

use crate::lab::{self, Lab};

/// By USB, it is found last, and takes all names that go by labels alone.
#[test]
fn another_nabis_disk_is_neither_used_nor_written() -> Result<()> {
    let lab = Lab::new("two-disks")?;
    let other = lab.computer(lab.flash(lab::site())?)?;
    let mut used = lab::serving(&other, &lab.operator(&other)?, &Setup::default())?;
    used.machine.wait_for(lab::KEPT)?;
    used.machine.power_off()?;
    let written = || fs::metadata(other.disk().path()).and_then(|disk| disk.modified());
    let before = written()?;

    let (computer, operator) = lab.settled_computer()?;
    let mut machine = computer.boot(&Setup::default())?;
    let stick = machine.plug(other.disk().path())?;
    let mut serving = lab::answering(machine, &computer, &operator)?;
    ensure!(serving.machine.bytes_read(&stick)? > 0, "the machine has not looked at the other disk");
    ensure!(serving.ca != used.ca, "it took the other disk's state");
    lab::check_answers(&mut serving, &operator)?;
    serving.machine.power_off()?;
    ensure!(written()? == before, "the other disk was written to");
    Ok(())
}
