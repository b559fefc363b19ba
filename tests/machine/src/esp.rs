//! The partition that the firmware reads: FAT, open to any system.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{Disk, tool};

/// Its name in the partition table.
const NAME: &str = "esp";

/// Where the operator's files are.
const SITE_FOLDER: &str = "/nabi";

/// A copy of the partition, to look into and to change.
#[derive(Debug)]
pub struct Esp {
    image: PathBuf,
}

/// Gives a disk's ESP to `edit`, and writes it back. The computer must be off.
///
/// # Errors
/// When the disk has none, or `edit` fails: then nothing is written.
pub fn on_esp<T>(disk: &Disk, edit: impl FnOnce(&Esp) -> Result<T>) -> Result<T> {
    let region = disk.partition(NAME)?;
    let scratch = tempfile::tempdir().context("no temporary folder")?;
    let esp = Esp { image: scratch.path().join("esp.raw") };
    disk.read_region(region, &esp.image)?;
    let edited = edit(&esp)?;
    disk.write_region(region, &esp.image)?;
    Ok(edited)
}

impl Esp {
    /// Adds what an operator may copy to a flashed disk: the site file, the administrator's key.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn add_site(&self, site: Option<&Path>, key: Option<&Path>) -> Result<()> {
        let files = [(site, "site.toml"), (key, "admin.pub")];
        let mut files = files.into_iter().filter_map(|(file, name)| Some((file?, name))).peekable();
        if files.peek().is_some() {
            self.folder(SITE_FOLDER)?;
        }
        files.try_for_each(|(file, name)| self.write(file, &format!("{SITE_FOLDER}/{name}")))
    }

    /// The names of files in a folder, `/EFI/Linux`.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn list(&self, folder: &str) -> Result<Vec<String>> {
        let listed = tool::run(self.mtool("mdir").arg("-b").arg(format!("::{folder}")))?;
        let listed = String::from_utf8(listed).context("a name is not text")?;
        // Folders end with a slash.
        let files = listed.lines().filter(|line| !line.is_empty() && !line.ends_with('/'));
        Ok(files.filter_map(|path| path.rsplit('/').next()).map(str::to_owned).collect())
    }

    /// Copies a file out.
    ///
    /// # Errors
    /// When it is not there.
    pub fn read(&self, path: &str, to: &Path) -> Result<()> {
        tool::run(self.mtool("mcopy").args(["-n", "-o"]).arg(format!("::{path}")).arg(to)).map(drop)
    }

    /// Copies a file in, over one of the same name.
    ///
    /// # Errors
    /// When there is no room.
    pub fn write(&self, from: &Path, path: &str) -> Result<()> {
        tool::run(self.mtool("mcopy").arg("-o").arg(from).arg(format!("::{path}"))).map(drop)
    }

    /// Makes a folder unless it is there.
    ///
    /// # Errors
    /// When its parent is not.
    pub fn folder(&self, path: &str) -> Result<()> {
        if self.list(path).is_ok() {
            return Ok(());
        }
        tool::run(self.mtool("mmd").arg(format!("::{path}"))).map(drop)
    }

    /// Removes a file.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove(&self, path: &str) -> Result<()> {
        tool::run(self.mtool("mdel").arg(format!("::{path}"))).map(drop)
    }

    fn mtool(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.env("MTOOLS_SKIP_CHECK", "1").arg("-i").arg(&self.image);
        command
    }
}
