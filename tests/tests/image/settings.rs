//! What the image sets is so in the running machine.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use nabi_machine::{Machine, Setup, credential};

use crate::lab::{self, Lab};

/// Begins a line that tells a setting: `nabi-test-setting: NAME=VALUE`.
const MARK: &str = "nabi-test-setting: ";
const END: &str = "nabi-test-settings-end";
/// `/var` outlives the version that made its files: whose they are must never change.
const USERS: [(&str, &str); 5] = [
    ("nabi-gateway", "803"),
    ("nabi-engine", "804"),
    ("nabi-import", "805"),
    ("admin", "806"),
    ("nabi-probe", "807"),
];
/// Default, the local one, and a port.
const INTERFACES_MIN: usize = 3;

#[test]
fn settings_hold_and_a_sleep_key_takes_nothing_away() -> Result<()> {
    let lab = Lab::new("settings")?;
    let (computer, operator) = lab.settled_computer()?;
    let mut serving = lab::serving(&computer, &operator, &telling())?;
    let first = told(&mut serving.machine)?;
    for (user, number) in USERS {
        ensure!(first.get(user).is_some_and(|told| told == number), "{user} is not {number}: {first:?}");
    }
    for (setting, value) in [("accept_redirects", "0"), ("rp_filter", "2")] {
        let of = first.iter().filter(|(name, _)| name.ends_with(setting) && !name.contains("/all/"));
        let of: Vec<_> = of.collect();
        ensure!(of.len() >= INTERFACES_MIN, "{setting}: {first:?}");
        ensure!(of.iter().all(|(_, found)| *found == value), "{setting}: {of:?}");
    }

    serving.machine.press("sleep")?;
    serving.machine.wait_for("Suspend key pressed")?;
    lab::check_answers(&mut serving, &operator)?;
    serving.machine.power_off()?;

    let mut machine = computer.boot(&telling())?;
    let again = told(&mut machine)?;
    ensure!(first["machine-id"].len() == 32 && first == again, "{first:?}, and then {again:?}");
    machine.power_off()
}

/// What the unit of [`telling`] says.
fn told(machine: &mut Machine) -> Result<BTreeMap<String, String>> {
    machine.wait_for(END)?;
    let lines = machine.console().lines().iter();
    let told = lines.filter_map(|line| line.text.split_once(MARK)?.1.split_once('='));
    Ok(told.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
}

/// A unit that comes by the firmware tells them, once the network is up.
fn telling() -> Setup {
    let users = USERS.map(|(user, _)| user).join(" ");
    let service = format!(
        "[Unit]\nAfter=network.target systemd-sysctl.service\n\
         [Service]\nType=oneshot\nStandardOutput=file:/dev/ttyS0\n\
         ExecStart=/bin/sh -c 'cd /proc/sys/net; \
         for file in ipv[46]/conf/*/accept_redirects ipv4/conf/*/rp_filter; do \
         echo \"{MARK}$$file=$$(cat $$file)\"; done; \
         for user in {users}; do echo \"{MARK}$$user=$$(id -u $$user)\"; done; \
         echo \"{MARK}machine-id=$$(cat /etc/machine-id)\"; echo {END}'\n"
    );
    // The screen would hang the serial line up.
    let journal = "[Unit]\nAfter=test-settings.service\n[Service]\nStandardOutput=file:/dev/ttyS0\n\
                   ExecStart=journalctl --follow --identifier=systemd-logind\n";
    let wanted = "[Unit]\nWants=test-settings.service test-journal.service\n";
    let firmware_strings = vec![
        credential("systemd.extra-unit.test-settings.service", &service),
        credential("systemd.extra-unit.test-journal.service", journal),
        credential("systemd.unit-dropin.multi-user.target~test", wanted),
        credential("systemd.unit-dropin.nabi-screen@.service~test", "[Unit]\nConditionPathExists=/nowhere\n"),
    ];
    Setup { firmware_strings, ..Setup::default() }
}
