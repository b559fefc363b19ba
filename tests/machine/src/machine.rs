//! A computer that is switched on.

use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::arguments::{NETWORK, Setup, USB};
use crate::console::{Console, Line};
use crate::qmp::Qmp;

/// For whatever must happen in a machine; software emulation on a busy host takes minutes.
pub const BOOT_S_MAX: u64 = 1800;
const POLL_MS: u64 = 200;
/// What the firmware says when it starts a boot loader.
pub const FIRMWARE_STARTS: &str = "BdsDxe: starting Boot";
/// The name of the packet filter for the control socket.
const CAPTURE: &str = "capture";

/// A running machine. Dropped, its power is cut.
#[derive(Debug)]
pub struct Machine {
    qemu: Child,
    console: Console,
    qmp: Qmp,
    sticks: u32,
}

impl Machine {
    pub(crate) fn new(mut qemu: Child, mut console: Console, control: &Path, setup: &Setup) -> Result<Self> {
        let connected = Qmp::connect(control, || match qemu.try_wait()? {
            Some(status) => bail!("QEMU ended with {status}"),
            None => Ok(()),
        });
        let qmp = match connected {
            Ok(qmp) => qmp,
            Err(error) => {
                end(&mut qemu);
                bail!("{error:#}. {}", console.last_words());
            }
        };
        let mut machine = Self { qemu, console, qmp, sticks: 0 };
        if setup.cable_out {
            machine.plug_cable(false)?;
        }
        Ok(machine)
    }

    /// What it wrote to its serial line.
    pub fn console(&mut self) -> &mut Console {
        &mut self.console
    }

    /// Waits until a line of its screen matches, of those before this call too.
    ///
    /// # Errors
    /// When none comes.
    pub fn wait_for(&mut self, pattern: &str) -> Result<Line> {
        let number = self.console.wait_for(pattern, 0, Duration::from_secs(BOOT_S_MAX))?;
        Ok(self.console.line(number).clone())
    }

    /// Asks until there is something.
    ///
    /// # Errors
    /// When there is not within the limit, or the machine ends before: with the screen's last lines.
    pub fn wait_until<T>(&mut self, what: &str, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + Duration::from_secs(BOOT_S_MAX);
        loop {
            if let Some(found) = ask() {
                return Ok(found);
            }
            if let Some(status) = self.qemu.try_wait()? {
                bail!("{what}: QEMU ended with {status}. {}", self.console.last_words());
            }
            if Instant::now() > deadline {
                bail!("{what}: not within {BOOT_S_MAX} s. {}", self.console.tail());
            }
            std::thread::sleep(Duration::from_millis(POLL_MS));
        }
    }

    /// Plugs a stick whose content is this file, and gives its name for [`Machine::unplug`].
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn plug(&mut self, stick: &Path) -> Result<String> {
        self.sticks += 1;
        let name = format!("stick{}", self.sticks);
        let node = format!("{name}-data");
        // QEMU holds what was unplugged open to its end, and would keep it from coming again.
        let file = json!({"driver": "file", "filename": stick, "locking": "off"});
        self.qmp.execute("blockdev-add", json!({"driver": "raw", "node-name": node, "file": file}))?;
        let device = json!({
            "driver": "usb-storage", "id": name, "drive": node, "bus": format!("{USB}.0"), "removable": true,
        });
        self.qmp.execute("device_add", device)?;
        Ok(name)
    }

    /// Pulls a stick out, without a warning to the machine.
    ///
    /// # Errors
    /// When it is not plugged.
    pub fn unplug(&mut self, stick: &str) -> Result<()> {
        self.qmp.execute("device_del", json!({"id": stick})).map(drop)
    }

    /// How much of a plugged stick the machine has read, whoever in it did.
    ///
    /// # Errors
    /// When it is not plugged.
    pub fn bytes_read(&mut self, stick: &str) -> Result<u64> {
        let disks = self.qmp.execute("query-blockstats", json!({}))?;
        let node = format!("{stick}-data");
        let mut disks = disks.as_array().into_iter().flatten();
        let disk = disks.find(|disk| disk["node-name"] == node.as_str());
        disk.and_then(|disk| disk["stats"]["rd_bytes"].as_u64())
            .with_context(|| format!("{stick} is not plugged"))
    }

    /// Plugs or pulls the network cable.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn plug_cable(&mut self, plugged: bool) -> Result<()> {
        self.qmp.execute("set_link", json!({"name": NETWORK, "up": plugged})).map(drop)
    }

    /// Presses a key of its keyboard, by QEMU's name for it: `sleep`.
    ///
    /// # Errors
    /// When QEMU knows no such key.
    pub fn press(&mut self, key: &str) -> Result<()> {
        let keys = json!([{"type": "qcode", "data": key}]);
        self.qmp.execute("send-key", json!({"keys": keys})).map(drop)
    }

    /// Writes all packets from now on into a file, for [`crate::packets`].
    ///
    /// # Errors
    /// When it does so already.
    pub fn capture(&mut self, file: &Path) -> Result<()> {
        let filter = json!({"qom-type": "filter-dump", "id": CAPTURE, "netdev": NETWORK, "file": file});
        self.qmp.execute("object-add", filter).map(drop)
    }

    /// Ends [`Machine::capture`]: the file is whole.
    ///
    /// # Errors
    /// When there is none.
    pub fn capture_end(&mut self) -> Result<()> {
        self.qmp.execute("object-del", json!({"id": CAPTURE})).map(drop)
    }

    /// Presses the power button, and waits until the machine is off.
    ///
    /// # Errors
    /// When it stays on, or starts again.
    pub fn power_off(mut self) -> Result<()> {
        let pressed = self.console.lines().len();
        self.qmp.execute("system_powerdown", Value::Object(serde_json::Map::new()))?;
        let deadline = Instant::now() + Duration::from_secs(BOOT_S_MAX);
        while self.status()?.is_none() {
            if Instant::now() > deadline {
                bail!("still on {BOOT_S_MAX} s after the power button. {}", self.console.tail());
            }
            if self.console.lines()[pressed..].iter().any(|line| line.text.contains(FIRMWARE_STARTS)) {
                bail!("it started again after the power button. {}", self.console.tail());
            }
            std::thread::sleep(Duration::from_millis(POLL_MS));
        }
        Ok(())
    }

    /// Cuts the power: nothing that runs in it learns of it.
    pub fn cut_power(self) {
        drop(self);
    }

    fn status(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.qemu.try_wait()?)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        end(&mut self.qemu);
    }
}

fn end(qemu: &mut Child) {
    // One that has ended already is what is wanted.
    let _ = qemu.kill();
    let _ = qemu.wait();
}
