//! Kernel packs: a folder of libraries with a manifest that pins each of them.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The manifest's file name within a pack's folder.
pub const MANIFEST_FILE: &str = "pack.toml";
/// Largest manifest.
pub const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// Files of one pack.
pub const PACK_FILES_MAX: usize = 1024;
/// The value of [`PackManifest::engine`] for llama.cpp.
pub const ENGINE_LLAMA_CPP: &str = "llama.cpp";
/// The headers that [`PackManifest::headers_sha256`] covers, each as its name, a line feed and its
/// text. Structs go by value across this border: other headers mean a corrupted stack.
pub const HEADERS: [&str; 5] = ["llama.h", "ggml.h", "ggml-alloc.h", "ggml-backend.h", "ggml-cpu.h"];

/// `pack.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackManifest {
    /// The pack's name.
    pub name: String,
    /// Which engine it is for.
    pub engine: String,
    /// Version of llama.cpp.
    pub llama_version: String,
    /// Version of ggml.
    pub ggml_version: String,
    /// SHA-256 over [`HEADERS`], hexadecimal.
    pub headers_sha256: String,
    /// Every file but the manifest.
    #[serde(rename = "file")]
    pub files: Vec<PackFile>,
}

/// One file of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackFile {
    /// Below the pack's folder, with `/`.
    pub path: String,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// Why a pack is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// It is for another engine.
    #[error("the pack {name:?} is for the engine {engine:?}, not {ENGINE_LLAMA_CPP:?}")]
    Engine {
        /// Its name.
        name: String,
        /// Its engine.
        engine: String,
    },
    /// Its structs may differ from ours.
    #[error(
        "the pack {name:?} was built from other headers ({theirs}) than this engine ({ours}): build both from the same version"
    )]
    Headers {
        /// Its name.
        name: String,
        /// What it names.
        theirs: String,
        /// What the engine was generated from.
        ours: String,
    },
    /// Too many files.
    #[error("the pack {name:?} lists {files} files, at most {PACK_FILES_MAX} are allowed")]
    TooManyFiles {
        /// Its name.
        name: String,
        /// How many.
        files: usize,
    },
    /// A path that could leave the folder.
    #[error("the pack {name:?} lists the path {path:?}: only plain relative paths are allowed")]
    Path {
        /// Its name.
        name: String,
        /// The path.
        path: String,
    },
}

impl PackManifest {
    /// Checks all that can be checked without reading the files.
    pub fn check(&self, headers_sha256: &str) -> Result<(), PackError> {
        let name = || self.name.clone();
        if self.engine != ENGINE_LLAMA_CPP {
            return Err(PackError::Engine { name: name(), engine: self.engine.clone() });
        }
        if self.headers_sha256 != headers_sha256 {
            let (theirs, ours) = (self.headers_sha256.clone(), headers_sha256.to_owned());
            return Err(PackError::Headers { name: name(), theirs, ours });
        }
        if self.files.len() > PACK_FILES_MAX {
            return Err(PackError::TooManyFiles { name: name(), files: self.files.len() });
        }
        match self.files.iter().find(|file| !is_plain(&file.path)) {
            Some(file) => Err(PackError::Path { name: name(), path: file.path.clone() }),
            None => Ok(()),
        }
    }
}

/// Relative, and of ordinary names only: no `..`, no `.`, nothing empty, no hidden file.
fn is_plain(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    path.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && part.chars().all(plain))
}

/// SHA-256 in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(engine: &str, headers: &str, path: &str) -> PackManifest {
        PackManifest {
            name: "test".into(),
            engine: engine.into(),
            llama_version: "1".into(),
            ggml_version: "1".into(),
            headers_sha256: headers.into(),
            files: vec![PackFile { path: path.into(), sha256: sha256_hex(b"") }],
        }
    }

    #[test]
    fn a_pack_for_another_engine_with_other_headers_or_paths_is_refused() {
        let check = |engine, headers, path| manifest(engine, headers, path).check("ours");
        assert_eq!(check("llama.cpp", "ours", "backends/libggml-cpu-zen4.so"), Ok(()));
        assert!(matches!(check("vllm", "ours", "a"), Err(PackError::Engine { .. })));
        assert!(matches!(check("llama.cpp", "theirs", "a"), Err(PackError::Headers { .. })));
        for path in ["/etc/passwd", "../x", "a/../b", "a//b", "", ".hidden", "a/./b", "a\0b", "a b"] {
            assert!(matches!(check("llama.cpp", "ours", path), Err(PackError::Path { .. })), "{path:?}");
        }
    }

    #[test]
    fn sha256_of_nothing_is_the_known_one() {
        assert_eq!(sha256_hex(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
