//! A computer with an empty disk: its firmware is all that runs, and that is enough to drive.

use std::path::Path;
use std::process::Command;

use nabi_machine::{Computer, Disk, Machine, Setup, packets, stick};

/// What the firmware says when it has nothing to boot.
const NOTHING_TO_BOOT: &str = "UEFI Interactive Shell";

fn computer(folder: &Path) -> Computer {
    let disk = Disk::blank(folder.join("disk.raw"), 64 << 20).expect("a disk");
    Computer::new(folder, disk).expect("a computer")
}

/// Processes whose arguments name this folder.
fn processes(folder: &Path) -> usize {
    let found = Command::new("pgrep").arg("-cf").arg(folder).output().expect("pgrep is installed");
    String::from_utf8_lossy(&found.stdout).trim().parse().expect("a number")
}

#[test]
fn a_computer_is_driven_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let computer = computer(folder.path());
    let mut machine = computer.boot(&Setup::default()).expect("it starts");
    assert_eq!(processes(folder.path()), 1);
    let sent = folder.path().join("sent.pcap");
    machine.capture(&sent).expect("it is not captured yet");
    assert!(machine.capture(&sent).is_err());
    plug_and_unplug(&mut machine, folder.path());
    machine.wait_for(NOTHING_TO_BOOT).expect("it has nothing to boot");
    machine.capture_end().expect("it was captured");
    assert_eq!(packets(&sent).expect("a capture"), [], "this firmware does not boot from networks");
    machine.cut_power();
    assert_eq!(processes(folder.path()), 0);
    let log = std::fs::read_to_string(folder.path().join("serial-1.log")).expect("a log");
    assert!(log.contains("BdsDxe"), "{log}");
}

fn plug_and_unplug(machine: &mut Machine, folder: &Path) {
    let file = folder.join("stick.raw");
    let content = tempfile::tempdir().expect("a folder");
    std::fs::write(content.path().join("README"), "empty").expect("writable");
    stick::fat(&file, "EMPTY", content.path(), 16 << 20).expect("a stick");
    let plugged = machine.plug(&file).expect("it has USB");
    machine.unplug(&plugged).expect("it was plugged");
    assert!(machine.unplug(&plugged).is_err());
    machine.plug(&file).expect("a stick can come again");
    machine.plug_cable(false).expect("it has a cable");
    machine.plug_cable(true).expect("it has a cable");
}

#[test]
fn what_qemu_complains_of_is_in_the_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let computer = computer(folder.path());
    std::fs::remove_file(computer.disk().path()).expect("it was there");
    let error = computer.boot(&Setup::default()).expect_err("it has no disk").to_string();
    assert!(error.contains("disk.raw") && error.contains("No such file"), "{error}");
}
