//! How a model is that is to be served, told apart by whose fault it is.

use std::fs;

use nabi_domain::ModelName;
use nabi_domain::boot::ModelNow;
use nabi_models::manifest::{MANIFEST_BYTES_MAX, MANIFEST_NAME};
use nabi_models::{Store, StoreError, regular_file};
use nabi_wire::reply::ProcessState;
use nix::sys::sysinfo::sysinfo;
use sha2::{Digest, Sha256};

/// What of a machine decides whether a model can be served on it.
pub(super) struct Machine(String);

impl Machine {
    pub(super) fn this() -> Self {
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        let kind = fs::read_to_string("/sys/devices/system/cpu/modalias").unwrap_or_default();
        Self::new(cpus, &kind, sysinfo().map_or(0, |system| system.ram_total()))
    }

    /// `kind` is as the kernel has it: `cpu:type:x86,ven0002fam0019mod0001:feature:…`.
    fn new(cpus: usize, kind: &str, memory_bytes: u64) -> Self {
        let kind = kind.split(":feature:").next().unwrap_or_default();
        // Whole GiB: kernels keep some MiB more or less for themselves.
        let memory_gib = (memory_bytes + (1 << 29)) >> 30;
        Self(format!("{cpus} x {kind}, {memory_gib} GiB"))
    }
}

/// What tells a model's files and the machine that serves them from others, or why the files cannot
/// be served.
pub(super) fn files(
    store: Result<&Store, &StoreError>,
    name: &ModelName,
    machine: &Machine,
) -> Result<String, String> {
    let in_words = |error: &dyn std::error::Error| match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    let model = match store {
        Ok(store) => store.check_unchanged(name).map_err(|error| in_words(&error))?,
        Err(error) => return Err(in_words(error)),
    };
    let manifest = regular_file::read(&model.folder.join(MANIFEST_NAME), MANIFEST_BYTES_MAX);
    let manifest = manifest.map_err(|error| in_words(&error))?;
    Ok(format!("{} on {}", hex::encode(Sha256::digest(manifest)), machine.0))
}

/// How a model is, given its files now and what was noted when it was served.
pub(super) fn model_now(
    state: &ProcessState,
    files: &Result<String, String>,
    noted: Option<&String>,
) -> ModelNow {
    let gone = match files {
        Err(reason) => Some(reason.clone()),
        Ok(files) if noted.is_some_and(|noted| noted != files) => {
            Some("it or the machine is not the one with which it was served before".to_owned())
        }
        Ok(_) => None,
    };
    match (state, gone) {
        (ProcessState::Ready { .. }, _) => ModelNow::Serves,
        (ProcessState::Refused { reason } | ProcessState::Waiting { reason, .. }, Some(gone)) => {
            let told = reason.contains(&gone);
            ModelNow::Absent { reason: if told { reason.clone() } else { format!("{gone} ({reason})") } }
        }
        (ProcessState::Refused { reason }, None) => ModelNow::Refused { reason: reason.clone() },
        (ProcessState::Waiting { reason, .. }, None) => ModelNow::Failing { reason: reason.clone() },
        (ProcessState::Starting { .. } | ProcessState::Stopping, _) => ModelNow::Loading,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_blamed_only_where_files_and_machine_are_those_that_it_served() {
        let refused = || ProcessState::Refused { reason: "why".into() };
        let waiting = || ProcessState::Waiting { restart_in_ms: 1, failures: 3, reason: "why".into() };
        let (same, other) = (Ok("files".to_owned()), Err("the disk is gone".to_owned()));
        let why = || "why".to_owned();
        let letter =
            |state: &ProcessState, files: &Result<String, String>, noted: Option<&str>| match model_now(
                state,
                files,
                noted.map(str::to_owned).as_ref(),
            ) {
                ModelNow::Serves => 's',
                ModelNow::Loading => 'l',
                ModelNow::Failing { reason } if reason == why() => 'f',
                ModelNow::Refused { reason } if reason == why() => 'r',
                ModelNow::Absent { .. } => 'a',
                other => panic!("{other:?}"),
            };
        let starting = ProcessState::Starting { pid: 1, loaded_permille: 0 };
        for (state, expected) in [
            (ProcessState::Ready { pid: 1 }, "ssss"),
            (starting, "llll"),
            (ProcessState::Stopping, "llll"),
            (waiting(), "ffaa"),
            (refused(), "rraa"),
        ] {
            let found = [(&same, Some("files")), (&same, None), (&same, Some("others")), (&other, None)];
            let letters = found.map(|(files, noted)| letter(&state, files, noted));
            assert_eq!(String::from_iter(letters), expected, "{state:?}");
        }
    }

    #[test]
    fn a_machine_is_told_by_its_processors_and_memory() {
        let of = |memory_bytes| Machine::new(2, "cpu:type:x86,ven0:feature:,0001,0002", memory_bytes).0;
        assert_eq!(of(16 << 30), "2 x cpu:type:x86,ven0, 16 GiB");
        assert_eq!(of((16 << 30) - (300 << 20)), of(16 << 30), "a kernel that keeps more for itself");
        assert_ne!(of(8 << 30), of(16 << 30));
    }

    #[test]
    fn a_model_that_is_not_there_says_so() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(folder.path());
        let name = "gone".parse().expect("a name");
        let machine = Machine::new(1, "", 0);
        assert!(files(store.as_ref(), &name, &machine).is_err_and(|why| why.contains("no model gone")));
        let nowhere = Store::open(&folder.path().join("nowhere"));
        assert!(files(nowhere.as_ref(), &name, &machine).is_err_and(|why| why.contains("nowhere")));
    }
}
