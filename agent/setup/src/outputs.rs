//! What the machine's other services read, written anew at each boot.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nabi_domain::site::{networkd, nftables, services};
use nabi_models::atomic_file;
use nabi_wire::config::SiteConfig;

use crate::host_key::{self, HostKeyError};
use crate::places::Places;
use crate::taken::{Setup, Taken};

/// What the screen shows, and what holds the network back.
const PROBLEM: &str = "problem";
/// Its presence keeps systemd-timesyncd from starting.
const TIME_OFF: &str = "time-off";
/// Our drop-ins in folders of systemd's services.
const DROP_INS: [&str; 2] = ["systemd/timesyncd.conf.d/10-nabi.conf", "systemd/resolved.conf.d/10-nabi.conf"];

/// Why the machine was not set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetUpError {
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot put the configuration of the supervisor into words")]
    Words(#[from] serde_json::Error),
    #[error(transparent)]
    HostKey(#[from] HostKeyError),
}

/// A text, and where it goes below `/run`.
struct Output {
    path: PathBuf,
    text: String,
}

/// Keeps what was taken, then tells the services.
pub(crate) fn set_up(places: &Places, setup: &Setup, take: Option<&Taken>) -> Result<(), SetUpError> {
    host_key::ensure(&places.host_key())?;
    if let Some(taken) = take {
        let path = places.taken();
        let text = serde_json::to_vec(taken)?;
        let kept = path.parent().map_or(Ok(()), fs::create_dir_all);
        kept.and_then(|()| atomic_file::write(&path, &text, 0o600))
            .map_err(|source| SetUpError::Write { path, source })?;
    }
    for output in outputs(setup)? {
        write(&places.run().join(output.path), &output.text)?;
    }
    let path = places.kernel_hostname();
    fs::write(&path, setup.site.hostname.as_str()).map_err(|source| SetUpError::Write { path, source })
}

/// Writes the reason why the machine is held back.
pub(crate) fn hold_back(places: &Places, text: &str) -> Result<(), SetUpError> {
    write(&places.own_run().join(PROBLEM), text)
}

/// Removes what an earlier run of this boot wrote.
pub(crate) fn remove(places: &Places) -> io::Result<()> {
    let absent_is_fine = |result: io::Result<()>| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    absent_is_fine(fs::remove_dir_all(places.own_run()))?;
    for drop_in in DROP_INS {
        absent_is_fine(fs::remove_file(places.run().join(drop_in)))?;
    }
    let entries = match fs::read_dir(places.networkd()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(networkd::FILE_PREFIX) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn outputs(setup: &Setup) -> Result<Vec<Output>, SetUpError> {
    let Setup { site, keys } = setup;
    let own = |name: &str, text: String| Output { path: Path::new("nabi-setup").join(name), text };
    let [timesyncd, resolved] = DROP_INS.map(PathBuf::from);
    let keys: String = keys.iter().map(|key| key.authorized_line() + "\n").collect();
    let mut outputs = vec![
        own("nftables.conf", nftables::render(site)),
        own("admin_keys", keys),
        own("site.json", serde_json::to_string_pretty(&SiteConfig::from(site))? + "\n"),
        Output { path: resolved, text: services::resolved(site) },
        services::timesyncd(site)
            .map_or_else(|| own(TIME_OFF, String::new()), |text| Output { path: timesyncd, text }),
    ];
    outputs.extend(
        networkd::render(site)
            .into_iter()
            .map(|file| Output { path: Path::new("systemd/network").join(file.name), text: file.text }),
    );
    Ok(outputs)
}

/// Readable by all, since each service has a user of its own; `/run` is memory, so nothing is flushed.
fn write(path: &Path, text: &str) -> Result<(), SetUpError> {
    let failed = |source| SetUpError::Write { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path).map_err(failed)?;
    io::Write::write_all(&mut file, text.as_bytes()).map_err(failed)
}
