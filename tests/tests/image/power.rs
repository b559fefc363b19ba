//! The power is cut at any moment of the first boot, or switched off.

use std::time::Instant;

use anyhow::{Context as _, Result};
use nabi_machine::Setup;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use crate::lab::{self, Lab};

const CUTS: u32 = 10;
const SEED: u64 = 5;

/// Moments are drawn from the time that an undisturbed first boot takes; any is right.
#[test]
fn after_ten_power_cuts_in_a_first_boot_it_serves() -> Result<()> {
    let lab = Lab::new("power-cuts")?;
    let flashed = lab.flash(lab::site())?;
    let computer = lab.computer(flashed.copy(lab.file("undisturbed.qcow2"))?)?;
    let started = Instant::now();
    lab::serving(&computer, &lab.operator(&computer)?, &Setup::default())?;
    let whole = started.elapsed();

    let mut dice = ChaCha8Rng::seed_from_u64(SEED);
    for cut in 1..=CUTS {
        let moment = whole.mul_f64(f64::from(dice.next_u32()) / f64::from(u32::MAX));
        eprintln!("cut {cut} of {CUTS}: after {moment:.1?} of {whole:.1?}");
        let computer = lab.computer(flashed.copy(lab.file(&format!("cut-{cut}.qcow2")))?)?;
        let machine = computer.boot(&Setup::default())?;
        std::thread::sleep(moment);
        machine.cut_power();
        let operator = lab.operator(&computer)?;
        // The host key may not have been made when an earlier computer was cut off.
        operator.forget_hosts()?;
        let served = lab::check_serves(&computer, &operator, &Setup::default());
        served.with_context(|| format!("cut {cut}, after {moment:?} (seed {SEED})"))?;
        std::fs::remove_file(computer.disk().path())?;
    }
    Ok(())
}

/// A version that is not judged yet is not found bad by that: the machine stays off.
#[test]
fn the_power_button_ends_a_first_boot() -> Result<()> {
    let lab = Lab::new("power-button")?;
    let computer = lab.computer(lab.flash(lab::site())?)?;
    let mut machine = computer.boot(&Setup::default())?;
    machine.wait_for("Starting nabi-health")?;
    machine.power_off()
}
