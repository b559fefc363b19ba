//! Sticks that an operator may bring, made without root.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::tool;

/// Where the first partition begins, as partitioning programs have it.
const PARTITION_START_BYTES: u64 = 1 << 20;
const BLOCK_BYTES: u64 = 4096;
/// Behind an ext4's superblock, and past its block groups' descriptions and the first inodes.
const DAMAGE_FROM_BYTES: u64 = BLOCK_BYTES;
const DAMAGE_BYTES: usize = 4 << 20;

/// A stick with a partition table and one ext4 that holds a folder's content.
///
/// # Errors
/// When the content does not fit.
pub fn ext4(stick: &Path, label: &str, folder: &Path, bytes: u64) -> Result<()> {
    blank(stick, bytes)?;
    let mut table = Command::new("sfdisk").arg("--quiet").arg(stick).stdin(Stdio::piped()).spawn();
    let table = table.as_mut().map_err(|error| anyhow::anyhow!("cannot start sfdisk: {error}"))?;
    let mut input = table.stdin.take().context("sfdisk has no standard input")?;
    let sectors = PARTITION_START_BYTES / 512;
    input.write_all(format!("label: gpt\nstart={sectors}, type=linux\n").as_bytes())?;
    drop(input);
    ensure!(table.wait()?.success(), "sfdisk cannot partition {}", stick.display());
    // The second copy of the partition table is at the stick's end.
    let blocks = (bytes - 2 * PARTITION_START_BYTES) / BLOCK_BYTES;
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-F", "-t", "ext4", "-b", &BLOCK_BYTES.to_string(), "-L", label, "-d"]).arg(folder);
    make.args(["-E", &format!("offset={PARTITION_START_BYTES}")]).arg(stick).arg(blocks.to_string());
    tool::run(&mut make).map(drop)
}

/// A stick that is one FAT, as they are sold.
///
/// # Errors
/// When the content does not fit.
pub fn fat(stick: &Path, label: &str, folder: &Path, bytes: u64) -> Result<()> {
    blank(stick, bytes)?;
    tool::run(Command::new("mkfs.vfat").args(["-n", label]).arg(stick))?;
    let mut copy = Command::new("mcopy");
    copy.arg("-s").arg("-i").arg(stick);
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        copy.arg(entry?.path());
    }
    tool::run(copy.arg("::/")).map(drop)
}

/// A stick that is one exFAT, and empty: only a kernel writes to it.
///
/// # Errors
/// When it is too small.
pub fn exfat(stick: &Path, label: &str, bytes: u64) -> Result<()> {
    blank(stick, bytes)?;
    tool::run(Command::new("mkfs.exfat").args(["--volume-label", label]).arg(stick)).map(drop)
}

/// Breaks the ext4 of a stick that [`ext4`] made: it is still known as one, and cannot be read.
///
/// # Errors
/// When the file cannot be written.
pub fn damage(stick: &Path) -> Result<()> {
    let mut file = OpenOptions::new().write(true).open(stick)?;
    file.seek(SeekFrom::Start(PARTITION_START_BYTES + DAMAGE_FROM_BYTES))?;
    file.write_all(&vec![0xff; DAMAGE_BYTES]).with_context(|| format!("cannot damage {}", stick.display()))
}

fn blank(stick: &Path, bytes: u64) -> Result<()> {
    let file = File::create(stick).with_context(|| format!("cannot write {}", stick.display()))?;
    file.set_len(bytes).with_context(|| format!("cannot make {} {bytes} bytes long", stick.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const BYTES: u64 = 32 << 20;

    fn content() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("hf")).expect("writable");
        fs::write(folder.path().join("hf/model.gguf"), "GGUF").expect("writable");
        folder
    }

    /// What e2fsck says of the ext4 within a stick's partition.
    fn check(stick: &Path) -> bool {
        let image = fs::read(stick).expect("a stick");
        let partition = stick.with_extension("partition");
        fs::write(&partition, &image[PARTITION_START_BYTES as usize..]).expect("writable");
        let checked = tool::output(Command::new("e2fsck").args(["-f", "-n"]).arg(partition));
        checked.expect("e2fsprogs is installed").status.success()
    }

    #[test]
    fn an_ext4_stick_is_whole_until_it_is_damaged() {
        let (folder, content) = (tempfile::tempdir().expect("a folder"), content());
        let stick = folder.path().join("stick.raw");
        ext4(&stick, "MODELS", content.path(), BYTES).expect("a stick");
        assert_eq!(fs::metadata(&stick).expect("a file").len(), BYTES);
        assert!(check(&stick));
        damage(&stick).expect("writable");
        assert!(!check(&stick));
        let image = fs::read(&stick).expect("a stick");
        let superblock = &image[PARTITION_START_BYTES as usize + 1024..];
        assert_eq!(superblock[56..58], [0x53, 0xef], "nobody would know that it was an ext4");
    }

    #[test]
    fn a_fat_stick_has_its_folders() {
        let (folder, content) = (tempfile::tempdir().expect("a folder"), content());
        let stick = folder.path().join("stick.raw");
        fat(&stick, "MODELS", content.path(), BYTES).expect("a stick");
        let mut read = Command::new("mtype");
        let read = tool::run(read.arg("-i").arg(&stick).arg("::/hf/model.gguf")).expect("it is there");
        assert_eq!(read, b"GGUF");
    }

    #[test]
    fn an_exfat_stick_is_known_by_its_label() {
        let folder = tempfile::tempdir().expect("a folder");
        let stick = folder.path().join("stick.raw");
        exfat(&stick, "MODELS", BYTES).expect("a stick");
        let label = tool::run(Command::new("exfatlabel").arg(&stick)).expect("it is an exFAT");
        assert!(String::from_utf8_lossy(&label).contains("MODELS"), "{label:?}");
    }
}
