//! Processes, as /proc shows them.

use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// How long a process may take to end when asked to.
const END_MS_MAX: u64 = 30_000;
/// How long others may go on working before a run.
const REST_MS_MAX: u64 = 60_000;
/// Who uses less than one clock tick in this time is at rest.
const REST_LOOK_MS: u64 = 200;
const POLL_MS: u64 = 10;

/// A process that is asked to end when dropped, and then killed.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    end_with: Signal,
}

impl Running {
    pub(crate) fn new(child: Child, end_with: Signal) -> Self {
        Self { child, end_with }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error when it has ended.
    pub(crate) fn check(&mut self, name: &str) -> Result<()> {
        match self.child.try_wait().with_context(|| format!("cannot look after {name}"))? {
            Some(status) => bail!("{name} ended with {status}"),
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is what is wanted.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), self.end_with);
        let deadline = Instant::now() + Duration::from_millis(END_MS_MAX);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(POLL_MS));
        }
    }
}

/// User and system time of a process so far, in steps of a clock tick.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = stat(pid)?;
    // utime and stime are the 14th and 15th field, and the 12th and 13th after the name.
    let ticks = |at: usize| stat.get(at).and_then(|field| field.parse::<u64>().ok());
    let (Some(user), Some(system)) = (ticks(11), ticks(12)) else { bail!("/proc/{pid}/stat has no times") };
    let hertz = sysconf(SysconfVar::CLK_TCK).ok().flatten().context("the system has no clock tick")?;
    Ok(Duration::from_secs_f64((user + system) as f64 / hertz as f64))
}

/// The fields after the name, of which the first is the state.
fn stat(pid: u32) -> Result<Vec<String>> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let (_, fields) = text.rsplit_once(')').with_context(|| format!("{path} has no name"))?;
    Ok(fields.split_ascii_whitespace().map(str::to_owned).collect())
}

/// Waits until none of these processes computes.
pub(crate) async fn at_rest(pids: &[u32]) -> Result<()> {
    let deadline = Instant::now() + Duration::from_millis(REST_MS_MAX);
    loop {
        let used = || pids.iter().map(|&pid| cpu_time(pid)).sum::<Result<Duration>>();
        let before = used()?;
        tokio::time::sleep(Duration::from_millis(REST_LOOK_MS)).await;
        if used()? == before {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("processes {pids:?} still compute after {REST_MS_MAX} ms without a request");
        }
    }
}

/// It and all processes below it.
pub(crate) fn family(pid: u32) -> Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot list /proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // It may have ended since it was listed.
        if let Ok(stat) = stat(pid)
            && let Some(parent) = stat.get(1).and_then(|parent| parent.parse::<u32>().ok())
        {
            parents.push((pid, parent));
        }
    }
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&member) = family.get(next) {
        family.extend(parents.iter().filter(|&&(_, parent)| parent == member).map(|&(pid, _)| pid));
        next += 1;
    }
    Ok(family)
}

/// The one of these whose program is called so.
pub(crate) fn find(pids: &[u32], program: &str) -> Result<u32> {
    // The kernel cuts names to 15 bytes.
    let name = &program[..program.len().min(15)];
    let is_it =
        |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name);
    pids.iter().copied().find(|&pid| is_it(pid)).with_context(|| format!("{program} does not run"))
}

/// Open files, sockets among them.
pub(crate) fn open_files(pid: u32) -> Result<usize> {
    let path = format!("/proc/{pid}/fd");
    Ok(fs::read_dir(&path).with_context(|| format!("cannot list {path}"))?.count())
}

/// Resident memory, bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    resident_bytes_but(pid, "/no such file")
}

/// Resident memory without the pages of mapped files whose paths end so, bytes.
pub(crate) fn resident_bytes_but(pid: u32, path_end: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    Ok(sum_of_mappings(&text, path_end))
}

fn sum_of_mappings(smaps: &str, but_path_end: &str) -> u64 {
    let (mut bytes, mut counts) = (0, true);
    for line in smaps.lines() {
        let Some((name, value)) = line.split_once(char::is_whitespace) else { continue };
        if let Some(rss) = (name == "Rss:").then(|| value.trim().trim_end_matches(" kB").parse::<u64>()) {
            bytes += rss.ok().filter(|_| counts).unwrap_or(0) * 1024;
        } else if !name.ends_with(':') {
            counts = !value.ends_with(but_path_end);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapped_model_is_not_counted() {
        let smaps = "7f00-7f10 r--s 00000000 fe:00 7 /m/model.gguf\nSize: 64 kB\nRss: 40 kB\nPss: 40 kB\n\
                     7f10-7f20 rw-p 00000000 00:00 0 \nSize: 64 kB\nRss: 12 kB\n\
                     7f20-7f30 r-xp 00000000 fe:00 8 /lib/libllama.so\nRss:            8 kB\nVmFlags: rd\n";
        assert_eq!(sum_of_mappings(smaps, ".gguf"), 20 * 1024);
        assert_eq!(sum_of_mappings(smaps, "/no such file"), 60 * 1024);
    }

    #[test]
    fn this_process_computes_and_is_found() {
        let own = std::process::id();
        let before = cpu_time(own).expect("/proc has it");
        while cpu_time(own).expect("/proc has it") == before {
            std::hint::black_box((0..100_000).sum::<u64>());
        }
        assert!(family(1).expect("/proc can be listed").contains(&1));
        assert!(resident_bytes(own).expect("/proc has it") > 1 << 20);
        assert!(open_files(own).expect("/proc has it") >= 3);
    }
}
