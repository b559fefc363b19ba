//! `nabi-machine`: a flashed disk in a computer, in this terminal.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use nabi_machine::{Disk, Forward, fresh_variables, on_esp, terminal};

/// Small, as disks go; the file takes only what is written.
const DISK_BYTES: u64 = 16 << 30;

/// Boot an image in software emulation, with its serial line in this terminal (Ctrl-A X ends it)
#[derive(Parser)]
struct Arguments {
    /// The image, unpacked; it is not changed
    #[arg(long)]
    image: PathBuf,
    /// Folder for the disk, which begins as the image
    #[arg(long)]
    folder: PathBuf,
    /// Go on with the disk of the last time
    #[arg(long)]
    keep: bool,
    /// The site file to put on it
    #[arg(long)]
    site: Option<PathBuf>,
    /// The administrator's public SSH key to put on it
    #[arg(long)]
    key: Option<PathBuf>,
    /// The port on 127.0.0.1 that leads to HTTPS
    #[arg(long, default_value_t = 8443)]
    https: u16,
    /// The port on 127.0.0.1 that leads to SSH
    #[arg(long, default_value_t = 8022)]
    ssh: u16,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (disk, variables) = (arguments.folder.join("disk.qcow2"), arguments.folder.join("variables.fd"));
    let disk = if arguments.keep {
        Disk::existing(disk)?
    } else {
        std::fs::create_dir_all(&arguments.folder)
            .with_context(|| format!("cannot make {}", arguments.folder.display()))?;
        fresh_variables(&variables)?;
        Disk::existing(&arguments.image)?.larger_copy(disk, DISK_BYTES)?
    };
    on_esp(&disk, |esp| esp.add_site(arguments.site.as_deref(), arguments.key.as_deref()))?;
    println!("HTTPS: https://127.0.0.1:{}   SSH: ssh -p {} admin@127.0.0.1", arguments.https, arguments.ssh);
    let forwards = [Forward { from: arguments.https, to: 443 }, Forward { from: arguments.ssh, to: 22 }];
    // Only returns if it cannot.
    Err(terminal(&disk, &variables, &forwards).exec())
        .context("cannot start qemu-system-x86_64: provisioning/debian-packages.sh machine installs it")
}
