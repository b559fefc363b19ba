//! Sticks that bring models, each in its way, and those that cannot be read.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use nabi_machine::{Setup, Ssh, credential, stick};
use nabi_makers::Kind;
use nabi_model_corpus::gguf::split_llama;
use nabi_tests::appliance::text;
use nabi_tests::engine::Tiny;
use serde_json::Value;

use crate::lab::{self, Lab, Serving};

/// The model of [`tiny_stick`].
pub(crate) const TINY: &str = "tiny-deepseek";
pub(crate) const TINY_FILE: &str = "tiny-deepseek.gguf";
pub(crate) const TINY_LABEL: &str = "TINY";
const STICK_BYTES: u64 = 64 << 20;
const EXFAT_LABEL: &str = "EXFAT";
/// What a machine says when it has written a stick: see [`writing`].
const WRITTEN: &str = "nabi-test: the stick is written";

/// A stick with a model that can be served.
pub(crate) fn tiny_stick(lab: &Lab) -> Result<PathBuf> {
    let content = tempfile::tempdir()?;
    fs::copy(Tiny::make(Kind::DeepseekV3, None).path(), content.path().join(TINY_FILE))?;
    let stick = lab.file("tiny.raw");
    stick::ext4(&stick, TINY_LABEL, content.path(), STICK_BYTES)?;
    Ok(stick)
}

/// Plugs a stick, and waits until it can be read: what `media list` says of it.
pub(crate) fn plug(serving: &mut Serving, operator: &Ssh, stick: &Path, label: &str) -> Result<Value> {
    serving.machine.plug(stick)?;
    serving.machine.wait_until(&format!("the stick {label} in `media list`"), || {
        let listed = lab::verb(operator, "media list").ok()?;
        lab::find_medium(&listed, label).filter(|medium| medium["content"]["readable"].is_object()).cloned()
    })
}

#[test]
fn a_broken_stick_is_named_and_hurts_nobody() -> Result<()> {
    let lab = Lab::new("broken-stick")?;
    let content = tempfile::tempdir()?;
    fs::write(content.path().join("README"), "no model")?;
    let (broken, good) = (lab.file("broken.raw"), lab.file("good.raw"));
    stick::ext4(&broken, "BROKEN", content.path(), STICK_BYTES)?;
    stick::damage(&broken)?;
    stick::fat(&good, "GOOD", content.path(), STICK_BYTES)?;

    let (computer, operator) = lab.settled_computer()?;
    let mut serving = lab::serving(&computer, &operator, &Setup::default())?;
    serving.machine.plug(&broken)?;
    serving.machine.plug(&good)?;
    let listed = serving.machine.wait_until("both sticks in `media list`", || {
        let listed = lab::verb(&operator, "media list").ok()?;
        (listed["media"].as_array()?.len() == 2).then_some(listed)
    })?;
    let content = |label| lab::find_medium(&listed, label).map(|medium| medium["content"].to_string());
    ensure!(content("BROKEN").is_some_and(|content| content.contains("unreadable")), "{listed}");
    ensure!(content("GOOD").is_some_and(|content| content.contains("readable")), "{listed}");
    lab::check_answers(&mut serving, &operator)
}

#[test]
fn parts_on_two_sticks_are_put_together() -> Result<()> {
    let lab = Lab::new("two-sticks")?;
    let parts = split_llama(2);
    let stick = |label: &str, (name, bytes): &(String, Vec<u8>)| -> Result<PathBuf> {
        let content = tempfile::tempdir()?;
        fs::write(content.path().join(name), bytes)?;
        let stick = lab.file(&format!("{label}.raw"));
        stick::fat(&stick, label, content.path(), STICK_BYTES)?;
        Ok(stick)
    };
    let (one, two) = (stick("ONE", &parts[0])?, stick("TWO", &parts[1])?);

    let (computer, operator) = lab.settled_computer()?;
    let mut serving = lab::serving(&computer, &operator, &Setup::default())?;
    plug(&mut serving, &operator, &one, "ONE")?;
    let import = || operator.verb(&format!("model import ONE/{} --name split", parts[0].0));
    let refused = import().err().context("a model without its second part is imported")?;
    ensure!(refused.to_string().contains(&parts[1].0), "the missing part is not named: {refused}");
    plug(&mut serving, &operator, &two, "TWO")?;
    import()?;
    operator.verb("model verify split").map(drop)
}

#[test]
fn a_model_comes_on_an_exfat_stick() -> Result<()> {
    let lab = Lab::new("exfat-stick")?;
    let (computer, operator) = lab.settled_computer()?;
    let (from, stick) = (tiny_stick(&lab)?, lab.file("exfat.raw"));
    stick::exfat(&stick, EXFAT_LABEL, STICK_BYTES)?;
    let mut machine = computer.boot(&writing())?;
    machine.plug(&from)?;
    machine.plug(&stick)?;
    machine.wait_for(WRITTEN)?;
    machine.cut_power();

    let mut serving = lab::serving(&computer, &operator, &Setup::default())?;
    let medium = plug(&mut serving, &operator, &stick, EXFAT_LABEL)?;
    ensure!(medium["file_system"] == "exfat", "{medium}");
    operator.verb(&format!("model import {}/{TINY_FILE}", text(&medium["name"])))?;
    operator.verb(&format!("model serve {TINY}"))?;
    let user = lab::new_user(&serving, &operator)?;
    ensure!(!lab::ask(&mut serving.machine, &user, TINY)?.is_empty(), "{TINY} says nothing");
    Ok(())
}

/// A unit that copies the model of [`tiny_stick`] to the exFAT stick: nothing here but a kernel writes
/// that file system, and nothing in the image writes to a stick. It comes by the firmware.
fn writing() -> Setup {
    let [from, to] = [TINY_LABEL, EXFAT_LABEL].map(|label| format!("/dev/disk/by-label/{label}"));
    let devices = [TINY_LABEL, EXFAT_LABEL].map(|label| format!("dev-disk-by\\x2dlabel-{label}.device"));
    let devices = devices.join(" ");
    let unit = format!(
        "[Unit]\nRequires={devices}\nAfter={devices}\n\
         [Service]\nType=oneshot\nStandardOutput=journal+console\nStandardError=journal+console\n\
         ExecStart=mkdir /run/from /run/to\n\
         ExecStart=mount -o ro {from} /run/from\n\
         ExecStart=mount {to} /run/to\n\
         ExecStart=cp /run/from/{TINY_FILE} /run/to\n\
         ExecStart=umount /run/to\n\
         ExecStart=echo {WRITTEN}\n"
    );
    let firmware_strings = vec![
        credential("systemd.extra-unit.test-write.service", &unit),
        credential("systemd.unit-dropin.multi-user.target~write", "[Unit]\nWants=test-write.service\n"),
        // Whoever mounts it to be read alone keeps others from writing.
        credential("systemd.unit-dropin.nabi-media@.service~write", "[Unit]\nConditionPathExists=/nowhere\n"),
    ];
    Setup { firmware_strings, ..Setup::default() }
}
