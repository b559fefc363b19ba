//! Imports that are killed, and sources that change or go away.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use nabi_model_corpus::gguf::{Gguf, split_llama};
use nabi_models::StoredModel;
use nabi_wire::lifeline::PARENT_GONE;
use nix::sys::signal::Signal;

use crate::support::Bench;

const LARGE_MIB: u64 = 200;

fn hashes(model: &StoredModel) -> Vec<(String, u64, String)> {
    let files = model.manifest.files.iter();
    files.map(|file| (file.name.clone(), file.bytes, file.sha256.clone())).collect()
}

/// How an import ends before its time.
#[derive(Clone, Copy)]
enum Interrupt {
    Signal(Signal),
    CloseStdin,
    CloseStdout,
}

const KILL: Interrupt = Interrupt::Signal(Signal::SIGKILL);

/// Imports a large file under two names: whole, and interrupted. Returns the log of
/// the run that went on.
fn interrupted(interrupt: Interrupt, meanwhile: impl FnOnce(&Path)) -> String {
    let bench = Bench::new();
    let source = bench.write_large("large.gguf", LARGE_MIB);
    let mut run = bench.start("import", "large", Some(&source));
    run.wait_for_checkpoint(&bench.partial("large"));
    match interrupt {
        Interrupt::Signal(signal) => run.signal(signal),
        Interrupt::CloseStdin => run.close_stdin(),
        Interrupt::CloseStdout => run.close_stdout(),
    }
    let end = run.end();
    let expected = match interrupt {
        Interrupt::Signal(signal) => (None, Some(signal as i32)),
        Interrupt::CloseStdin | Interrupt::CloseStdout => (Some(i32::from(PARENT_GONE)), None),
    };
    assert_eq!((end.code, end.signal), expected, "{}", end.log);
    let partial = bench.partial("large");
    assert!(partial.join("large.gguf").exists(), "the beginning is kept");
    assert!(!bench.store_folder().join("large").exists(), "and is no model");

    meanwhile(&partial);
    let resumed = bench.import("large", &source);
    let whole = bench.import("whole", &source);
    assert_eq!(resumed.done().parameters, whole.done().parameters);
    assert_eq!(hashes(&bench.stored("large")), hashes(&bench.stored("whole")));
    assert_eq!(bench.names(), ["large", "whole"]);
    resumed.log
}

#[test]
fn a_killed_import_goes_on_where_it_stopped() {
    let log = interrupted(KILL, |_| {});
    assert!(log.contains("goes on after"), "{log}");
}

#[test]
fn sigterm_keeps_what_is_copied() {
    let log = interrupted(Interrupt::Signal(Signal::SIGTERM), |_| {});
    assert!(log.contains("goes on after"), "{log}");
}

#[test]
fn the_end_of_standard_input_is_the_end_of_the_import() {
    let log = interrupted(Interrupt::CloseStdin, |_| {});
    assert!(log.contains("goes on after"), "{log}");
}

#[test]
fn nobody_who_listens_is_the_end_of_the_import() {
    let log = interrupted(Interrupt::CloseStdout, |_| {});
    assert!(log.contains("goes on after"), "{log}");
}

#[test]
fn a_beginning_that_was_damaged_is_copied_anew() {
    let log = interrupted(KILL, |partial| {
        let mut file = File::options().write(true).open(partial.join("large.gguf")).expect("the beginning");
        file.seek(SeekFrom::Start(5 << 20)).expect("seeks");
        file.write_all(b"bit rot").expect("writes");
    });
    assert!(log.contains("copied anew"), "{log}");
}

#[test]
fn a_beginning_that_is_gone_or_a_lost_journal_is_copied_anew() {
    let log = interrupted(KILL, |partial| {
        fs::remove_file(partial.join("large.gguf")).expect("removes");
    });
    assert!(log.contains("copied anew"), "{log}");
    let log = interrupted(KILL, |partial| {
        fs::write(partial.join(".journal.json"), b"{\"files\":[{\"so").expect("writes");
    });
    assert!(!log.contains("goes on"), "{log}");
}

