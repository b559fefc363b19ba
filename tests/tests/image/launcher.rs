//! The supervisor's unit tests of its systemd launcher, by the systemd of the machine: elsewhere they
//! meet one that is simulated.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use nabi_machine::{Setup, credential, stick};
use serde_json::Value;

use crate::lab::Lab;

/// Label of the stick that brings the tests, and their name on it.
const LABEL: &str = "LAUNCHER";
const TESTS: &str = "tests";
/// What an ext4 takes for itself is less than a quarter of its content and this.
const STICK_EXTRA_BYTES: u64 = 32 << 20;
/// Begins the line that says how the tests ended.
const MARK: &str = "nabi-test-launcher:";

#[test]
fn the_unit_tests_of_the_systemd_launcher_pass_inside_the_machine() -> Result<()> {
    let lab = Lab::new("launcher")?;
    let content = tempfile::tempdir()?;
    let bytes = fs::copy(compiled_tests()?, content.path().join(TESTS))?;
    let stick = lab.file("stick.raw");
    stick::ext4(&stick, LABEL, content.path(), bytes + bytes / 4 + STICK_EXTRA_BYTES)?;

    let (computer, _) = lab.settled_computer()?;
    let mut machine = computer.boot(&running_tests())?;
    machine.plug(&stick)?;
    let end = machine.wait_for(MARK)?;
    ensure!(end.text.ends_with("exited 0"), "{}", machine.console().tail());
    // There were tests, and the unit that they start was one of this systemd.
    machine.wait_for("running [1-9][0-9]* tests")?;
    machine.wait_for("Started nabi-gateway")?;
    machine.power_off()
}

/// The supervisor's unit tests, as a program.
fn compiled_tests() -> Result<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--package", "nabi-supervisor", "--bins", "--no-run", "--locked"]);
    cargo.arg("--message-format=json").current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let output = cargo.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    ensure!(output.status.success(), "the supervisor's tests cannot be compiled");
    let messages = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    let messages = messages.collect::<Result<Vec<_>, _>>().context("cargo's messages")?;
    let tests = messages.iter().filter(|message| message["profile"]["test"] == true);
    let mut programs = tests.filter_map(|message| message["executable"].as_str());
    programs.next().map(PathBuf::from).context("cargo names no program of the supervisor's tests")
}

/// They come by a stick and are run in the supervisor's place, by units that come by the firmware: the
/// image is as it is.
fn running_tests() -> Setup {
    let mount = format!(
        "[Mount]\nWhat=/dev/disk/by-label/{LABEL}\nWhere=/run/launcher\nType=ext4\n\
         # As the other one, by which the stick is among the media.\nOptions=ro,noload\n"
    );
    // Without the stick it runs too, and says that it cannot. The screen would hang the serial line up.
    let service = format!(
        "[Unit]\nWants=run-launcher.mount\nAfter=run-launcher.mount\nBefore=nabi-screen@ttyS0.service\n\
         [Service]\nType=oneshot\nTimeoutStartSec=infinity\nStandardOutput=file:/dev/ttyS0\n\
         Environment=NABI_TEST_SYSTEMD=real\n\
         ExecStart=/run/launcher/{TESTS} launch:: --test-threads=1 --nocapture\n\
         ExecStopPost=echo {MARK} ${{EXIT_CODE}} ${{EXIT_STATUS}}\n"
    );
    let firmware_strings = vec![
        credential("systemd.extra-unit.run-launcher.mount", &mount),
        credential("systemd.extra-unit.test-launcher.service", &service),
        credential("systemd.unit-dropin.multi-user.target~test", "[Unit]\nWants=test-launcher.service\n"),
        // The gateway's name is free.
        credential(
            "systemd.unit-dropin.nabi-supervisor.service~test",
            "[Unit]\nConditionPathExists=/nowhere\n",
        ),
    ];
    Setup { firmware_strings, ..Setup::default() }
}
