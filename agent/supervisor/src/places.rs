//! Where everything lies: `--state` outlives the processes, `--run` does not.
//!
//! On the appliance the parts run as different users. Who may reach a file follows from the folder
//! that it lies in: the folders there have owners, groups and set-group-ID bits (the image's
//! `tmpfiles.d/nabi.conf`), so that the supervisor gives nothing away itself. In development all is
//! of one user, and closed to all others.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nabi_domain::ModelName;

use crate::launch::Launcher;

/// A Unix socket's path has at most 108 bytes, with a final NUL and our longest name.
const RUN_PATH_BYTES_MAX: usize = 80;
/// Below `--run`: for the gateway, and for the engines. The rest is for operators.
const GATEWAY: &str = "gateway";
const ENGINE: &str = "engine";
/// A configuration: its reader is of the folder's group.
pub(crate) const CONFIG_MODE: u32 = 0o640;
/// A socket: those of the folder's group connect.
const SOCKET_MODE: u32 = 0o660;
/// A folder in which the engines' group writes.
const PREFIXES_MODE: u32 = 0o770;

/// The folders, held by a lock: one supervisor for each state.
pub(crate) struct Places {
    state: PathBuf,
    run: PathBuf,
    launcher: Launcher,
    _lock: File,
}

impl Places {
    /// Creates what is missing, takes the lock, and clears what an earlier life left.
    pub(crate) fn open(state: &Path, run: &Path, launcher: Launcher) -> Result<Self> {
        let state = absolute(state)?;
        let run = absolute(run)?;
        ensure!(
            run.as_os_str().len() <= RUN_PATH_BYTES_MAX,
            "the path {} is too long for sockets ({RUN_PATH_BYTES_MAX} bytes at most): choose a shorter one with --run",
            run.display()
        );
        private_folder(&state.join("supervisor"))?;
        for (name, mode) in [("models", 0o755), ("logs", 0o755)] {
            create(&state.join(name), mode)?;
        }
        let places = Self { _lock: take_lock(&state)?, state, run, launcher };
        // Prefixes are of use to the process alone that kept them.
        let prefixes = places.prefixes_root();
        private_folder(&prefixes)?;
        // An engine may have left what this user cannot remove: that must not stop the supervisor.
        if let Err(error) = clear(&prefixes) {
            eprintln!("{error:#}");
        }
        places.open_run()?;
        Ok(places)
    }

    fn open_run(&self) -> Result<()> {
        match self.launcher {
            Launcher::Child => {
                remove(&self.run)?;
                for folder in self.run_folders() {
                    private_folder(&folder)?;
                }
            }
            Launcher::Systemd => {
                for folder in self.run_folders() {
                    ensure!(
                        folder.is_dir(),
                        "there is no folder {}: the image's tmpfiles.d/nabi.conf makes it",
                        folder.display()
                    );
                    clear_files(&folder)?;
                }
            }
        }
        Ok(())
    }

    fn run_folders(&self) -> [PathBuf; 3] {
        [self.run.clone(), self.run.join(GATEWAY), self.run.join(ENGINE)]
    }

    pub(crate) fn launcher(&self) -> Launcher {
        self.launcher
    }

    pub(crate) fn models(&self) -> PathBuf {
        self.state.join("models")
    }

    /// Whether the models' own partition, which the appliance has, is not there: what is written to
    /// their folder then fills the disk of the state, and is hidden when the partition is back.
    pub(crate) fn models_are_away(&self) -> bool {
        let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
        match self.launcher {
            Launcher::Child => false,
            Launcher::Systemd => match (device(&self.models()), device(&self.state)) {
                (Ok(models), Ok(state)) => models == state,
                _ => true,
            },
        }
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// Where the engine process of this number keeps prefixes; it is created. An engine that drains
    /// and its successor must not share one.
    pub(crate) fn prefixes(&self, model: &ModelName, number: u64) -> Result<PathBuf> {
        let folder = self.prefixes_root().join(model.as_str()).join(number.to_string());
        create(&folder, 0o750)?;
        set_mode(&folder, PREFIXES_MODE)?;
        Ok(folder)
    }

    fn prefixes_root(&self) -> PathBuf {
        self.state.join("cache/prefixes")
    }

    /// What only the supervisor reads.
    pub(crate) fn private(&self, name: &str) -> PathBuf {
        self.state.join("supervisor").join(name)
    }

    pub(crate) fn ca_certificate(&self) -> PathBuf {
        self.state.join("ca.pem")
    }

    /// Where operators' programs connect.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.run.join("admin.sock")
    }

    /// What the gateway reads, and connects to.
    pub(crate) fn for_gateway(&self, name: &str) -> PathBuf {
        self.run.join(GATEWAY).join(name)
    }

