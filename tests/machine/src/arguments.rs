//! The computer that QEMU plays: an ordinary one of today, but in software alone.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;

use crate::Disk;

const CPUS: &str = "2";
const MEMORY_MIB: &str = "2048";
/// Debian's package ovmf.
const FIRMWARE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
pub(crate) const FIRMWARE_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// Names for the control socket.
pub(crate) const NETWORK: &str = "network";
pub(crate) const USB: &str = "usb";
/// The address of its network card.
pub(crate) const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x6e, 0x61, 0x62];

/// A port of this machine that leads to one of the computer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// On 127.0.0.1.
    pub from: u16,
    /// In the computer.
    pub to: u16,
}

/// How it is switched on. The default is what an operator has.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Its clock, as `1999-01-01T00:00:00`; by default it is right.
    pub clock: Option<String>,
    /// Whether its network cable is out when it starts.
    pub cable_out: bool,
    /// Strings of its firmware (SMBIOS type 11), by which systemd takes credentials: only for
    /// benchmarks and for faults that nothing else could cause.
    pub firmware_strings: Vec<String>,
    /// The file that gets what it writes to a second serial line, which nothing of its own uses.
    pub second_serial: Option<PathBuf>,
}

/// A firmware string by which systemd takes a credential.
/// <https://www.freedesktop.org/software/systemd/man/latest/systemd.system-credentials.html>
pub fn credential(name: &str, content: &str) -> String {
    format!("io.systemd.credential.binary:{name}={}", BASE64.encode(content))
}

/// Files and ports of a computer.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) disk: &'a Disk,
    pub(crate) variables: &'a Path,
    pub(crate) forwards: &'a [Forward],
}

/// QEMU with such a computer, in this terminal: Ctrl-A X ends it.
pub fn terminal(disk: &Disk, variables: &Path, forwards: &[Forward]) -> Command {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(computer(&Parts { disk, variables, forwards }, &Setup::default()));
    qemu.args(["-serial", "mon:stdio"]);
    qemu
}

/// QEMU with the serial line as its standard output, which ends with the thread that starts it.
pub(crate) fn driven(parts: &Parts<'_>, setup: &Setup, control: &Path) -> Command {
    let mut qemu = Command::new("setpriv");
    qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]).args(computer(parts, setup));
    qemu.args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
    if let Some(file) = &setup.second_serial {
        qemu.arg("-chardev").arg(with_path("file,id=second,path=", file, ""));
        qemu.args(["-serial", "chardev:second"]);
    }
    qemu.arg("-qmp").arg(with_path("unix:", control, ",server=on,wait=off"));
    qemu
}

fn computer(parts: &Parts<'_>, setup: &Setup) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = [
        ["-machine", "q35"],
        ["-accel", "tcg,thread=multi"],
        ["-cpu", "max"],
        ["-smp", CPUS],
        ["-m", MEMORY_MIB],
        ["-display", "none"],
        ["-device", "virtio-rng-pci"],
        // The watchdog that ordinary boards have.
        ["-global", "ICH9-LPC.noreboot=false"],
    ]
    .concat()
    .into_iter()
    .chain(["-nodefaults", "-no-user-config"])
    .map(OsString::from)
    .collect();
    let mut add = |option: &str, value: OsString| arguments.extend([option.into(), value]);
    add("-device", format!("qemu-xhci,id={USB}").into());
    add("-drive", format!("if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE}").into());
    add("-drive", with_path("if=pflash,unit=1,format=raw,file=", parts.variables, ""));
    add("-drive", disk(parts.disk));
    add("-device", "virtio-blk-pci,drive=disk,bootindex=1".into());
    add("-netdev", network(parts.forwards).into());
    let mac = MAC.map(|byte| format!("{byte:02x}")).join(":");
    // No ROM: nothing is to be booted from a network.
    add("-device", format!("virtio-net-pci,netdev={NETWORK},mac={mac},romfile=").into());
    if let Some(clock) = &setup.clock {
        add("-rtc", format!("base={clock}").into());
    }
    for text in &setup.firmware_strings {
        // A comma ends a value unless it is doubled.
        add("-smbios", format!("type=11,value={}", text.replace(',', ",,")).into());
    }
    arguments
}

/// `cache=unsafe` tells the host not to wait for its disk. What the computer had flushed is in the
/// host's memory and survives a power cut of the computer; what it had not may be lost, as in a disk
/// with a cache, where the disk is an overlay (QEMU keeps an overlay's tables in its own memory).
fn disk(disk: &Disk) -> OsString {
    let format = format!("if=none,id=disk,discard=unmap,cache=unsafe,format={},file=", disk.format());
    with_path(&format, disk.path(), "")
}

/// A network of its own, from which nothing reaches the world.
fn network(forwards: &[Forward]) -> String {
    let forwards: String =
        forwards.iter().map(|Forward { from, to }| format!(",hostfwd=tcp:127.0.0.1:{from}-:{to}")).collect();
    format!("user,id={NETWORK},restrict=on{forwards}")
}

/// Commas separate options.
fn with_path(before: &str, path: &Path, after: &str) -> OsString {
    let path = PathBuf::from(path.to_string_lossy().replace(',', ",,"));
    let mut text = OsString::from(before);
    text.push(path);
    text.push(after);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(setup: &Setup) -> String {
        let disk = Disk::existing("/d,isk.raw").expect("raw by its name");
        let forwards = [Forward { from: 4001, to: 443 }, Forward { from: 4002, to: 22 }];
        let parts = Parts { disk: &disk, variables: Path::new("/vars.fd"), forwards: &forwards };
        let arguments = computer(&parts, setup).join(std::ffi::OsStr::new(" "));
        arguments.into_string().expect("text")
    }

    #[test]
    fn an_operators_computer_has_nothing_from_outside() {
        let arguments = arguments(&Setup::default());
        for part in [
            "user,id=network,restrict=on,hostfwd=tcp:127.0.0.1:4001-:443,hostfwd=tcp:127.0.0.1:4002-:22",
            "format=raw,file=/d,,isk.raw",
            "mac=52:54:00:6e:61:62,romfile=",
        ] {
            assert!(arguments.contains(part), "{part} is not in {arguments}");
        }
        for part in ["-smbios", "-kernel", "-append", "-rtc", "-fw_cfg"] {
            assert!(!arguments.contains(part), "{part} is in {arguments}");
        }
    }

    #[test]
    fn a_firmware_string_is_one_value() {
        let setup = Setup {
            clock: Some("1999-01-01T00:00:00".into()),
            firmware_strings: vec!["a=b,c".into(), "d".into()],
            ..Setup::default()
        };
        let arguments = arguments(&setup);
        assert!(arguments.contains("-rtc base=1999-01-01T00:00:00"), "{arguments}");
        assert!(arguments.ends_with("-smbios type=11,value=a=b,,c -smbios type=11,value=d"), "{arguments}");
    }
}
