//! What can go wrong, in words for the operator.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use nabi_domain::ModelName;
use nabi_models::manifest::ManifestError;
use nabi_models::regular_file::FileError;
use nabi_models::{InspectError, StoreError};

use crate::space::Size;

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    /// The supervisor is gone. There is nobody to tell.
    #[error("the supervisor does not listen any more")]
    Supervisor(#[source] io::Error),
    /// Another run works on this name.
    #[error("another import, removal or check of {name} is running: wait for its end")]
    Busy { name: ModelName },
    /// The source is no model.
    #[error("this cannot be imported")]
    Inspect(#[from] InspectError),
    /// The source is already ours.
    #[error("{path:?} lies inside the model store: give the original, on its stick or disk")]
    InsideStore { path: PathBuf },
    /// A link on a stick that leads elsewhere.
    #[error("{path:?} is a link that leads off its stick or disk: give the model itself")]
    LeavesMedia { path: PathBuf },
    /// Too little space before the copy begins.
    #[error(
        "not enough space in {store:?}: {needed} are needed, {free} are free; \
         remove a model (`nabi model remove NAME`) or use a larger disk"
    )]
    NoSpace { store: PathBuf, needed: Size, free: Size },
    /// The disk became full in the middle.
    #[error(
        "the disk became full while {path:?} was written: free some space and run the same import again, \
         it goes on where it stopped"
    )]
    DiskFull { path: PathBuf, source: io::Error },
    /// The source or its device.
    #[error(
        "{path:?} could not be read: check that the stick or disk is still there and run the same command \
         again, an import goes on where it stopped"
    )]
    Read { path: PathBuf, source: io::Error },
    /// The store's disk.
    #[error(
        "{path:?} could not be written: check the disk and run the same command again, an import goes on \
         where it stopped"
    )]
    Write { path: PathBuf, source: io::Error },
    /// A file that is not there, not regular or a link.
    #[error("the source changed or is gone; what is copied is kept, run the same import again")]
    Open(#[from] FileError),
    /// The source was written to meanwhile.
    #[error("{path:?} changed while it was imported: wait until it is complete and run the import again")]
    SourceChanged { path: PathBuf },
    /// What was stored is not what was inspected.
    #[error(
        "the copy {path:?} is not the model that was read from the source: run the import again, it begins \
         anew; if this happens twice, check the disk and the memory of this machine"
    )]
    CopyDiffers { path: PathBuf },
    /// The name is taken.
    #[error(
        "there is another model named {name}: remove it first (`nabi model remove {name}`) or import under \
         another name (`--name OTHER`)"
    )]
    NameTaken { name: ModelName },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The new manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A check found differences.
    #[error(
        "{} of {files} files of {name} are not as they were imported: {}; remove the model and import it again",
        differences.len(), differences.join(", ")
    )]
    Differs { name: ModelName, files: usize, differences: Vec<String> },
}

impl ImportError {
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path, source },
            _ => Self::Write { path, source },
        }
    }
}

/// An error with its causes in one line.
pub(crate) fn in_words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}
