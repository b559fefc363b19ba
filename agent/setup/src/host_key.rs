//! The key by which this machine proves itself to SSH clients, made on the machine itself.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use nabi_models::atomic_file::sync_folder;

const SSH_KEYGEN: &str = "/usr/bin/ssh-keygen";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostKeyError {
    #[error("cannot run {SSH_KEYGEN} to make the machine's SSH key")]
    Run(#[source] io::Error),
    #[error("{SSH_KEYGEN} made no SSH key of the machine: {0}")]
    Made(String),
    #[error("cannot keep the machine's SSH key {}", path.display())]
    Keep { path: PathBuf, source: io::Error },
}

/// Makes the key if there is none. The private part appears last, and whole.
pub(crate) fn ensure(path: &Path) -> Result<(), HostKeyError> {
    let keep = |source| HostKeyError::Keep { path: path.to_owned(), source };
    if path.try_exists().map_err(keep)? {
        return Ok(());
    }
    let folder = path.parent().ok_or_else(|| keep(io::ErrorKind::InvalidInput.into()))?;
    fs::create_dir_all(folder).map_err(keep)?;
    let new = folder.join(".new-host-key");
    for left_over in [&new, &public(&new)] {
        match fs::remove_file(left_over) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(keep(error)),
            _ => {}
        }
    }
    let made = Command::new(SSH_KEYGEN)
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(&new)
        .env_clear()
        .output()
        .map_err(HostKeyError::Run)?;
    if !made.status.success() {
        return Err(HostKeyError::Made(String::from_utf8_lossy(&made.stderr).trim().to_owned()));
    }
    for (from, to) in [(public(&new), public(path)), (new, path.to_owned())] {
        File::open(&from).and_then(|file| file.sync_all()).map_err(keep)?;
        fs::rename(&from, &to).map_err(keep)?;
    }
    sync_folder(folder).map_err(keep)
}

fn public(path: &Path) -> PathBuf {
    path.with_extension("pub")
}
