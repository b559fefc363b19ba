//! Sticks that cannot be read.

use std::fs;

use anyhow::{Result, ensure};
use nabi_machine::{Setup, stick};

use crate::lab::{self, Lab};
use crate::story::find_medium;

const STICK_BYTES: u64 = 64 << 20;

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
    let content = |label| find_medium(&listed, label).map(|medium| medium["content"].to_string());
    ensure!(content("BROKEN").is_some_and(|content| content.contains("unreadable")), "{listed}");
    ensure!(content("GOOD").is_some_and(|content| content.contains("readable")), "{listed}");
    lab::check_answers(&mut serving, &operator)
}
