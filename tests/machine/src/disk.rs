//! Disks in files.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use gptman::{GPT, GPTPartitionEntry};

use crate::tool;

/// What holds a partition table: the first MiB, before which no partition begins.
const TABLE_BYTES: u64 = 1 << 20;

/// A disk in a file that takes only the room of what was written to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    path: PathBuf,
    format: &'static str,
}

/// A part of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// From the disk's beginning.
    pub start_bytes: u64,
    /// Its length.
    pub bytes: u64,
}

impl Disk {
    /// A disk whose form its name tells: `.raw` or `.qcow2`.
    ///
    /// # Errors
    /// When it does not.
    pub fn existing(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("raw") => "raw",
            Some("qcow2") => "qcow2",
            _ => bail!("{} is neither called .raw nor .qcow2", path.display()),
        };
        Ok(Self { path, format })
    }

    /// A new, empty disk.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn blank(path: impl Into<PathBuf>, bytes: u64) -> Result<Self> {
        let path = path.into();
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        file.set_len(bytes).with_context(|| format!("cannot make {} {bytes} bytes long", path.display()))?;
        Ok(Self { path, format: "raw" })
    }

    /// A new disk that begins as this one is, which must not change as long as the new one is used.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn copy(&self, path: impl Into<PathBuf>) -> Result<Self> {
        self.copy_with(path.into(), &[])
    }

    /// A copy that is as large as this, the rest of it empty.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn larger_copy(&self, path: impl Into<PathBuf>, bytes: u64) -> Result<Self> {
        self.copy_with(path.into(), &[bytes.to_string()])
    }

    fn copy_with(&self, path: PathBuf, size: &[String]) -> Result<Self> {
        let original = self.path.canonicalize();
        let original = original.with_context(|| format!("there is no disk {}", self.path.display()))?;
        let mut image = Command::new("qemu-img");
        image.args(["create", "-q", "-f", "qcow2", "-F", self.format, "-b"]);
        tool::run(image.arg(original).arg(&path).args(size))?;
        Ok(Self { path, format: "qcow2" })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn format(&self) -> &'static str {
        self.format
    }

    /// The partition of this name.
    ///
    /// # Errors
    /// When there is none, or no partition table.
    pub fn partition(&self, name: &str) -> Result<Region> {
        let scratch = tempfile::tempdir().context("no temporary folder")?;
        let table = scratch.path().join("table.raw");
        self.read_region(Region { start_bytes: 0, bytes: TABLE_BYTES }, &table)?;
        find_partition(&std::fs::read(table)?, name)
            .with_context(|| format!("on the disk {}", self.path.display()))
    }

    /// Deletes the partition of this name from both copies of the table; its content stays where it is. The
    /// computer must be off.
    ///
    /// # Errors
    /// When there is none, or no partition table.
    pub fn delete_partition(&self, name: &str) -> Result<()> {
        let scratch = tempfile::tempdir().context("no temporary folder")?;
        // As long as the disk, and empty but for its two ends.
        let ends = Self { path: scratch.path().join("ends.raw"), format: "raw" };
        let first = Region { start_bytes: 0, bytes: TABLE_BYTES };
        self.read_region(first, &ends.path)?;
        let mut file = OpenOptions::new().read(true).write(true).open(&ends.path)?;
        let mut table = GPT::find_from(&mut file).context("no partition table")?;
        let found = table.iter().find(|(_, p)| p.is_used() && p.partition_name.as_str() == name);
        let (number, _) = found.with_context(|| format!("no partition {name:?}"))?;
        table.remove(number)?;
        let second_start_bytes = (table.header.last_usable_lba + 1) * table.sector_size;
        let end_bytes = (table.header.backup_lba + 1) * table.sector_size;
        file.set_len(end_bytes)?;
        table.write_into(&mut file)?;
        let second = Region { start_bytes: second_start_bytes, bytes: end_bytes - second_start_bytes };
        for copy in [first, second] {
            let part = scratch.path().join("part.raw");
            ends.read_region(copy, &part)?;
            self.write_region(copy, &part)?;
        }
        Ok(())
    }

    /// Copies a region into a file. The computer must be off.
    ///
    /// # Errors
    /// When the disk is shorter or the file cannot be written.
    pub fn read_region(&self, region: Region, to: &Path) -> Result<()> {
        let mut image = Command::new("qemu-img");
        image.args(["convert", "-O", "raw", "--image-opts"]).arg(self.region(region)).arg(to);
        tool::run(&mut image).map(drop)
    }

    /// Writes a file of just the region's size over it. The computer must be off.
    ///
    /// # Errors
    /// When the disk is shorter or the file cannot be read.
    pub fn write_region(&self, region: Region, from: &Path) -> Result<()> {
        let mut image = Command::new("qemu-img");
        image.args(["convert", "-n", "-f", "raw", "--target-image-opts"]).arg(from).arg(self.region(region));
        tool::run(&mut image).map(drop)
    }

    fn region(&self, region: Region) -> OsString {
        let Region { start_bytes, bytes } = region;
        let path = self.path.to_string_lossy().replace(',', ",,");
        let format = self.format;
        format!(
            "driver=raw,offset={start_bytes},size={bytes},\
             file.driver={format},file.file.driver=file,file.file.filename={path}"
        )
        .into()
    }
}

