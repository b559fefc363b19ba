//! Where the store keeps a model and its unfinished states. The latter begin with a dot, so that no
//! model name can mean them.

use std::io;
use std::path::{Path, PathBuf};

use nabi_domain::ModelName;
use nabi_models::Store;
use nabi_models::atomic_file;
use nabi_models::store::{PARTIAL_PREFIX, REMOVED_PREFIX};

use crate::error::ImportError;

/// The paths of one model in the store.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) name: ModelName,
    pub(crate) store: Store,
    pub(crate) store_folder: PathBuf,
    /// The model.
    pub(crate) model: PathBuf,
    /// A copy that is not finished.
    pub(crate) partial: PathBuf,
    /// A model that is being deleted.
    pub(crate) removed: PathBuf,
    pub(crate) lock: PathBuf,
}

impl Places {
    pub(crate) fn new(store_folder: &Path, name: &ModelName) -> Result<Self, ImportError> {
        let beside = |prefix| store_folder.join(format!("{prefix}{name}"));
        Ok(Self {
            name: name.clone(),
            store: Store::open(store_folder)?,
            store_folder: store_folder.to_owned(),
            model: beside(""),
            partial: beside(PARTIAL_PREFIX),
            removed: beside(REMOVED_PREFIX),
            lock: beside(".lock-"),
        })
    }

    /// Renames a folder of the store, durably.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)?;
        atomic_file::sync_folder(&self.store_folder)
    }
}
