//! From the image to the first answer, as docs/operator.md says it, and on after power cuts.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use nabi_machine::{Computer, Setup, Ssh, stick};
use nabi_makers::Kind;
use nabi_tests::appliance::{Client, text};
use nabi_tests::engine::Tiny;
use serde_json::Value;

use crate::guide::Guide;
use crate::lab::{self, HOSTNAME, Lab, SELF_TEST, Serving};

/// The name that the page gives to a model.
const MODEL: &str = "chat";
const STICK_LABEL: &str = "MODELS";
const STICK_BYTES: u64 = 256 << 20;
/// Whoever gets a shell after all shows it by this.
const SHELL_SIGN: &str = "uid=";
/// The power is cut at the first line of each in a first boot: when partitions are made, and when keys are.
/// Other moments: `power.rs`.
const CUTS: [&str; 2] = ["Starting systemd-repart", "Starting nabi-setup"];

/// Nothing comes from outside but the site file, the key, and a stick with a model.
#[test]
fn from_the_image_to_an_answer_and_on_after_power_cuts() -> Result<()> {
    let lab = Lab::new("story")?;
    let computer = lab.computer(lab.blank_disk()?)?;
    let mut guide = Guide::open(lab.file("."), &computer)?;

    guide.follow("ssh-keygen")?;
    guide.follow("nabi site example")?;
    guide.edit("site.toml", "hostname = \"nabi\"", &format!("hostname = \"{HOSTNAME}\""))?;
    guide.follow("nabi site check")?;
    guide.follow("make flash")?;

    for moment in CUTS {
        let mut machine = computer.boot(&Setup::default())?;
        machine.wait_for(moment)?;
        machine.cut_power();
    }
    let operator = lab.operator(&computer)?;
    let mut serving = lab::serving(&computer, &operator, &Setup::default())?;
    guide.follow("ssh admin@ADDRESS status")?;
    guide.follow("ssh admin@ADDRESS ca")?;
    the_screen_shows_what_to_compare(&mut serving, &operator)?;
    nothing_but_verbs_is_allowed(&operator)?;

    import_from_a_stick(&lab, &mut serving, &operator, &mut guide)?;
    guide.follow("ssh admin@ADDRESS model serve")?;
    let added = guide.follow("ssh admin@ADDRESS key add")?;
    let key = added.split_ascii_whitespace().find(|word| word.starts_with("nabi-")).context("no key")?;
    guide.put("Bearer KEY", format!("Bearer {key}"));
    let answer: Value = serde_json::from_str(&guide.follow("curl")?)?;
    ensure!(!text(&answer["choices"][0]["message"]["content"]).is_empty(), "no answer: {answer}");
    guide.end()?;

    let Serving { mut machine, ca, client } = serving;
    let user = client.with_key(key);
    let answer = lab::ask(&mut machine, &user, MODEL)?;
    ensure!(!lab::ask(&mut machine, &user, SELF_TEST)?.is_empty(), "the self-test model says nothing");
    machine.cut_power();
    goes_on(&computer, &operator, &ca, &user, &answer)
}

fn the_screen_shows_what_to_compare(serving: &mut Serving, operator: &Ssh) -> Result<()> {
    let ca = lab::verb(operator, "ca")?;
    ensure!(text(&ca["ca"]["certificate_pem"]).trim() == serving.ca.trim(), "two verbs, two certificates");
    let host_key = operator.host_key_fingerprint()?;
    let machine = &mut serving.machine;
    machine.wait_for(&regex_of(&host_key)).context("the SSH host key's fingerprint")?;
    machine.wait_for(&regex_of(&text(&ca["ca"]["sha256"]))).context("the CA's fingerprint")?;
    Ok(())
}

/// However the screen groups a fingerprint, its characters are the same.
fn regex_of(fingerprint: &str) -> String {
    let is_hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
    if !is_hexadecimal(fingerprint) {
        return fingerprint.replace('+', r"\+");
    }
    let digits = fingerprint.chars().filter(|digit| *digit != ':').map(String::from);
    format!("(?i){}", digits.collect::<Vec<_>>().join("[: ]?"))
}

fn nothing_but_verbs_is_allowed(operator: &Ssh) -> Result<()> {
    for (user, command) in
        [("root", "status"), ("admin", "sh -c id"), ("admin", "id"), ("admin", "status; id")]
    {
        let output = operator.try_verb(user, command)?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(!output.status.success() && !said.contains(SHELL_SIGN), "{user} may {command}: {said}");
    }
    let target = "admin@127.0.0.1";
    for (what, program, arguments) in [
        ("forwarding to itself", "ssh", &["-W", "127.0.0.1:443", target][..]),
        ("a forwarded port", "ssh", &["-N", "-R", "0:127.0.0.1:9", "-o", "ExitOnForwardFailure=yes", target]),
        ("the sftp subsystem", "ssh", &["-s", target, "sftp"]),
        ("sftp", "sftp", &["-b", "/dev/null", target]),
        ("scp", "scp", &["-O", "/etc/hostname", "admin@127.0.0.1:/tmp/"]),
        ("scp over sftp", "scp", &["/etc/hostname", "admin@127.0.0.1:/tmp/"]),
    ] {
        let mut command = operator.program(program);
        let output = command.args(arguments).stdin(std::process::Stdio::null()).output()?;
        ensure!(!output.status.success(), "{what} is allowed: {output:?}");
    }
    // An environment is not taken along: that is not refused aloud.
    let mut command = operator.program("ssh");
    let output = command.args(["-n", "-o", "SetEnv=LD_PRELOAD=/nowhere.so", target, "version"]).output()?;
    ensure!(!String::from_utf8_lossy(&output.stderr).contains("nowhere.so"), "an environment came along");
    Ok(())
}

fn import_from_a_stick(lab: &Lab, serving: &mut Serving, operator: &Ssh, guide: &mut Guide) -> Result<()> {
    let content = tempfile::tempdir()?;
    fs::copy(Tiny::make(Kind::DeepseekV3, None).path(), content.path().join("model.gguf"))?;
    let stick = lab.file("stick.raw");
    stick::ext4(&stick, STICK_LABEL, content.path(), STICK_BYTES)?;
    let plugged = serving.machine.plug(&stick)?;
    let medium = serving.machine.wait_until("the stick in `media list`", || {
        let listed = lab::verb(operator, "media list").ok()?;
        lab::find_medium(&listed, STICK_LABEL).map(|medium| text(&medium["name"]))
    })?;
    let listed = guide.follow("ssh admin@ADDRESS media list")?;
    ensure!(listed.contains(&medium) && listed.contains("model.gguf"), "{listed}");
    guide.put("STICK", medium);
    guide.follow("ssh admin@ADDRESS model import")?;
    serving.machine.unplug(&plugged)
}

/// After the power is back: the same CA, key, host key (else ssh refuses) and answer.
fn goes_on(computer: &Computer, operator: &Ssh, ca: &str, user: &Client, answer: &str) -> Result<()> {
    let mut serving = lab::serving(computer, operator, &Setup::default())?;
    ensure!(serving.ca == ca, "another CA after a power cut");
    let again = lab::ask(&mut serving.machine, user, MODEL)?;
    ensure!(again == answer, "another answer after a power cut: {again:?} instead of {answer:?}");
    serving.machine.power_off()
}
