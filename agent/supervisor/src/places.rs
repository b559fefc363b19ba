//! Where everything lies: `--state` outlives the processes, `--run` does not.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nabi_domain::ModelName;

/// A Unix socket's path has at most 108 bytes, with a final NUL and our longest name.
const RUN_PATH_BYTES_MAX: usize = 88;

/// The folders, held by a lock: one supervisor for each state.
pub(crate) struct Places {
    state: PathBuf,
    run: PathBuf,
    _lock: File,
}

impl Places {
    /// Creates what is missing, takes the lock, and clears what an earlier life left.
    pub(crate) fn open(state: &Path, run: &Path) -> Result<Self> {
        let state = absolute(state)?;
        let run = absolute(run)?;
        ensure!(
            run.as_os_str().len() <= RUN_PATH_BYTES_MAX,
            "the path {} is too long for sockets ({RUN_PATH_BYTES_MAX} bytes at most): choose a shorter one with --run",
            run.display()
        );
        private_folder(&state.join("supervisor"))?;
        for name in ["models", "logs"] {
            create(&state.join(name), 0o755)?;
        }
        let lock = take_lock(&state)?;
        // Prefixes are of use to the process alone that kept them.
        for stale in [&run, &prefixes(&state)] {
            if stale.exists() {
                fs::remove_dir_all(stale).with_context(|| format!("cannot clear {}", stale.display()))?;
            }
        }
        private_folder(&run)?;
        Ok(Self { state, run, _lock: lock })
    }

    pub(crate) fn models(&self) -> PathBuf {
        self.state.join("models")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// Where the engine process of this number keeps prefixes; it is created. An engine that drains
    /// and its successor must not share one.
    pub(crate) fn prefixes(&self, model: &ModelName, number: u64) -> Result<PathBuf> {
        let folder = prefixes(&self.state).join(model.as_str()).join(number.to_string());
        private_folder(&folder)?;
        Ok(folder)
    }

    /// What only the supervisor reads.
    pub(crate) fn private(&self, name: &str) -> PathBuf {
        self.state.join("supervisor").join(name)
    }

    pub(crate) fn ca_certificate(&self) -> PathBuf {
        self.state.join("ca.pem")
    }

    pub(crate) fn run(&self, name: &str) -> PathBuf {
        self.run.join(name)
    }

    /// Removes every socket and configuration, at the end.
    pub(crate) fn clear_run(&self) {
        if let Err(error) = fs::remove_dir_all(&self.run) {
            tracing::warn!("cannot clear {}: {error}", self.run.display());
        }
    }
}

fn prefixes(state: &Path) -> PathBuf {
    state.join("cache/prefixes")
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} is not a path", path.display()))
}

fn create(path: &Path, mode: u32) -> Result<()> {
    let created = DirBuilder::new().recursive(true).mode(mode).create(path);
    created.with_context(|| format!("cannot create the folder {}", path.display()))
}

fn private_folder(path: &Path) -> Result<()> {
    create(path, 0o700)
}

fn take_lock(state: &Path) -> Result<File> {
    let path = state.join("lock");
    let lock = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => bail!(
            "another Nabi runs on {}: stop it first, or choose another folder with --state",
            state.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}
