//! Runs once at each boot, before the network: takes the site file and the admin's keys that the
//! operator put beside the boot loader, keeps them, and tells the machine's services what follows.
//!
//! Where something is wrong, the machine must still come up and say so on its screen. So the reason
//! is written to `/run/nabi-setup/problem`, whose presence holds back the network, SSH and the
//! supervisor, and the exit status is 0. Power may go at any moment: what was taken is one file,
//! written atomically and last; all else is made again at each boot.

mod decide;
mod host_key;
mod machine_id;
mod outputs;
mod places;
mod read;
mod taken;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::decide::{Decision, Kept, Offered, decide, problem};
use crate::places::Places;

/// Sets this machine up from its site file. Started by systemd at each boot.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The folder that stands for the machine's root
    #[arg(long, default_value = "/")]
    root: PathBuf,
}

fn main() -> ExitCode {
    match run(&Places::below(&Arguments::parse().root)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nabi-setup: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(places: &Places) -> Result<()> {
    outputs::remove(places).context("cannot remove what an earlier run left below /run")?;
    if let Err(error) = machine_id::keep(places) {
        eprintln!("nabi-setup: the machine's ID is not kept, and another one at the next start: {error}");
    }
    let kept = Kept::from(read::bounded(&places.taken(), taken::TAKEN_BYTES_MAX));
    let offered = match kept {
        Kept::Nothing => Offered::read(places),
        // Whoever holds the FAT partition now has no say any more.
        Kept::Taken(_) | Kept::Damaged(_) => Offered::default(),
    };
    let held_back = match decide(&kept, &offered) {
        Decision::HoldBack(text) => text,
        Decision::SetUp { setup, take } => match outputs::set_up(places, &setup, take.as_ref()) {
            Ok(()) => return Ok(()),
            Err(error) => {
                outputs::remove(places).context("cannot remove what was half done below /run")?;
                problem(&format!("{:#}", anyhow::Error::new(error)), decide::DISK_ADVICE)
            }
        },
    };
    eprintln!("nabi-setup: the network, SSH and the supervisor are held back:\n{held_back}");
    outputs::hold_back(places, &held_back).context("cannot write the reason for the screen")
}
