//! Imports that must not succeed, or not yet.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nabi_model_corpus::gguf::Gguf;
use nabi_model_corpus::hostile;
use nabi_tests::appliance::{Appliance, State, process, text, wait_for};
use nabi_tests::programs::demo_model;
use nix::sys::signal::Signal;

use crate::{TINY, argument, tiny};

const LARGE_BYTES: u64 = 1 << 30;

/// A good model that takes its time to copy: a hole of zeros.
pub(crate) fn write_large(path: &Path) {
    let elements = LARGE_BYTES / 4;
    let header = Gguf::of("llama").tensor("token_embd.weight", &[64, elements / 64], 0, &[]).build();
    fs::write(path, &header).expect("written");
    let file = File::options().write(true).open(path).expect("opened");
    file.set_len(header.len() as u64 + LARGE_BYTES).expect("a hole");
}

/// Work that may be over before it is interrupted is begun again so often.
pub(crate) const ATTEMPTS_MAX: u32 = 50;

#[test]
fn an_interrupted_import_goes_on_where_it_stopped() {
    let state = State::empty();
    let up = state.up(&[]);
    let large = state.path("large.gguf");
    write_large(&large);
    let verb = ["model", "import", argument(&large)];
    // Until the signal comes before the end: as a rule, the first time.
    let mut attempts = 0;
    while !is_interrupted(&state, &up, &verb) {
        attempts += 1;
        assert!(attempts < ATTEMPTS_MAX, "imports go on though nobody waits for them");
        state.done(&["model", "remove", "large"]);
    }
    let unfinished = || state.done(&["model", "list"])["models"]["unfinished"].take();
    let left = unfinished();
    assert_eq!((&left[0]["name"], &left[0]["work"]), (&"large".into(), &"import".into()), "{left}");
    assert!(left[0]["bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{left}");
    let imported = state.done(&verb);
    assert_eq!(unfinished(), serde_json::json!([]));
    assert_eq!(imported["imported"]["bytes"].as_u64(), Some(fs::metadata(&large).expect("it").len()));
    let log = state.done(&["logs", "import"]).to_string();
    assert!(log.contains("goes on after"), "{log}");
    state.done(&["model", "verify", "large"]);
}

/// Begins an import and interrupts it; false if it was done before.
fn is_interrupted(state: &State, up: &Appliance, verb: &[&str]) -> bool {
    let mut import = state.verb_command(verb).stderr(Stdio::null()).spawn().expect("nabi starts");
    let worker = wait_for("the import runs", || {
        process::children(up.supervisor_pid())
            .into_iter()
            .find(|&child| process::name(child) == "nabi-import")
    });
    let copied = || find(&state.path("models"), "large.gguf").and_then(|copy| fs::metadata(copy).ok());
    wait_for("a part is safe", || copied().filter(|copy| copy.len() > LARGE_BYTES / 4));
    // As by Ctrl-C, which a shell makes its background processes ignore.
    process::signal(import.id(), Signal::SIGTERM);
    wait_for("the verb ends", || import.try_wait().expect("waits"));
    wait_for("the import ends", || (!process::runs(worker)).then_some(()));
    // Half a model is none.
    state.models().is_empty()
}

/// A file below a folder.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries: Vec<_> = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let found = entries.iter().find(|path| path.is_file() && path.ends_with(name)).cloned();
    found.or_else(|| entries.iter().find_map(|path| find(path, name)))
}

#[test]
fn hostile_files_are_refused_in_the_readers_words() {
    let state = State::empty();
    let _up = state.up(&[]);
    let path = state.path("hostile.gguf");
    for file in hostile::gguf() {
        fs::write(&path, &file.bytes).expect("written");
        let said = state.fails(&["model", "import", argument(&path)]);
        assert!(said.contains(file.words), "{}: {said}", file.name);
    }
    assert!(state.fails(&["model", "import", "/nowhere.gguf"]).contains("/nowhere.gguf"));
    assert!(state.models().is_empty());
    state.done(&["model", "import", argument(&tiny().path()), "--name", TINY]);
    assert_eq!(text(&state.done(&["model", "serve", TINY])["serving"]["model"]), TINY);
}

/// A small file system of its own, for those who may mount one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: PathBuf, mib: u64) -> Option<Self> {
        fs::create_dir_all(&folder).expect("the state is writable");
        let size = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(&folder).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(folder));
        }
        eprintln!("skipped: mounting a small file system needs root");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.0.display());
        }
    }
}

#[test]
fn a_model_that_does_not_fit_on_the_disk_says_how_much_is_missing() {
    let state = State::empty();
    let Some(_disk) = SmallDisk::mount(state.path("models"), 100) else { return };
    let up = state.up(&[]);
    let said = state.fails(&["model", "import", argument(&demo_model())]);
    // The model, and what is kept in reserve, against the disk.
    for words in ["115.1 MB", "104.9 MB", "nabi model remove"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(state.models().is_empty());
    state.done(&["model", "import", argument(&tiny().path()), "--name", TINY]);
    assert_eq!(state.models(), [TINY]);
    drop(up);
}
