//! provisioning/flash.sh on disks that are files: the whole run, and what it refuses.

mod disk;
mod refusals;
mod uses;

use std::fs;
use std::time::Duration;

use disk::{Disk, Image, argument};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMLQ5tLZyu+7KdbTlZP2a1Xpnm6zddtMNrkt/qg+FJWM hana@ministry\n";

#[test]
fn a_disk_is_written_read_back_and_set_up() {
    let (image, disk) = (Image::new(), Disk::new());
    image.sums(&image.sha256());
    let site = disk.file("my site.toml", "hostname = 'ai'\n");
    let key = disk.file("admin.pub", KEY);
    let output =
        disk.flash(&image, &["--site", argument(&site), "--key", argument(&key), "--yes-erase", "disk"]);
    let said = output.stdout;
    assert!(output.success, "{said}\n{}", output.stderr);
    for expected in ["name", "ai", "This ERASES", "writing: 100 %", "read back and the same", "disk is ready"]
    {
        assert!(said.contains(expected), "{expected} is not said:\n{said}");
    }
    assert_eq!(disk.fat("nabi/site.toml"), "hostname = 'ai'\n");
    assert_eq!(disk.fat("nabi/admin.pub"), KEY);
    assert_eq!(disk.fat("loader.txt"), "the boot loader\n", "what the image had there stays");
    assert_eq!(disk.root(), image.root(), "the rest is the image's");
    assert_eq!(
        fs::metadata(disk.path()).expect("the disk").len(),
        disk::DISK_BYTES,
        "a disk does not shrink"
    );

    let of_image = image.identifiers();
    let first = disk.identifiers();
    assert!(first[..2].iter().all(|own| !of_image.contains(own)), "{first:?} of {of_image:?}");
    assert_eq!(first[2..], of_image[2..], "the rest is the image's");

    // Again, over what is there, by hand: the old set-up does not stay.
    let other = disk.file("other.toml", &format!("admin_keys = ['{}']\n", KEY.trim_end()));
    let output = disk.flash(&image, &["--site", argument(&other), "--yes-erase", "disk"]);
    assert!(output.success, "{}", output.stderr);
    assert!(disk.fat("nabi/site.toml").starts_with("admin_keys"));
    assert_eq!(disk.fat("nabi/admin.pub"), "", "of the run before");
    assert_ne!(disk.identifiers()[1], first[1], "no two disks have the same");
}

#[test]
fn an_interrupted_run_says_that_the_disk_is_unusable() {
    let (image, disk) = (Image::new(), Disk::new());
    let key = disk.file("admin.pub", KEY);
    // Writes a part, and waits.
    disk.program(
        "dd",
        "#!/bin/sh\ncase \" $* \" in *fsync*) /usr/bin/dd \"$@\" count=1; : >\"$0.waits\"; read -r _ <\"$0.pipe\" ;; esac\n\
         exec /usr/bin/dd \"$@\"\n",
    );
    disk.pipe("programs/dd.pipe");
    let mut running = disk.start(&image, &["--key", argument(&key), "--yes-erase", "disk"]);
    while !disk.has("programs/dd.waits") {
        running.assert_runs();
        std::thread::sleep(Duration::from_millis(10));
    }
    running.interrupt();
    let output = running.end();
    let said = output.stderr;
    assert!(!disk.is_untouched());
    assert!(!output.success && said.contains("UNUSABLE") && said.contains("again"), "{said}");
}

#[test]
fn a_disk_that_does_not_keep_what_it_is_given_is_found_out() {
    let (image, disk) = (Image::new(), Disk::new());
    let key = disk.file("admin.pub", KEY);
    let arguments = ["--key", argument(&key), "--yes-erase", "disk"];
    disk.program(
        "dd",
        "#!/bin/sh\ncase \" $* \" in *count_bytes*) exec head -c 9000000 /dev/zero ;; esac\nexec /usr/bin/dd \"$@\"\n",
    );
    let output = disk.flash(&image, &arguments);
    let said = output.stderr;
    assert!(
        !output.success && said.contains("differs from what was written") && said.contains("UNUSABLE"),
        "{said}"
    );
    disk.program("dd", "#!/bin/sh\ncase \" $* \" in *fsync*) echo 'dd: no space' >&2; exit 1 ;; esac\nexec /usr/bin/dd \"$@\"\n");
    let output = disk.flash(&image, &arguments);
    assert!(!output.success && output.stderr.contains("dd: no space"), "{}", output.stderr);
}
