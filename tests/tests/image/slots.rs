//! A second slot: kept when it serves, left when it does not.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nabi_machine::{BOOT_S_MAX, Computer, FIRMWARE_STARTS, Setup, on_esp, with_more_arguments};

use crate::lab::{self, Lab};

const KERNELS: &str = "/EFI/Linux";
/// A version above all others, with the tries that an update gives.
const NEW: &str = "nabi_99.0.0+3.efi";
pub(crate) const GOOD: &str = "nabi_99.0.0.efi";
const BAD: &str = "nabi_99.0.0+0-3.efi";
/// The same after one more start.
const USED_UP: &str = "nabi_99.0.0+0-4.efi";
const TRIES: usize = 3;
/// Marks a kernel whose machine is to come to nothing: see [`doing`].
const HANG: &str = "nabi.test-hang";

/// Puts a second kernel image beside the one that is there, with more arguments.
pub(crate) fn add_slot(computer: &Computer, lab: &Lab, arguments: &str) -> Result<()> {
    let file = lab.file("uki.efi");
    on_esp(computer.disk(), |esp| {
        let kernels = esp.list(KERNELS)?;
        let [old] = &kernels[..] else { anyhow::bail!("not one kernel image: {kernels:?}") };
        ensure!(!old.contains('+'), "the first boot did not mark its own slot good: {old}");
        esp.read(&format!("{KERNELS}/{old}"), &file)?;
        fs::write(&file, with_more_arguments(fs::read(&file)?, arguments)?)?;
        esp.write(&file, &format!("{KERNELS}/{NEW}"))
    })
}

pub(crate) fn kernels(computer: &Computer) -> Result<Vec<String>> {
    on_esp(computer.disk(), |esp| esp.list(KERNELS))
}

/// Boots a machine with such a slot: it tries it as often as it may, then serves with the old one.
fn falls_back(story: &str, arguments: &str, setup: &Setup) -> Result<()> {
    let lab = Lab::new(story)?;
    let (computer, operator) = lab.settled_computer()?;
    add_slot(&computer, &lab, arguments)?;
    let mut machine = computer.boot(setup)?;
    let mut from = 0;
    for boot in 0..=TRIES {
        let found = machine.console().wait_for(FIRMWARE_STARTS, from, Duration::from_secs(BOOT_S_MAX));
        from = found.with_context(|| format!("boot {boot} of {TRIES} tries and a fall back"))? + 1;
    }
    let mut serving = lab::answering(machine, &computer, &operator)?;
    lab::check_answers(&mut serving, &operator)?;
    serving.machine.power_off()?;
    let kernels = kernels(&computer)?;
    ensure!(kernels.iter().any(|kernel| kernel == BAD), "after {TRIES} tries there are {kernels:?}");
    Ok(())
}

/// Starting again would only keep the operator from mending it; and a start that serves is kept even so.
#[test]
fn with_nothing_to_go_back_to_a_slot_that_does_not_serve_stays_up() -> Result<()> {
    let lab = Lab::new("slot-last")?;
    let (computer, operator) = lab.settled_computer()?;
    let good = lab.file("good.efi");
    let bad = lab.file("bad.efi");
    on_esp(computer.disk(), |esp| {
        let kernels = esp.list(KERNELS)?;
        let [only] = &kernels[..] else { anyhow::bail!("not one kernel image: {kernels:?}") };
        esp.read(&format!("{KERNELS}/{only}"), &good)?;
        fs::write(&bad, with_more_arguments(fs::read(&good)?, "systemd.mask=nabi-gateway.service")?)?;
        esp.remove(&format!("{KERNELS}/{only}"))?;
        esp.write(&bad, &format!("{KERNELS}/{BAD}"))
    })?;

    let mut machine = computer.boot(&Setup::default())?;
    machine.wait_for("not within .* s: an answer over TLS")?;
    let status = lab::verb(&operator, "status")?;
    ensure!(status["status"]["ready"] == false, "it serves although it cannot: {status}");
    let starts = |machine: &mut nabi_machine::Machine| {
        let lines = machine.console().lines().iter();
        lines.filter(|line| line.text.contains(FIRMWARE_STARTS)).count()
    };
    ensure!(starts(&mut machine) == 1, "{} starts instead of one", starts(&mut machine));
    machine.power_off()?;

    // The boot loader counted this try too.
    on_esp(computer.disk(), |esp| {
        let kernels = esp.list(KERNELS)?;
        ensure!(kernels == [USED_UP], "after one more try there are {kernels:?}");
        esp.write(&good, &format!("{KERNELS}/{USED_UP}"))
    })?;
    let mut serving = lab::check_serves(&computer, &operator, &Setup::default())?;
    serving.machine.wait_for(lab::KEPT)?;
    serving.machine.power_off()?;
    let kernels = kernels(&computer)?;
    ensure!(kernels == [GOOD], "after a good boot there are {kernels:?}");
    Ok(())
}

