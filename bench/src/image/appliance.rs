//! An appliance after its first boot, and copies of its disk.

use std::cell::Cell;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use nabi_machine::{Computer, Disk, Setup, Ssh, on_esp};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tempfile::TempDir;

use crate::http::{self, Target};

const DISK_BYTES: u64 = 12 << 30;
const HOSTNAME: &str = "nabi.example";

/// A disk that has had its first boot, and what reaches computers with it.
pub(crate) struct Appliance {
    folder: TempDir,
    disk: Disk,
    ca: CertificateDer<'static>,
    key: String,
    pub(crate) first_boot_s: f64,
    copies: Cell<u32>,
}

impl Appliance {
    /// Puts the image into a computer, waits until it serves, and switches it off.
    pub(crate) fn settle(image: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let disk = Disk::existing(image)?.larger_copy(folder.path().join("disk.qcow2"), DISK_BYTES)?;
        let computer = Computer::new(folder.path(), disk.clone())?;
        let operator = Ssh::new(folder.path(), computer.ssh_port())?;
        let site = folder.path().join("site.toml");
        fs::write(&site, format!("hostname = \"{HOSTNAME}\"\n"))?;
        on_esp(&disk, |esp| esp.add_site(Some(&site), Some(&operator.public_key())))?;

        let started = Instant::now();
        let mut machine = computer.boot(&Setup::default())?;
        let ca = machine.wait_until("the CA over SSH", || {
            operator.answers().then(|| operator.verb("ca").ok()).flatten()
        })?;
        let first_boot_s = started.elapsed().as_secs_f64();
        let ca = CertificateDer::from_pem_slice(ca.as_bytes()).context("the CA is no certificate")?;
        let added: Value = serde_json::from_str(&operator.verb("key add bench --json")?)?;
        let key = added["key_added"]["key"].as_str().context("no key was added")?.to_owned();
        // Its version is not on trial any more.
        machine.wait_for("Finished systemd-bless-boot")?;
        machine.power_off()?;
        Ok(Self { folder, disk, ca, key, first_boot_s, copies: Cell::new(0) })
    }

    /// A computer that is as it was after the first boot.
    pub(crate) fn computer(&self) -> Result<Computer> {
        self.copies.set(self.copies.get() + 1);
        let folder = self.folder.path().join(self.copies.get().to_string());
        fs::create_dir(&folder)?;
        Computer::new(&folder, self.disk.copy(folder.join("disk.qcow2"))?)
    }

    /// How its API is reached.
    pub(crate) fn target(&self, computer: &Computer) -> Result<Target> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, computer.https_port()));
        let name = ServerName::try_from(HOSTNAME).context("no name")?;
        Ok(Target {
            name,
            tls: Some(http::trusting(self.ca.clone())?),
            key: Some(self.key.clone()),
            ..Target::plain(address)
        })
    }
}
