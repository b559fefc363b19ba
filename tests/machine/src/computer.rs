//! A computer that is switched off.

use std::cell::Cell;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result};

use crate::arguments::{self, FIRMWARE_VARIABLES, Forward, Parts, Setup};
use crate::console::Console;
use crate::machine::Machine;
use crate::{Disk, tool};

const HTTPS: u16 = 443;
const SSH: u16 = 22;

/// A computer with a disk. Its folder keeps what it wrote to its serial line: `serial-1.log` of the
/// first boot, and so on.
#[derive(Debug)]
pub struct Computer {
    folder: PathBuf,
    disk: Disk,
    forwards: [Forward; 2],
    boots: Cell<u32>,
}

impl Computer {
    /// A new computer with this disk, in a folder that exists.
    ///
    /// # Errors
    /// When the firmware is not installed or there is no free port.
    pub fn new(folder: impl Into<PathBuf>, disk: Disk) -> Result<Self> {
        let folder = folder.into();
        fresh_variables(&folder.join("variables.fd"))?;
        let [https, ssh] = free_ports()?;
        let forwards = [Forward { from: https, to: HTTPS }, Forward { from: ssh, to: SSH }];
        Ok(Self { folder, disk, forwards, boots: Cell::new(0) })
    }

    /// Its disk.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The port on 127.0.0.1 that leads to its HTTPS.
    pub fn https_port(&self) -> u16 {
        self.forwards[0].from
    }

    /// The port on 127.0.0.1 that leads to its SSH.
    pub fn ssh_port(&self) -> u16 {
        self.forwards[1].from
    }

    /// Switches it on.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub fn boot(&self, setup: &Setup) -> Result<Machine> {
        self.boots.set(self.boots.get() + 1);
        // Short, as paths of sockets must be; not needed any more when it is connected.
        let control = tempfile::tempdir().context("no temporary folder")?;
        let control = control.path().join("control");
        let log = self.folder.join(format!("serial-{}.log", self.boots.get()));
        let variables = self.folder.join("variables.fd");
        let parts = Parts { disk: &self.disk, variables: &variables, forwards: &self.forwards };
        let mut command = arguments::driven(&parts, setup, &control);
        // What QEMU complains of belongs to what the machine says.
        let (serial, theirs) = std::io::pipe().context("no pipe for the serial line")?;
        command.stdin(Stdio::null()).stderr(theirs.try_clone()?).stdout(theirs);
        let qemu = command.spawn().map_err(|error| tool::explain(error, &command))?;
        // Its end of the pipe must be the only one, so that the console ends with it.
        drop(command);
        Machine::new(qemu, Console::read(serial, &log)?, &control, setup)
    }
}

/// A firmware's variables as of a new board.
///
/// # Errors
/// When the firmware is not installed.
pub fn fresh_variables(path: &Path) -> Result<()> {
    fs::copy(FIRMWARE_VARIABLES, path).with_context(|| {
        format!(
            "cannot copy {FIRMWARE_VARIABLES} to {}: provisioning/debian-packages.sh machine installs it",
            path.display()
        )
    })?;
    Ok(())
}

/// Ports that nobody listens on now; both are held until both are found.
fn free_ports() -> Result<[u16; 2]> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port");
    let [first, second] = [listen()?, listen()?];
    Ok([first.local_addr()?.port(), second.local_addr()?.port()])
}