#[test]
fn a_source_that_changed_between_runs_is_copied_anew() {
    let bench = Bench::new();
    let source = bench.write_large("large.gguf", LARGE_MIB);
    let mut run = bench.start("import", "large", Some(&source));
    run.wait_for_checkpoint(&bench.partial("large"));
    run.signal(Signal::SIGKILL);
    assert_eq!(run.end().signal, Some(9));

    let mut file = File::options().write(true).open(&source).expect("the source");
    file.seek(SeekFrom::Start(2 << 20)).expect("seeks");
    file.write_all(b"another model").expect("writes");
    drop(file);
    let resumed = bench.import("large", &source);
    resumed.done();
    assert!(!resumed.log.contains("goes on"), "{}", resumed.log);
    assert_eq!(
        fs::read(bench.stored("large").entry_point()).expect("the copy"),
        fs::read(source).expect("it")
    );
}

#[test]
fn a_shorter_source_leaves_nothing_of_a_longer_one() {
    let bench = Bench::new();
    let source = bench.write_large("model.gguf", LARGE_MIB);
    let mut run = bench.start("import", "model", Some(&source));
    run.wait_for_checkpoint(&bench.partial("model"));
    run.signal(Signal::SIGKILL);
    run.end();
    let bytes = Gguf::llama().build();
    bench.write("model.gguf", &bytes);
    bench.import("model", &source).done();
    assert_eq!(fs::read(bench.stored("model").entry_point()).expect("the copy"), bytes);
}

#[test]
fn a_source_that_changes_during_the_copy_is_refused() {
    let cut = |file: File| file.set_len(3 << 20);
    let rewrite = |mut file: File| file.write_all(b"GGUF");
    for change in [&cut as &dyn Fn(File) -> io::Result<()>, &rewrite] {
        let bench = Bench::new();
        let source = bench.write_large("large.gguf", LARGE_MIB);
        let mut run = bench.start("import", "large", Some(&source));
        run.wait_for_checkpoint(&bench.partial("large"));
        run.signal(Signal::SIGSTOP);
        File::options().write(true).open(&source).and_then(change).expect("changes the source");
        run.signal(Signal::SIGCONT);
        let end = run.end();
        assert!(end.failed().contains("changed while it was imported"), "{}", end.failed());
    }
}

#[test]
fn a_copy_that_is_damaged_on_the_way_is_no_model_and_begins_anew() {
    let bench = Bench::new();
    let source = bench.write_large("large.gguf", LARGE_MIB);
    let mut run = bench.start("import", "large", Some(&source));
    run.wait_for_checkpoint(&bench.partial("large"));
    run.signal(Signal::SIGSTOP);
    let copy = File::options().write(true).open(bench.partial("large").join("large.gguf"));
    copy.and_then(|mut file| file.write_all(b"JUNK")).expect("damages the copy");
    run.signal(Signal::SIGCONT);
    let end = run.end();
    assert!(end.failed().contains("is not the model that was read"), "{}", end.failed());
    bench.import("large", &source).done();
}

#[test]
fn a_stick_that_is_pulled_is_named_and_can_come_back() {
    let bench = Bench::new();
    let parts = split_llama(2);
    for (name, bytes) in &parts {
        bench.write(name, bytes);
    }
    // The first part becomes large, so that there is time to pull the stick before the second.
    let first = bench.source(&parts[0].0);
    let (_, header) = &parts[0];
    let file = File::options().write(true).open(&first).expect("the first part");
    file.set_len(header.len() as u64 + (200 << 20)).expect("grows");
    drop(file);

    let mut run = bench.start("import", "split", Some(&first));
    run.wait_for(1);
    run.signal(Signal::SIGSTOP);
    fs::rename(bench.source(""), bench.source("").with_file_name("pulled")).expect("pulls the stick");
    run.signal(Signal::SIGCONT);
    let end = run.end();
    assert!(end.failed().contains("run the same import again"), "{}", end.failed());

    fs::rename(bench.source("").with_file_name("pulled"), bench.source("")).expect("plugs it in again");
    bench.import("split", &first).done();
    assert_eq!(bench.stored("split").manifest.files.len(), 2);
}
