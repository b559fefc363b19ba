//! The folder that holds the models, as everyone but the import sees it: read only.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nabi_domain::{ModelName, UnfinishedModel, UnfinishedWork};

use crate::manifest::{MANIFEST_NAME, Manifest, ManifestError, StoredFile};
use crate::regular_file;

/// Most models in a store.
pub const MODELS_MAX: usize = 1000;

/// Before the name of a model: the folder of a copy that is not finished.
pub const PARTIAL_PREFIX: &str = ".import-";
/// Before the name of a model: the folder of one that is being deleted.
pub const REMOVED_PREFIX: &str = ".remove-";
/// Of the fields that `stat` counts space in.
const BLOCK_BYTES: u64 = 512;

/// Why the store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store itself.
    #[error("the model store {path:?} could not be read")]
    Io {
        /// The store.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not stored.
    #[error("there is no model {name}: see `nabi model list`, or import it with `nabi model import PATH`")]
    Unknown {
        /// The name asked for.
        name: ModelName,
    },
    /// Its manifest.
    #[error("model {name}")]
    Manifest {
        /// The model.
        name: ModelName,
        /// What is wrong.
        source: ManifestError,
    },
    /// A file is not what was imported.
    #[error(
        "model {name}: {file:?} {how} since its import; check it with `nabi model verify {name}`, \
         or remove the model and import it again"
    )]
    Changed {
        /// The model.
        name: ModelName,
        /// The file.
        file: String,
        /// What happened to it.
        how: &'static str,
    },
    /// More than [`MODELS_MAX`].
    #[error("the model store {path:?} holds more than {MODELS_MAX} models: remove some")]
    TooMany {
        /// The store.
        path: PathBuf,
    },
}

/// The model store. Folders whose names are not model names (`.import-…`) are no models.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
}

/// A model in the store.
#[derive(Debug, Clone)]
pub struct StoredModel {
    /// Its folder.
    pub folder: PathBuf,
    /// What it is and consists of.
    pub manifest: Manifest,
}

impl StoredModel {
    /// The file that llama.cpp opens (the first part of a split model), or the folder for vLLM.
    pub fn entry_point(&self) -> PathBuf {
        match (self.manifest.summary.format, self.manifest.files.first()) {
            (nabi_domain::ModelFormat::Gguf, Some(file)) => self.folder.join(&file.name),
            _ => self.folder.clone(),
        }
    }
}

impl Store {
    /// The store in this folder, which must exist.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        match fs::read_dir(path) {
            Ok(_) => Ok(Self { path: path.to_owned() }),
            Err(source) => Err(StoreError::Io { path: path.to_owned(), source }),
        }
    }

    /// All models by name. One whose manifest cannot be read is an error in its place.
    pub fn list(&self) -> Result<Vec<Result<StoredModel, StoreError>>, StoreError> {
        let io = |source| StoreError::Io { path: self.path.clone(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            let Some(Ok(name)) = name.to_str().map(str::parse::<ModelName>) else { continue };
            if self.folder(&name).join(MANIFEST_NAME).exists() {
                names.push(name);
            }
            if names.len() > MODELS_MAX {
                return Err(StoreError::TooMany { path: self.path.clone() });
            }
        }
        names.sort();
        Ok(names.iter().map(|name| self.get(name)).collect())
    }

    /// What imports and removals left that did not end, or are under way, by name.
    pub fn unfinished(&self) -> Result<Vec<UnfinishedModel>, StoreError> {
        let io = |source| StoreError::Io { path: self.path.clone(), source };
        let mut unfinished = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(io)? {
            let entry = entry.map_err(io)?;
            let file = entry.file_name();
            let of = |prefix, work| Some((file.to_str()?.strip_prefix(prefix)?.parse().ok()?, work));
            let what = of(PARTIAL_PREFIX, UnfinishedWork::Import)
                .or_else(|| of(REMOVED_PREFIX, UnfinishedWork::Removal));
            let Some((name, work)) = what else { continue };
            if unfinished.len() == MODELS_MAX {
                return Err(StoreError::TooMany { path: self.path.clone() });
            }
            unfinished.push(UnfinishedModel { name, work, bytes: space(&entry.path()) });
        }
        unfinished.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(unfinished)
    }

    /// One model.
    pub fn get(&self, name: &ModelName) -> Result<StoredModel, StoreError> {
        let folder = self.folder(name);
        if !folder.join(MANIFEST_NAME).exists() {
            return Err(StoreError::Unknown { name: name.clone() });
        }
        match Manifest::read(&folder) {
            Ok(manifest) => Ok(StoredModel { folder, manifest }),
            Err(source) => Err(StoreError::Manifest { name: name.clone(), source }),
        }
    }

    /// One model whose files have the sizes and times of its import: cheap, for each start of an
    /// engine. Their content is compared by `nabi model verify`.
    pub fn check_unchanged(&self, name: &ModelName) -> Result<StoredModel, StoreError> {
        let model = self.get(name)?;
        for file in &model.manifest.files {
            if let Some(how) = change(&model.folder, file) {
                return Err(StoreError::Changed { name: name.clone(), file: file.name.clone(), how });
            }
        }
        Ok(model)
    }

    fn folder(&self, name: &ModelName) -> PathBuf {
        self.path.join(name.as_str())
    }
}

/// That the files of a folder hold. It may vanish meanwhile.
fn space(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.blocks() * BLOCK_BYTES).sum()
}

fn change(folder: &Path, file: &StoredFile) -> Option<&'static str> {
    match fs::symlink_metadata(folder.join(&file.name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some("is missing"),
        Err(_) => Some("cannot be looked at"),
        Ok(metadata) if !metadata.is_file() => Some("is no regular file any more"),
        Ok(metadata) if metadata.len() != file.bytes => Some("changed its size"),
        Ok(metadata) if regular_file::mtime_ns(&metadata) != file.mtime_ns => Some("was written to"),
        Ok(_) => None,
    }
}
