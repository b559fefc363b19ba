//! What a computer says of itself: the memory in use, and what its start spent time on. Units that
//! print it to a second serial line come by the firmware; the image is as it is.

use std::fs;

use anyhow::{Context as _, Result};
use nabi_machine::{Setup, credential};

use super::appliance::Appliance;
use crate::report::{Figure, Goal, Row};

const MEMORY: Figure =
    Figure { measure: "memory in use before an engine starts", unit: "MB", goal: Goal::AtMost(220.0) };
const MEMORY_SERVING: Figure =
    Figure { measure: "memory in use with the self-test model", unit: "MB", goal: Goal::None };
const SLOWEST: usize = 10;
/// Waits, on a version that was kept too, until the self-test model has given its token.
const HAS_PROVEN_ITSELF: &str = "/usr/lib/nabi/nabi --state /var/lib/nabi --run /run/nabi boot-check";
/// Begins what one of the units prints.
const MARK: &str = "nabi-bench:";
const BYTES_PER_MB: f64 = 1e6;

/// Boots once more, and reads what it prints.
pub(crate) fn rows(appliance: &Appliance) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let serial = folder.path().join("serial");
    let mut machine =
        appliance.computer()?.boot(&Setup { second_serial: Some(serial.clone()), ..printing() })?;
    let told = machine.wait_until("what the computer says of itself", || {
        let told = fs::read_to_string(&serial).ok()?;
        told.lines().any(|line| line == format!("{MARK}end")).then_some(told)
    })?;
    let lines: Vec<&str> = told.lines().map(str::trim).collect();
    let mut rows = vec![
        MEMORY.alone(&[memory_mb(part(&lines, "before"))?]),
        MEMORY_SERVING.alone(&[memory_mb(part(&lines, "serving"))?]),
    ];
    // A device's time is that until somebody found it: of those who wait for it.
    let units = part(&lines, "slowest").iter().filter_map(|line| slow_unit(line));
    let slowest = units.filter(|(unit, _)| !unit.ends_with(".device")).take(SLOWEST);
    rows.extend(slowest.map(|(unit, seconds)| Row::plain(format!("start: {unit}"), "s", seconds)));
    Ok(rows)
}

fn printing() -> Setup {
    let mark = |name: &str| format!("ExecStart=echo {MARK}{name}\n");
    let print = |name: &str, command: &str| {
        format!("{}ExecStart={command}\n{}", mark(name), mark(&format!("end-of-{name}")))
    };
    // The first serial line is the console, in whose lines others write too. Names are whole in wide lines.
    let service = "[Service]\nType=oneshot\nEnvironment=COLUMNS=300\nStandardOutput=file:/dev/ttyS1\n";
    let before = format!(
        "[Unit]\nAfter=nabi-setup.service ssh.service systemd-networkd.service systemd-resolved.service\n\
         Before=nabi-supervisor.service\n{service}{}",
        print("before", "cat /proc/meminfo")
    );
    let after = format!(
        "[Unit]\nAfter=multi-user.target\n{service}ExecStart={HAS_PROVEN_ITSELF}\n{}{}{}",
        print("serving", "cat /proc/meminfo"),
        print("slowest", "systemd-analyze blame --no-pager"),
        mark("end")
    );
    let firmware_strings = vec![
        credential("systemd.extra-unit.bench-before.service", &before),
        credential("systemd.extra-unit.bench-after.service", &after),
        credential(
            "systemd.unit-dropin.nabi-supervisor.service~bench",
            "[Unit]\nWants=bench-before.service\n",
        ),
        credential("systemd.unit-dropin.multi-user.target~bench", "[Unit]\nWants=bench-after.service\n"),
    ];
    Setup { firmware_strings, ..Setup::default() }
}

/// The lines between two marks.
fn part<'a>(lines: &'a [&'a str], mark: &str) -> &'a [&'a str] {
    let find = |mark: &str| lines.iter().position(|line| line.strip_prefix(MARK) == Some(mark));
    match (find(mark), find(&format!("end-of-{mark}"))) {
        (Some(from), Some(to)) if from < to => &lines[from + 1..to],
        _ => &[],
    }
}

/// Of /proc/meminfo: what a new program could not have.
fn memory_mb(lines: &[&str]) -> Result<f64> {
    let value = |name: &str| {
        let line = lines.iter().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim_start_matches(':').trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.trim().parse::<f64>().ok()).with_context(|| format!("no {name} in {lines:?}"))
    };
    Ok((value("MemTotal")? - value("MemAvailable")?) * 1024.0 / BYTES_PER_MB)
}

/// A line of `systemd-analyze blame`: `1min 2.345s systemd-udev-settle.service`.
fn slow_unit(line: &str) -> Option<(&str, f64)> {
    let (times, unit) = line.rsplit_once(' ')?;
    let seconds = times.split_ascii_whitespace().map(|time| {
        let number = time.trim_end_matches(char::is_alphabetic);
        let factor = match &time[number.len()..] {
            "min" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        Some(number.parse::<f64>().ok()? * factor)
    });
    Some((unit, seconds.sum::<Option<f64>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_takes_minutes_or_milliseconds() {
        assert_eq!(slow_unit("1min 2.500s systemd-udev.service"), Some(("systemd-udev.service", 62.5)));
        assert_eq!(slow_unit("750ms ssh.service"), Some(("ssh.service", 0.75)));
        assert_eq!(slow_unit("[  OK  ] Reached target ssh.target"), None);
    }

    #[test]
    fn memory_in_use_is_what_is_not_available() {
        let lines = [
            "noise",
            "nabi-bench:before",
            "MemTotal:        2000000 kB",
            "MemFree: 1 kB",
            "MemAvailable:    1800000 kB",
            "nabi-bench:end-of-before",
            "MemTotal: 1 kB",
        ];
        let used = memory_mb(part(&lines, "before")).expect("both are there");
        assert!((used - 204.8).abs() < 1e-9, "{used}");
        assert!(memory_mb(part(&lines, "serving")).is_err());
    }
}
