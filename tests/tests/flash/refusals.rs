//! What flash.sh refuses, before it has written anything.

use std::fs;

use nix::fcntl::{Flock, FlockArg};

use crate::KEY;
use crate::disk::{DISK_BYTES, Disk, Image, argument, repository};

/// Runs it with a key and a consent, then with these arguments, and expects a refusal for this reason.
fn assert_refused(disk: &Disk, image: &Image, arguments: &[&str], reason: &str) {
    let key = disk.file("admin.pub", KEY);
    let mut all = vec!["--key", argument(&key), "--yes-erase", "disk"];
    all.extend(arguments);
    let output = disk.flash(image, &all);
    assert!(!output.success && output.stderr.contains(reason), "{reason}:\n{}", output.stderr);
    assert!(!output.stderr.contains("UNUSABLE"), "{}", output.stderr);
    assert!(disk.is_untouched(), "{reason}");
}

#[test]
fn what_is_not_a_free_disk_of_enough_room_is_refused() {
    let image = Image::new();
    let disk = Disk::new();
    for (device, reason) in [
        ("/nonexistent", "there is no /nonexistent"),
        ("/dev/null", "neither a disk nor a file"),
        ("/usr", "neither a disk nor a file"),
    ] {
        assert_refused(&disk, &image, &["--device", device], reason);
    }
    let small = Disk::of(DISK_BYTES - 512);
    assert_refused(&small, &image, &[], "is too small: it has 7.6GB, and 7.6GB are needed");
    let file = fs::File::options().write(true).open(disk.path()).expect("the disk");
    let lock =
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error).expect("a lock");
    assert_refused(&disk, &image, &[], "is locked by another program");
    drop(lock);
}

/// Partitions are made at the first boot: a disk on which they do not fit would not come up.
#[test]
fn a_disk_that_is_accepted_holds_the_smallest_partitions() {
    let folder = fs::read_dir(repository("image/mkosi.extra/usr/lib/repart.d")).expect("partitions");
    let texts = folder.map(|entry| fs::read_to_string(entry.expect("an entry").path()).expect("a text"));
    let sizes: Vec<u64> = texts.map(|text| least_bytes(&text)).collect();
    assert_eq!(sizes.len(), 7, "{sizes:?}");
    // Tables at both ends, and alignment.
    let others = 16 << 20;
    assert!(sizes.iter().sum::<u64>() + others <= DISK_BYTES, "{sizes:?}");
}

/// By `SizeMinBytes=2G`, or by its largest size where the image brings the partition.
fn least_bytes(text: &str) -> u64 {
    let size = |key| text.lines().find_map(|line| line.strip_prefix(key));
    let size = size("SizeMinBytes=").or_else(|| size("SizeMaxBytes=")).expect("a size");
    let (number, unit) = size.split_at(size.len() - 1);
    let number: u64 = number.parse().expect("a number");
    match unit {
        "M" => number << 20,
        "G" => number << 30,
        _ => panic!("{size} has another unit"),
    }
}

#[test]
fn nothing_is_erased_without_the_models_name() {
    let (image, disk) = (Image::new(), Disk::new());
    assert_refused(&disk, &image, &["--yes-erase", "Disk"], "the model is 'disk', not 'Disk'");
    assert_refused(&disk, &image, &["--yes-erase", ""], "nobody is here to confirm: give --yes-erase 'disk'");
}

#[test]
fn a_set_up_that_the_machine_would_not_take_is_refused() {
    let (image, disk) = (Image::new(), Disk::new());
    let site = disk.file("site.toml", "hostname = 'a'\nlanguage = '?'\n");
    let reason = format!("{}, line 2, column 12: ", site.display());
    assert_refused(&disk, &image, &["--site", argument(&site)], &reason);
    assert_refused(&disk, &image, &["--key", ""], "give the admin's public key");
    let keyless = disk.file("keyless.toml", "");
    assert_refused(&disk, &image, &["--key", "", "--site", argument(&keyless)], "nobody could administer");
    assert_refused(&disk, &image, &["--key", argument(&site)], "is no kind of key");
}

#[test]
fn an_image_that_is_not_whole_is_refused() {
    let (image, disk) = (Image::new(), Disk::new());
    let whole = fs::read(image.packed()).expect("an image");
    image.sums(&"1".repeat(64));
    assert_refused(&disk, &image, &[], "is damaged: its SHA-256 is not that in");
    image.sums(&image.sha256());
    fs::rename(image.packed(), image.packed().with_file_name("else.raw.zst")).expect("a rename");
    let other = image.packed().with_file_name("else.raw.zst");
    assert_refused(&disk, &image, &["--image", argument(&other)], "does not list else.raw.zst");
    assert_refused(&disk, &image, &[], "there is no image");
    fs::remove_file(image.packed().with_file_name("SHA256SUMS")).expect("no sums");
    fs::write(image.packed(), &whole[..whole.len() - 100]).expect("half an image");
    assert_refused(&disk, &image, &[], "cannot be unpacked");
    let other = Image::of("start=10240, size=4096, type=linux");
    assert_refused(&disk, &other, &[], "is no image of Nabi");
}

#[test]
fn an_option_without_its_value_is_told_how_it_is_used() {
    let (image, disk) = (Image::new(), Disk::new());
    assert_refused(&disk, &image, &["--site"], "usage: flash.sh");
    assert_refused(&disk, &image, &["--force", "yes"], "usage: flash.sh");
}