    /// What an engine reads.
    pub(crate) fn for_engine(&self, name: &str) -> PathBuf {
        self.run.join(ENGINE).join(name)
    }

    /// Removes every socket and configuration, at the end.
    pub(crate) fn clear_run(&self) {
        let cleared = match self.launcher {
            Launcher::Child => remove(&self.run),
            Launcher::Systemd => self.run_folders().iter().try_for_each(|folder| clear_files(folder)),
        };
        if let Err(error) = cleared {
            tracing::warn!("{error:#}");
        }
    }
}

/// Binds a socket, by `bind`, that the folder's group may connect to.
pub(crate) fn bind_shared<S>(path: &Path, bind: impl FnOnce(&Path) -> io::Result<S>) -> Result<S> {
    let socket = bind(path).with_context(|| format!("cannot bind {}", path.display()))?;
    set_mode(path, SOCKET_MODE)?;
    Ok(socket)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    let set = fs::set_permissions(path, Permissions::from_mode(mode));
    set.with_context(|| format!("cannot set the mode of {}", path.display()))
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

/// Removes a folder, if it is there.
fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("cannot clear {}", folder.display())),
    }
}

/// Removes what a folder holds.
fn clear(folder: &Path) -> Result<()> {
    let doing = || format!("cannot clear {}", folder.display());
    for entry in fs::read_dir(folder).with_context(doing)? {
        remove(&entry.with_context(doing)?.path())?;
    }
    Ok(())
}

/// Removes the files in a folder. Folders below are others': sticks are mounted there.
fn clear_files(folder: &Path) -> Result<()> {
    let doing = || format!("cannot clear {}", folder.display());
    for entry in fs::read_dir(folder).with_context(doing)? {
        let entry = entry.with_context(doing)?;
        if !entry.file_type().with_context(doing)?.is_dir() {
            fs::remove_file(entry.path()).with_context(doing)?;
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    }

    #[test]
    fn in_development_all_is_closed_to_others() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let run = folder.path().join("run");
        fs::create_dir(&run).expect("a folder that anybody may enter");
        fs::write(run.join("stale"), "of an earlier life").expect("written");
        let places = Places::open(folder.path(), &run, Launcher::Child).expect("places");
        assert_eq!(mode(&run), 0o700);
        assert!(!run.join("stale").exists());
        let model = "tiny".parse().expect("a name");
        places.prefixes(&model, 1).expect("prefixes");
        assert_eq!(mode(&folder.path().join("cache/prefixes")), 0o700);
        assert!(!places.models_are_away(), "one disk for all is right there");
        places.clear_run();
        assert!(!run.exists());
    }

    #[test]
    fn what_an_engine_left_and_cannot_be_removed_does_not_stop_the_supervisor() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let prefixes = folder.path().join("cache/prefixes");
        fs::create_dir_all(&prefixes).expect("made");
        // Root may remove any folder: a file, which none is, stands for one that resists.
        fs::write(prefixes.join("tiny"), "no folder").expect("written");
        Places::open(folder.path(), &folder.path().join("run"), Launcher::Child).expect("places");
    }

    #[test]
    fn on_the_appliance_the_folders_stay_as_the_image_made_them() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let run = folder.path().join("run");
        let missing = Places::open(folder.path(), &run, Launcher::Systemd).err().expect("nobody made them");
        assert!(missing.to_string().contains("tmpfiles.d"), "{missing}");

        for (name, mode) in [("", 0o2751), ("gateway", 0o2750), ("engine", 0o2750), ("media", 0o755)] {
            create(&run.join(name), 0o755).expect("made");
            set_mode(&run.join(name), mode).expect("set");
        }
        fs::write(run.join("media/model.gguf"), "on a stick").expect("written");
        fs::write(run.join("gateway/stale"), "of an earlier life").expect("written");
        let places = Places::open(folder.path(), &run, Launcher::Systemd).expect("places");
        assert!(!run.join("gateway/stale").exists());
        assert!(places.models_are_away(), "they are on the disk of the state");
        let admin = bind_shared(&places.admin_socket(), |path| std::os::unix::net::UnixListener::bind(path));
        drop(admin.expect("bound"));
        assert_eq!(mode(&places.admin_socket()), SOCKET_MODE);
        let model = "tiny".parse().expect("a name");
        assert_eq!(mode(&places.prefixes(&model, 1).expect("prefixes")), PREFIXES_MODE);
        places.clear_run();
        assert!(!places.admin_socket().exists());
        assert_eq!((mode(&run), mode(&run.join("gateway"))), (0o751, 0o750));
        assert!(run.join("media/model.gguf").exists());
    }
}