fn find_partition(table: &[u8], name: &str) -> Result<Region> {
    let table = GPT::find_from(&mut Cursor::new(table)).context("no partition table")?;
    let partitions: Vec<_> = table.iter().map(|(_, partition)| partition).filter(|p| p.is_used()).collect();
    let is_called = |partition: &&GPTPartitionEntry| partition.partition_name.as_str() == name;
    let found = partitions.iter().copied().find(is_called).with_context(|| {
        let names: Vec<_> = partitions.iter().map(|partition| partition.partition_name.as_str()).collect();
        format!("no partition {name:?} among {names:?}")
    })?;
    let bytes = found.size().context("the partition ends before it begins")? * table.sector_size;
    Ok(Region { start_bytes: found.starting_lba * table.sector_size, bytes })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Stdio;

    use super::*;
    use crate::on_esp;

    const DISK_BYTES: u64 = 64 << 20;
    const TABLE: &str = "label: gpt\nsize=8M, type=linux, name=other\nsize=40M, type=uefi, name=esp\n";

    /// A disk with two partitions; the second one is FAT.
    fn disk(folder: &Path) -> Disk {
        let disk = Disk::blank(folder.join("disk.raw"), DISK_BYTES).expect("a disk");
        let table = folder.join("table");
        fs::write(&table, TABLE).expect("writable");
        let table = Stdio::from(File::open(table).expect("it was written"));
        let status = Command::new("sfdisk").arg("-q").arg(disk.path()).stdin(table).status();
        assert!(status.expect("sfdisk is installed").success());
        let fat = Disk::blank(folder.join("fat.raw"), 40 << 20).expect("a file");
        tool::run(Command::new("mkfs.vfat").arg(fat.path())).expect("a file system");
        disk.write_region(disk.partition("esp").expect("it is there"), fat.path()).expect("it has its size");
        disk
    }

    #[test]
    fn partitions_are_found_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = disk(folder.path());
        let other = disk.partition("other").expect("it is there");
        assert_eq!(other, Region { start_bytes: 1 << 20, bytes: 8 << 20 });
        let missing = format!("{:#}", disk.partition("root").expect_err("there is none"));
        assert!(missing.contains(r#"no partition "root" among ["other", "esp"]"#), "{missing}");
        let blank = Disk::blank(folder.path().join("blank.raw"), DISK_BYTES).expect("a disk");
        assert!(blank.partition("esp").is_err());
    }

    #[test]
    fn a_partition_is_deleted_from_both_copies_of_the_table() {
        let folder = tempfile::tempdir().expect("a folder");
        let original = disk(folder.path());
        let copy = original.copy(folder.path().join("copy.qcow2")).expect("a copy");
        let esp = copy.partition("esp").expect("it is there");
        copy.delete_partition("other").expect("it was there");
        assert!(copy.delete_partition("other").is_err(), "it is deleted twice");

        let raw = folder.path().join("whole.raw");
        copy.read_region(Region { start_bytes: 0, bytes: DISK_BYTES }, &raw).expect("it is read");
        let mut whole = fs::read(raw).expect("it was written");
        for which in ["first", "second"] {
            let missing = format!("{:#}", find_partition(&whole, "other").expect_err("it is gone"));
            assert!(missing.contains(r#"no partition "other" among ["esp"]"#), "{which}: {missing}");
            assert_eq!(find_partition(&whole, "esp").expect("it stays"), esp);
            // Without the first copy, the second one counts.
            whole[..TABLE_BYTES as usize].fill(0);
        }
        assert!(original.partition("other").is_ok(), "the original has changed");
    }

    #[test]
    fn a_copy_changes_and_its_original_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let original = disk(folder.path());
        let copy = original.larger_copy(folder.path().join("copy.qcow2"), 2 * DISK_BYTES).expect("a copy");
        let site = folder.path().join("site");
        fs::write(&site, "hostname = \"nabi\"\n").expect("writable");
        on_esp(&copy, |esp| esp.add_site(Some(&site), None)).expect("it is written");
        on_esp(&copy, |esp| {
            assert_eq!(esp.list("/nabi")?, ["site.toml"]);
            esp.read("/nabi/site.toml", &folder.path().join("read"))?;
            esp.remove("/nabi/site.toml")?;
            assert_eq!(esp.list("/nabi")?, [""; 0]);
            Ok(())
        })
        .expect("it is read");
        assert_eq!(fs::read(folder.path().join("read")).expect("read"), fs::read(site).expect("written"));
        assert!(on_esp(&original, |esp| esp.list("/nabi")).is_err(), "the original has changed");
    }
}
