//! Whatever lies below the root folder, reading it ends, and gives an inventory that can be sent on.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nabi_domain::hardware::Inventory;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use proptest::prelude::*;

const MACHINES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/machines");
/// Beyond what is read of a file.
const HUGE_BYTES: u64 = 5 << 20;

/// Texts of all recorded and constructed machines.
fn recordings() -> Vec<String> {
    let entries =
        fs::read_dir(MACHINES).expect("they are there").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "tree")).collect();
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).expect("it can be read")).collect()
}

/// Reads it, and sends the inventory on and back.
fn check(root: &Path) -> Inventory {
    let found = nabi_hardware::read(root).expect("the folder is there");
    let sent = serde_json::to_string(&found.inventory).expect("JSON");
    assert_eq!(serde_json::from_str::<Inventory>(&sent).expect("its own JSON"), found.inventory);
    let again = tempfile::tempdir().expect("a folder");
    nabi_hardware::lay_out(&found.recording, again.path()).expect("its own recording");
    found.inventory
}

/// All files below a folder, none of which is a link.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("its kind");
        if kind.is_dir() {
            files.extend(self::files(&entry.path()));
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files
}

type Way = fn(&Path);

#[test]
fn files_that_are_empty_huge_cyclic_pipes_or_folders_are_problems_at_most() {
    let ways: [(&str, Way); 5] = [
        ("empty", |path| fs::write(path, "").expect("written")),
        ("huge", |path| {
            fs::File::create(path).and_then(|file| file.set_len(HUGE_BYTES)).expect("made");
        }),
        ("cyclic", |path| symlink(path.file_name().expect("a name"), path).expect("made")),
        ("pipe", |path| mkfifo(path, Mode::S_IRWXU).expect("made")),
        ("folder", |path| fs::create_dir(path).expect("made")),
    ];
    for recording in recordings() {
        let title = recording.lines().next().unwrap_or_default();
        for (way, replace) in ways {
            let root = tempfile::tempdir().expect("a folder");
            nabi_hardware::lay_out(&recording, root.path()).expect("a recording");
            for file in files(root.path()) {
                fs::remove_file(&file).expect("removed");
                replace(&file);
            }
            // Memory is told of by each machine, and asked of each.
            assert!(!check(root.path()).problems.is_empty(), "{title}: {way}");
        }
    }
}

/// A line of a recording as somebody or something may have spoilt it.
fn spoilt() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("-1".to_owned()),
        Just("18446744073709551615".to_owned()),
        Just("0xffffffffffffffff".to_owned()),
        Just("0-65535".to_owned()),
        Just("4294967295".to_owned()),
        Just("\u{0}\u{1b}[2J:\u{fffd}".to_owned()),
        "[ -?A-~]{0,40}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Values, not paths: these are the kernel's.
    #[test]
    fn any_value_in_any_file_is_read_to_its_end(
        machine in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), spoilt()), 1..40),
    ) {
        let recordings = recordings();
        let recording = machine.get(&recordings);
        let mut lines: Vec<String> = recording.lines().map(str::to_owned).collect();
        let values: Vec<usize> = (0..lines.len()).filter(|&line| !lines[line].starts_with(['@', '#'])).collect();
        for (place, value) in changes {
            if !values.is_empty() && !value.starts_with(['@', '#']) {
                lines[*place.get(&values)] = value;
            }
        }
        let root = tempfile::tempdir().expect("a folder");
        nabi_hardware::lay_out(&lines.join("\n"), root.path()).expect("a recording");
        check(root.path());
    }
}