#[test]
fn a_slot_that_serves_is_kept() -> Result<()> {
    let lab = Lab::new("slot-good")?;
    let (computer, operator) = lab.settled_computer()?;
    add_slot(&computer, &lab, "nabi.test-good")?;
    let mut serving = lab::check_serves(&computer, &operator, &Setup::default())?;
    serving.machine.wait_for(lab::KEPT)?;
    serving.machine.power_off()?;
    let kernels = kernels(&computer)?;
    ensure!(kernels.iter().any(|kernel| kernel == GOOD), "after a good boot there are {kernels:?}");
    Ok(())
}

#[test]
fn a_kernel_that_panics_is_left() -> Result<()> {
    falls_back("slot-panic", "rdinit=/nowhere", &Setup::default())
}

#[test]
fn a_root_that_is_not_there_is_left() -> Result<()> {
    falls_back("slot-no-root", "systemd.verity_root_data=/dev/nabi/nowhere", &Setup::default())
}

#[test]
fn a_root_that_does_not_verify_is_left() -> Result<()> {
    let other = "0".repeat(64);
    falls_back("slot-other-root", &format!("roothash={other}"), &Setup::default())
}

#[test]
fn a_slot_that_does_not_serve_is_left() -> Result<()> {
    falls_back("slot-unhealthy", "systemd.mask=nabi-supervisor.service", &Setup::default())
}

#[test]
fn a_slot_that_hangs_is_left() -> Result<()> {
    falls_back("slot-hang", HANG, &hanging("!/etc/initrd-release"))
}

#[test]
fn a_slot_that_hangs_before_its_root_is_there_is_left() -> Result<()> {
    falls_back("slot-hang-early", HANG, &hanging("/etc/initrd-release"))
}

#[test]
fn a_slot_whose_systemd_crashes_is_left() -> Result<()> {
    falls_back("slot-crash", HANG, &doing("!/etc/initrd-release", "/bin/sh -c 'kill -SEGV 1'"))
}

fn hanging(path: &str) -> Setup {
    doing(path, "sleep infinity")
}

/// A unit in the way of all others that does this, in the marked kernel alone and where this path is.
/// Nothing in the image does, so it comes by the firmware.
fn doing(path: &str, command: &str) -> Setup {
    let unit = format!(
        "[Unit]\nConditionKernelCommandLine={HANG}\nConditionPathExists={path}\nDefaultDependencies=no\n\
         Before=sysinit.target\n\
         [Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart={command}\n"
    );
    let wanted = "[Unit]\nRequires=test-hang.service\nAfter=test-hang.service\n";
    let firmware_strings = vec![
        nabi_machine::credential("systemd.extra-unit.test-hang.service", &unit),
        nabi_machine::credential("systemd.unit-dropin.sysinit.target~10-hang", wanted),
    ];
    Setup { firmware_strings, ..Setup::default() }
}
