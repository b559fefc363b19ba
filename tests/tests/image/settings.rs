//! What the image sets is so in the running machine.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use nabi_machine::{Setup, credential};

use crate::lab::{self, Lab};

/// Begins a line that tells a setting: `nabi-test-setting: NAME=VALUE`.
const MARK: &str = "nabi-test-setting: ";
const END: &str = "nabi-test-settings-end";
/// `/var` outlives the version that made its files: whose they are must never change.
const USERS: [(&str, &str); 4] =
    [("nabi-gateway", "803"), ("nabi-engine", "804"), ("nabi-import", "805"), ("admin", "806")];
/// All, default, the local one, and a port.
const INTERFACES_MIN: usize = 4;

#[test]
fn settings_hold_and_a_sleep_key_takes_nothing_away() -> Result<()> {
    let lab = Lab::new("settings")?;
    let (computer, operator) = lab.settled_computer()?;
    let mut serving = lab::serving(&computer, &operator, &telling())?;
    serving.machine.wait_for(END)?;
    let lines = serving.machine.console().lines().iter();
    let told = lines.filter_map(|line| line.text.split_once(MARK)?.1.split_once('='));
    let told: BTreeMap<_, _> = told.collect();
    for (user, number) in USERS {
        ensure!(told.get(user) == Some(&number), "{user} is not {number}: {told:?}");
    }
    for (setting, value) in [("accept_redirects", "0"), ("rp_filter", "2")] {
        let of = told.iter().filter(|(name, _)| name.ends_with(setting) && !name.contains("/all/"));
        let of: Vec<_> = of.collect();
        ensure!(of.len() >= INTERFACES_MIN - 1, "{setting}: {told:?}");
        ensure!(of.iter().all(|(_, found)| **found == value), "{setting}: {of:?}");
    }

    for _ in 0..3 {
        serving.machine.press("sleep")?;
        lab::check_answers(&mut serving, &operator)?;
    }
    serving.machine.power_off()
}

/// A unit that comes by the firmware tells them, once the network is up.
fn telling() -> Setup {
    let users = USERS.map(|(user, _)| user).join(" ");
    let service = format!(
        "[Unit]\nAfter=network.target systemd-sysctl.service\nBefore=nabi-screen@ttyS0.service\n\
         [Service]\nType=oneshot\nStandardOutput=file:/dev/ttyS0\n\
         ExecStart=/bin/sh -c 'cd /proc/sys/net; \
         for file in ipv[46]/conf/*/accept_redirects ipv4/conf/*/rp_filter; do \
         echo \"{MARK}$$file=$$(cat $$file)\"; done; \
         for user in {users}; do echo \"{MARK}$$user=$$(id -u $$user)\"; done; echo {END}'\n"
    );
    let firmware_strings = vec![
        credential("systemd.extra-unit.test-settings.service", &service),
        credential("systemd.unit-dropin.multi-user.target~test", "[Unit]\nWants=test-settings.service\n"),
    ];
    Setup { firmware_strings, ..Setup::default() }
}
