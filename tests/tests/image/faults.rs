//! What an operator, a disk, a cable or a clock can do wrong.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nabi_machine::{Computer, Esp, Setup, Ssh, on_esp};

use crate::lab::{self, Lab};

const SITE_FILE: &str = "/nabi/site.toml";
const KEY_FILE: &str = "/nabi/admin.pub";
/// A server that hears plain HTTP on its port says so at once.
const ANSWER_S_MAX: u64 = 30;
/// All is started that will be.
const STARTED: &str = "Reached target multi-user";

/// A machine that is to say something on its screen and to be closed; then its files are put right.
fn stays_closed(
    story: &str,
    spoil: impl FnOnce(&Esp, &Lab) -> Result<()>,
    screen: &[&str],
    repair: impl FnOnce(&Esp, &Lab) -> Result<()>,
) -> Result<()> {
    let lab = Lab::new(story)?;
    let computer = lab.computer(lab.flash(lab::site())?)?;
    let operator = lab.operator(&computer)?;
    on_esp(computer.disk(), |esp| spoil(esp, &lab))?;
    let mut machine = computer.boot(&Setup::default())?;
    for words in screen {
        machine.wait_for(words)?;
    }
    machine.wait_for(STARTED)?;
    is_closed(&computer, &operator)?;
    machine.power_off()?;
    on_esp(computer.disk(), |esp| repair(esp, &lab))?;
    lab::check_serves(&computer, &operator, &Setup::default()).context("once put right")?;
    Ok(())
}

fn is_closed(computer: &Computer, operator: &Ssh) -> Result<()> {
    ensure!(!operator.answers(), "SSH answers");
    // QEMU takes the connection in any case, and drops it when the machine does not.
    let answer = TcpStream::connect((Ipv4Addr::LOCALHOST, computer.https_port())).and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(ANSWER_S_MAX)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        stream.read(&mut [0; 1])
    });
    ensure!(!matches!(answer, Ok(1..)), "port 443 answers");
    Ok(())
}

#[test]
fn a_fault_in_the_site_file_is_shown_with_its_line() -> Result<()> {
    let write = |esp: &Esp, lab: &Lab, text: &str| {
        let file = lab.file("edited.toml");
        fs::write(&file, text)?;
        esp.write(&file, SITE_FILE)
    };
    let wrong = format!("{}answer_pings = true\n", lab::site());
    let line = wrong.lines().count();
    stays_closed(
        "site-error",
        |esp, lab| write(esp, lab, &wrong),
        &[&format!("site.toml, line {line}.*answer_pings")],
        |esp, lab| write(esp, lab, lab::site()),
    )
}

#[test]
fn a_missing_key_is_asked_for() -> Result<()> {
    stays_closed(
        "no-key",
        |esp, _| esp.remove(KEY_FILE),
        &["admin.pub"],
        |esp, lab| esp.write(&lab.file("admin.pub"), KEY_FILE),
    )
}

#[test]
fn without_a_cable_it_waits_and_serves_when_it_is_plugged() -> Result<()> {
    let lab = Lab::new("no-cable")?;
    let (computer, operator) = lab.settled_computer()?;
    let mut machine = computer.boot(&Setup { cable_out: true, ..Setup::default() })?;
    machine.wait_for("No network address yet")?;
    machine.plug_cable(true)?;
    let mut serving = lab::answering(machine, &computer, &operator)?;
    lab::check_answers(&mut serving, &operator)
}

#[test]
fn with_a_wrong_clock_it_serves() -> Result<()> {
    let lab = Lab::new("wrong-clock")?;
    let computer = lab.computer(lab.flash(lab::site())?)?;
    let setup = Setup { clock: Some("1999-01-01T00:00:00".into()), ..Setup::default() };
    lab::check_serves(&computer, &lab.operator(&computer)?, &setup).map(drop)
}
