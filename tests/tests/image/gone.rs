//! Models that are gone, with their partition or on it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use nabi_machine::{Computer, FIRMWARE_STARTS, Region, Setup, Ssh};
use nabi_tests::appliance::{Client, text};
use serde_json::Value;

use crate::lab::{self, Lab, Serving};
use crate::slots::{self, GOOD};
use crate::sticks::{self, TINY, TINY_FILE, TINY_LABEL};

const MODELS: &str = "nabi-models";
/// Over the beginning of a file system: its superblock, its first inodes and more.
const DAMAGE_BYTES: u64 = 8 << 20;

/// A computer, switched off, that served a model which was brought on a stick.
struct Used {
    lab: Lab,
    computer: Computer,
    operator: Ssh,
    stick: PathBuf,
    user: Client,
    answer: String,
}

impl Used {
    fn new(story: &str) -> Result<Self> {
        let lab = Lab::new(story)?;
        let (computer, operator) = lab.settled_computer()?;
        let stick = sticks::tiny_stick(&lab)?;
        let mut serving = lab::serving(&computer, &operator, &Setup::default())?;
        sticks::plug(&mut serving, &operator, &stick, TINY_LABEL)?;
        operator.verb(&format!("model import {TINY_LABEL}/{TINY_FILE}"))?;
        operator.verb(&format!("model serve {TINY}"))?;
        let user = lab::new_user(&serving, &operator)?;
        let answer = lab::ask(&mut serving.machine, &user, TINY)?;
        serving.machine.power_off()?;
        Ok(Self { lab, computer, operator, stick, user, answer })
    }

    /// Checks that the rest serves and that an alarm names the model; and that the model is served when
    /// it is brought again, with no more word of the operator's.
    fn check_goes_on(&self, serving: &mut Serving) -> Result<()> {
        let Self { operator, stick, user, answer, .. } = self;
        let status = lab::verb(operator, "status")?;
        let is_named =
            |alarms: &Vec<Value>| alarms.iter().any(|alarm| alarm["model_absent"]["model"] == TINY);
        ensure!(status["status"]["alarms"].as_array().is_some_and(is_named), "no alarm names it: {status}");
        let medium = sticks::plug(serving, operator, stick, TINY_LABEL)?;
        operator.verb(&format!("model import {}/{TINY_FILE}", text(&medium["name"])))?;
        let again = lab::ask(&mut serving.machine, user, TINY)?;
        ensure!(again == *answer, "another answer: {again:?} instead of {answer:?}");
        Ok(())
    }
}

/// The next boot makes a new, empty partition, as it does on a disk that somebody put in instead.
#[test]
fn with_its_models_gone_a_new_version_is_kept_and_the_model_is_an_alarm() -> Result<()> {
    let used = Used::new("models-gone")?;
    let Used { lab, computer, operator, .. } = &used;
    computer.disk().delete_partition(MODELS)?;
    slots::add_slot(computer, lab, "nabi.test-good")?;
    let mut serving = lab::check_serves(computer, operator, &Setup::default())?;
    serving.machine.wait_for(lab::KEPT)?;
    let boots =
        serving.machine.console().lines().iter().filter(|line| line.text.contains(FIRMWARE_STARTS)).count();
    ensure!(boots == 1, "{boots} boots instead of one");
    used.check_goes_on(&mut serving)?;
    serving.machine.power_off()?;
    let kernels = slots::kernels(computer)?;
    ensure!(kernels.iter().any(|kernel| kernel == GOOD), "after a good boot there are {kernels:?}");
    Ok(())
}

/// The file system check mends what it can, without anybody's yes.
#[test]
fn with_a_damaged_models_partition_it_serves_what_is_left() -> Result<()> {
    let used = Used::new("damaged-models")?;
    let Used { lab, computer, operator, .. } = &used;
    let partition = computer.disk().partition(MODELS)?;
    let damage = lab.file("damage");
    fs::write(&damage, vec![0xff; DAMAGE_BYTES as usize])?;
    computer.disk().write_region(Region { bytes: DAMAGE_BYTES, ..partition }, &damage)?;
    let mut serving = lab::check_serves(computer, operator, &Setup::default())?;
    used.check_goes_on(&mut serving)
}
