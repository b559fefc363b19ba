use std::path::{Path, PathBuf};

/// Why a model could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// A source file could not be read.
    #[error("cannot read {path}; `provisioning/deepseek-tokenizer.sh` fetches DeepSeek's tokenizer")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A source file is not JSON.
    #[error("cannot parse {path} as JSON; remove it and fetch it again")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where the text is wrong.
        source: serde_json::Error,
    },
    /// The tokenizer is not of the kind that is cut here.
    #[error("tokenizer.json {problem}; give DeepSeek's own byte-level BPE tokenizer")]
    Tokenizer {
        /// What is not as expected.
        problem: String,
    },
    /// `disturb` names a layer that the model does not have.
    #[error("there is no layer {layer} to disturb; this model has layers 0 to {}", layers - 1)]
    NoSuchLayer {
        /// The layer asked for.
        layer: usize,
        /// How many layers there are.
        layers: usize,
    },
    /// A result could not be written.
    #[error("cannot write {path}; check that the folder is writable and the disk has room")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What was written is no model.
    #[error("what was written cannot be read as a model")]
    Inspect(#[from] nabi_models::InspectError),
    /// The manifest beside it.
    #[error(transparent)]
    Manifest(#[from] nabi_models::manifest::ManifestError),
    /// The tensors could not be laid out as safetensors.
    #[error("cannot lay the tensors out as safetensors")]
    Safetensors(#[from] safetensors::SafeTensorError),
}

/// Writes a whole file.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), MakeError> {
    std::fs::write(path, bytes).map_err(|source| MakeError::Write { path: path.into(), source })
}

/// Creates a folder and those above it.
pub(crate) fn create_folder(path: &Path) -> Result<(), MakeError> {
    std::fs::create_dir_all(path).map_err(|source| MakeError::Write { path: path.into(), source })
}
