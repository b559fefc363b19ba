//! Processes, as /proc shows them: the tests must see what no verb tells.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Whether it runs. One that ended and was not yet waited for does not.
pub fn runs(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'))
}

/// Its children that run.
///
/// # Panics
/// When /proc cannot be read.
pub fn children(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|&child| runs(child) && stat(child).is_some_and(|stat| stat.parent == pid)).collect()
}

/// It, and every process below it.
pub fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(children(parent));
        next += 1;
    }
    family
}

/// The name of its program, cut to 15 bytes by the kernel.
pub fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

/// Sends a signal to a process that runs.
///
/// # Panics
/// When it does not.
pub fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal)
        .unwrap_or_else(|error| panic!("{signal} to {pid}: {error}"));
}

/// Sends a signal to a process that may have ended.
pub fn signal_if_it_runs(pid: u32, signal: Signal) {
    if runs(pid) {
        // It may end just now.
        let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
    }
}

struct Stat {
    state: char,
    parent: u32,
}

/// Of /proc/PID/stat: "pid (name) state parent …", where the name may hold anything.
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    Some(Stat { state: fields.next()?.chars().next()?, parent: fields.next()?.parse().ok()? })
}
