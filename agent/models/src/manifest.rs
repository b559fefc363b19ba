//! What a stored model consists of, written by the import and read by all others.

use std::io;
use std::path::{Path, PathBuf};

use nabi_domain::ModelSummary;
use nabi_domain::plan::ModelShape;
use serde::{Deserialize, Serialize};

use crate::atomic_file;
use crate::regular_file::{self, FileError};

/// The manifest's file name in a model's folder.
pub const MANIFEST_NAME: &str = "nabi-manifest.json";
/// Largest manifest.
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// The form that this version writes and reads.
const SCHEMA: u32 = 1;
const SHA256_HEX_BYTES: usize = 64;

/// A stored model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    schema: u32,
    /// What the model is.
    pub summary: ModelSummary,
    /// What decides its memory and its speed; none where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<ModelShape>,
    /// Its files; the one that an engine opens first is the first.
    pub files: Vec<StoredFile>,
}

/// A file of a stored model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredFile {
    /// Its name in the model's folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// The SHA-256 of its content, in lower-case hexadecimal.
    pub sha256: String,
    /// When it was last written, in nanoseconds since 1970: a cheap sign of a later change.
    pub mtime_ns: i64,
}

/// Why a manifest could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Missing, not readable or too large.
    #[error("the model's manifest could not be read")]
    Read(#[from] FileError),
    /// Not the JSON that it must be.
    #[error("the manifest {path:?} is damaged or from another version of Nabi: import the model again")]
    Json {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A form of another version.
    #[error("the manifest {path:?} has schema {schema}, this version reads {SCHEMA}: import the model again")]
    Schema {
        /// The manifest.
        path: PathBuf,
        /// Its schema.
        schema: u32,
    },
    /// A file name that leads out of the folder, or a hash that is none.
    #[error("the manifest {path:?} lists {file:?}, which is no valid entry: import the model again")]
    Entry {
        /// The manifest.
        path: PathBuf,
        /// The entry's name.
        file: String,
    },
    /// The disk.
    #[error("the manifest {path:?} could not be written; check the disk and import again")]
    Write {
        /// The manifest.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Manifest {
    /// A manifest of this version's schema.
    pub fn new(summary: ModelSummary, shape: Option<ModelShape>, files: Vec<StoredFile>) -> Self {
        Self { schema: SCHEMA, summary, shape, files }
    }

    /// Writes it into a model's folder, durably.
    pub fn write(&self, folder: &Path) -> Result<(), ManifestError> {
        let path = folder.join(MANIFEST_NAME);
        let json = serde_json::to_vec_pretty(self).map_err(io::Error::from);
        let written = json.and_then(|json| atomic_file::write(&path, &json, 0o644));
        written.map_err(|source| ManifestError::Write { path, source })
    }

    /// Reads that of a model's folder.
    pub fn read(folder: &Path) -> Result<Self, ManifestError> {
        let path = folder.join(MANIFEST_NAME);
        let json = regular_file::read(&path, MANIFEST_BYTES_MAX)?;
        Self::parse(&json, path)
    }

    fn parse(json: &[u8], path: PathBuf) -> Result<Self, ManifestError> {
        let manifest: Self = match serde_json::from_slice(json) {
            Ok(manifest) => manifest,
            Err(source) => return Err(ManifestError::Json { path, source }),
        };
        if manifest.schema != SCHEMA {
            return Err(ManifestError::Schema { path, schema: manifest.schema });
        }
        match manifest.files.iter().find(|file| !file.is_valid()) {
            Some(file) => Err(ManifestError::Entry { path, file: file.name.clone() }),
            None => Ok(manifest),
        }
    }
}

impl StoredFile {
    fn is_valid(&self) -> bool {
        let hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        is_file_name(&self.name) && self.sha256.len() == SHA256_HEX_BYTES && self.sha256.bytes().all(hex)
    }
}

/// Whether a model's folder may hold a file of this name: plain, not hidden (those are the
/// importer's own), and not the manifest.
pub fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']) && name != MANIFEST_NAME
}

#[cfg(test)]
mod tests {
    use nabi_domain::ModelFormat;

    use super::*;

    fn manifest(file: &str) -> Manifest {
        let summary = ModelSummary {
            name: "tiny".parse().expect("a name"),
            format: ModelFormat::Gguf,
            architecture: "llama".into(),
            parameters: 1,
            quantization: "F32".into(),
            context_tokens: 64,
            bytes: 4,
        };
        let file = StoredFile { name: file.into(), bytes: 4, sha256: "0a".repeat(32), mtime_ns: 1 };
        Manifest::new(summary, None, vec![file])
    }

    #[test]
    fn a_manifest_survives_the_disk() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let written = manifest("a.gguf");
        written.write(folder.path()).expect("writes");
        assert_eq!(Manifest::read(folder.path()).expect("reads"), written);
    }

    #[test]
    fn names_that_leave_the_folder_unknown_fields_and_other_schemas_are_refused() {
        let parse = |json: &str| Manifest::parse(json.as_bytes(), PathBuf::from("m"));
        for name in ["../../etc/shadow", "/etc/shadow", "", ".journal", MANIFEST_NAME] {
            let json = serde_json::to_string(&manifest(name)).expect("encodes");
            assert!(matches!(parse(&json), Err(ManifestError::Entry { .. })), "{name:?}");
        }
        let good = serde_json::to_string(&manifest("a.gguf")).expect("encodes");
        assert!(parse(&good).is_ok());
        let newer = good.replacen("\"schema\":1", "\"schema\":2", 1);
        assert!(matches!(parse(&newer), Err(ManifestError::Schema { schema: 2, .. })));
        let unknown = good.replacen('{', "{\"extra\":1,", 1);
        assert!(matches!(parse(&unknown), Err(ManifestError::Json { .. })));
        let hash = good.replace("0a0a", "0A0A");
        assert!(matches!(parse(&hash), Err(ManifestError::Entry { .. })));
    }
}
