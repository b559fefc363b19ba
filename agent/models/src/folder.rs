//! Hugging Face folders: which files an import takes, and what config.json says.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::manifest;

/// Most entries that are looked at in a folder.
pub const ENTRIES_MAX: usize = 10_000;
/// Largest config.json. Its depth is bounded by serde_json (128).
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Largest file that is neither weights nor config.json: tokenizers.
pub const SIDE_FILE_BYTES_MAX: u64 = 256 << 20;

/// The file that makes a folder a model.
pub const CONFIG: &str = "config.json";
/// The map of tensors to shards, where there are several.
pub const INDEX: &str = "model.safetensors.index.json";

/// Why a folder is not a model that can be imported.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The system refused.
    #[error("the folder {path:?} could not be read")]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Too many entries.
    #[error("the folder {path:?} has more than {ENTRIES_MAX} entries: give the model's own folder")]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
    /// No config.json.
    #[error(
        "{path:?} has no config.json: give the folder of a Hugging Face model, or a .gguf file inside it"
    )]
    NoConfig {
        /// The folder.
        path: PathBuf,
    },
    /// No tokenizer.
    #[error("{path:?} has neither tokenizer.json nor tokenizer.model: copy the model's folder whole")]
    NoTokenizer {
        /// The folder.
        path: PathBuf,
    },
    /// Weights that run code when they are loaded.
    #[error(
        "{path:?} has weights only as {file:?}: pickles run code when loaded and are never imported; \
         get the model in safetensors"
    )]
    Pickle {
        /// The folder.
        path: PathBuf,
        /// One of them.
        file: String,
    },
    /// No weights.
    #[error("{path:?} has no .safetensors file: copy the model's folder whole")]
    NoWeights {
        /// The folder.
        path: PathBuf,
    },
    /// Several shards and nothing that says how they belong together.
    #[error("{path:?} has {shards} .safetensors files but no {INDEX}: copy the model's folder whole")]
    NoIndex {
        /// The folder.
        path: PathBuf,
        /// How many.
        shards: usize,
    },
    /// config.json is not what it must be.
    #[error("config.json is not valid")]
    Config(#[source] serde_json::Error),
    /// config.json lacks something.
    #[error("config.json says nothing of {what}: is this the folder of a language model?")]
    ConfigLacks {
        /// What.
        what: &'static str,
    },
}

/// What a folder offers, sorted by name.
#[derive(Debug, Default)]
pub struct Listing {
    /// Weights.
    pub safetensors: Vec<String>,
    /// Tokenizer, templates, configuration, licence.
    pub side_files: Vec<String>,
    pickles: Vec<String>,
}

/// Looks at the names in a folder. Sub-folders, hidden files and programs are never taken.
pub fn list(path: &Path) -> Result<Listing, FolderError> {
    let io = |source| FolderError::Io { path: path.to_owned(), source };
    let mut listing = Listing::default();
    for (seen, entry) in fs::read_dir(path).map_err(io)?.enumerate() {
        if seen == ENTRIES_MAX {
            return Err(FolderError::TooMany { path: path.to_owned() });
        }
        let name = entry.map_err(io)?.file_name();
        let Some(name) = name.to_str().filter(|name| manifest::is_file_name(name)) else { continue };
        match kind(name) {
            Some(Kind::Weights) => listing.safetensors.push(name.to_owned()),
            Some(Kind::Side) => listing.side_files.push(name.to_owned()),
            Some(Kind::Pickle) => listing.pickles.push(name.to_owned()),
            None => {}
        }
    }
    listing.safetensors.sort();
    listing.side_files.sort();
    check(path, &listing)?;
    Ok(listing)
}

fn check(path: &Path, listing: &Listing) -> Result<(), FolderError> {
    let path = path.to_owned();
    let has = |name: &str| listing.side_files.iter().any(|file| file == name);
    if !has(CONFIG) {
        return Err(FolderError::NoConfig { path });
    }
    match (listing.safetensors.len(), listing.pickles.first()) {
        (0, Some(file)) => return Err(FolderError::Pickle { path, file: file.clone() }),
        (0, None) => return Err(FolderError::NoWeights { path }),
        (shards @ 2.., _) if !has(INDEX) => return Err(FolderError::NoIndex { path, shards }),
        _ => {}
    }
    if has("tokenizer.json") || has("tokenizer.model") {
        Ok(())
    } else {
        Err(FolderError::NoTokenizer { path })
    }
}

impl Listing {
    /// Whether the weights are spread over shards.
    pub fn has_index(&self) -> bool {
        self.side_files.iter().any(|file| file == INDEX)
    }
}

enum Kind {
    Weights,
    Side,
    Pickle,
}

fn kind(name: &str) -> Option<Kind> {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("safetensors") => Some(Kind::Weights),
        Some("json" | "txt" | "model" | "jinja") => Some(Kind::Side),
        Some("bin" | "pt" | "pth" | "ckpt") => Some(Kind::Pickle),
        _ if name.starts_with("LICENSE") => Some(Kind::Side),
        _ => None,
    }
}

/// What config.json says.
#[derive(Debug)]
pub struct Config {
    /// The first of `architectures`.
    pub architecture: String,
    /// Longest context in tokens.
    pub context_tokens: u64,
    /// `quantization_config.quant_method`: names what packed weights are.
    pub quantization: Option<String>,
    /// Whether the model wants to run Python code of its own (`auto_map`), which is never copied.
    pub remote_code: bool,
}

#[derive(Deserialize)]
struct RawConfig {
    architectures: Option<Vec<String>>,
    quantization_config: Option<RawQuantization>,
    auto_map: Option<IgnoredAny>,
    /// Of models that also see or hear.
    text_config: Option<RawContext>,
    #[serde(flatten)]
    context: RawContext,
}

#[derive(Deserialize)]
struct RawQuantization {
    quant_method: Option<String>,
}

/// The same number under the names that architectures gave it.
#[derive(Deserialize)]
struct RawContext {
    max_position_embeddings: Option<u64>,
    n_positions: Option<u64>,
    seq_length: Option<u64>,
    max_seq_len: Option<u64>,
}

impl RawContext {
    fn tokens(&self) -> Option<u64> {
        self.max_position_embeddings.or(self.n_positions).or(self.seq_length).or(self.max_seq_len)
    }
}

/// Reads config.json. `json` is at most [`CONFIG_BYTES_MAX`] long.
pub fn read_config(json: &[u8]) -> Result<Config, FolderError> {
    let raw: RawConfig = serde_json::from_slice(json).map_err(FolderError::Config)?;
    let architecture = raw.architectures.and_then(|names| names.into_iter().next());
    let nested = raw.text_config.as_ref().and_then(RawContext::tokens);
    Ok(Config {
        architecture: architecture.ok_or(FolderError::ConfigLacks { what: "architectures" })?,
        context_tokens: (raw.context.tokens().or(nested))
            .filter(|tokens| *tokens > 0)
            .ok_or(FolderError::ConfigLacks { what: "max_position_embeddings" })?,
        quantization: raw.quantization_config.and_then(|config| config.quant_method),
        remote_code: raw.auto_map.is_some(),
    })
}
