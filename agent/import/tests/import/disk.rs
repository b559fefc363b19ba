//! Disks that are too small.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::Bench;

const LARGE_MIB: u64 = 300;

/// A small file system of its own, for those who may mount one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: &Path, mib: u64) -> Option<Self> {
        let size = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(folder).status();
        if mounted.is_ok_and(|status| status.success()) {
            Some(Self(folder.to_owned()))
        } else {
            eprintln!("skipped: mounting a small file system needs root");
            None
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{:?} stays mounted", self.0);
        }
    }
}

#[test]
fn a_model_that_does_not_fit_is_refused_before_the_copy() {
    let bench = Bench::new();
    let Some(_disk) = SmallDisk::mount(&bench.store_folder(), 100) else { return };
    let end = bench.import("large", &bench.write_large("large.gguf", LARGE_MIB));
    let message = end.failed();
    for words in ["331.4 MB", "104.9 MB", "nabi model remove"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    assert!(bench.names().is_empty());
}

#[test]
fn a_disk_that_becomes_full_keeps_the_beginning() {
    let bench = Bench::new();
    let Some(_disk) = SmallDisk::mount(&bench.store_folder(), 400) else { return };
    let source = bench.write_large("large.gguf", LARGE_MIB);
    let mut run = bench.start("import", "large", Some(&source));
    run.wait_for_checkpoint(&bench.partial("large"));
    run.signal(Signal::SIGSTOP);
    let ballast = bench.store_folder().join("ballast");
    let written = File::create(&ballast).and_then(|mut file| {
        let block = vec![1; 1 << 20];
        (0..).try_for_each(|_| file.write_all(&block))
    });
    assert!(written.is_err(), "the disk is full");
    run.signal(Signal::SIGCONT);
    let end = run.end();
    assert!(end.failed().contains("free some space and run the same import again"), "{}", end.failed());

    fs::remove_file(&ballast).expect("frees space");
    let resumed = bench.import("large", &source);
    resumed.done();
    assert!(resumed.log.contains("goes on after"), "{}", resumed.log);
}
