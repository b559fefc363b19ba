//! What the operator should see to.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use nabi_domain::boot::{ModelNow, SelfTest, Wanted};
use nabi_wire::reply::Alarm;
use nix::sys::statvfs::{FsFlags, Statvfs, statvfs};

/// A disk with less than this part free is nearly full,
const LOW_SPACE_DIVISOR: u64 = 20;
/// but so much is enough on any.
const LOW_SPACE_BYTES_MAX: u64 = 2_000_000_000;
/// A clock that is behind by less is no matter.
const CLOCK_SLACK_S: u64 = 86_400;

pub(super) fn of_models(wanted: &[Wanted]) -> Vec<Alarm> {
    let alarm = |model: &Wanted| match &model.now {
        ModelNow::Absent { reason } => {
            Some(Alarm::ModelAbsent { model: model.name.clone(), reason: reason.clone() })
        }
        _ => None,
    };
    wanted.iter().filter_map(alarm).collect()
}

pub(super) fn of_self_test(outcome: &SelfTest) -> Option<Alarm> {
    match outcome {
        SelfTest::Passed { .. } | SelfTest::Pending { .. } => None,
        SelfTest::Failed { reason } => Some(Alarm::SelfTest { reason: reason.clone() }),
        SelfTest::WrongTokens { expected, found } => {
            let reason = format!("the tokens {found:?} came instead of {expected:?}");
            Some(Alarm::SelfTest { reason })
        }
    }
}

/// Of the disks of these folders, each once.
pub(super) fn of_disks(folders: &[PathBuf]) -> Vec<Alarm> {
    let mut seen = Vec::new();
    let mut alarms = Vec::new();
    for folder in folders {
        let Ok(disk) = statvfs(folder) else { continue };
        if !seen.contains(&disk.filesystem_id()) {
            seen.push(disk.filesystem_id());
            alarms.extend(of_disk(folder, Disk::of(&disk)));
        }
    }
    alarms
}

struct Disk {
    bytes: u64,
    free_bytes: u64,
    read_only: bool,
}

impl Disk {
    fn of(disk: &Statvfs) -> Self {
        Self {
            bytes: disk.blocks() * disk.fragment_size(),
            free_bytes: disk.blocks_available() * disk.fragment_size(),
            read_only: disk.flags().contains(FsFlags::ST_RDONLY),
        }
    }
}

fn of_disk(folder: &std::path::Path, disk: Disk) -> Option<Alarm> {
    let folder = folder.to_owned();
    let enough_bytes = (disk.bytes / LOW_SPACE_DIVISOR).min(LOW_SPACE_BYTES_MAX);
    if disk.read_only {
        Some(Alarm::ReadOnly { folder })
    } else if disk.free_bytes < enough_bytes {
        Some(Alarm::LowSpace { folder, free_bytes: disk.free_bytes })
    } else {
        None
    }
}

/// Files that were written cannot be of the future.
pub(super) fn of_clock(written: &[PathBuf]) -> Option<Alarm> {
    let unix_s = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let changed = |path: &PathBuf| Some(unix_s(fs::metadata(path).ok()?.modified().ok()?));
    let newest_s = written.iter().filter_map(changed).max()?;
    clock_behind(unix_s(SystemTime::now()), newest_s)
}

fn clock_behind(now_unix_s: u64, newest_unix_s: u64) -> Option<Alarm> {
    (now_unix_s + CLOCK_SLACK_S < newest_unix_s).then_some(Alarm::ClockBehind { now_unix_s })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;

    #[test]
    fn a_disk_that_is_nearly_full_or_takes_nothing_is_an_alarm() {
        let alarm =
            |bytes, free_bytes, read_only| of_disk("/models".as_ref(), Disk { bytes, free_bytes, read_only });
        assert_eq!(alarm(10 * GB, GB, false), None);
        assert_eq!(alarm(1000 * GB, 3 * GB, false), None, "so much is enough on any disk");
        let low = |free_bytes| Some(Alarm::LowSpace { folder: "/models".into(), free_bytes });
        assert_eq!(alarm(10 * GB, GB / 4, false), low(GB / 4));
        assert_eq!(alarm(1000 * GB, GB, false), low(GB));
        assert_eq!(alarm(10 * GB, 0, true), Some(Alarm::ReadOnly { folder: "/models".into() }));
    }

    #[test]
    fn a_clock_before_what_was_written_is_wrong() {
        assert_eq!(clock_behind(CLOCK_SLACK_S, 0), None);
        assert_eq!(clock_behind(0, CLOCK_SLACK_S), None);
        assert_eq!(clock_behind(7, CLOCK_SLACK_S + 8), Some(Alarm::ClockBehind { now_unix_s: 7 }));
    }

    #[test]
    fn models_that_are_away_and_a_failed_self_test_are_alarms() {
        let name = || "chat".parse().expect("a name");
        let model = |now| Wanted { name: name(), files: None, now };
        let gone = ModelNow::Absent { reason: "gone".into() };
        let alarms = of_models(&[model(ModelNow::Serves), model(ModelNow::Loading), model(gone)]);
        assert_eq!(alarms, [Alarm::ModelAbsent { model: name(), reason: "gone".into() }]);
        assert_eq!(of_self_test(&SelfTest::Passed { tokens: 1 }), None);
        let wrong = SelfTest::WrongTokens { expected: vec![1], found: vec![2] };
        assert!(
            of_self_test(&wrong).is_some_and(|alarm| alarm.to_string().contains("[2] came instead of [1]"))
        );
    }
}
