//! The configuration file of each process, written by the supervisor, parsed whole before a
//! socket is touched.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nabi_domain::site::{self, Site, SiteModel};
use nabi_domain::{KeyName, ModelName};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::action::{self, KeyScope, ServeSettings};
use crate::reply::Alias;

/// Largest configuration file.
pub const CONFIG_BYTES_MAX: u64 = 4 << 20;

/// Why a configuration could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not what this version expects.
    #[error("the configuration {} is not valid: it is written anew at the next start", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
}

/// Reads a configuration.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.len() > CONFIG_BYTES_MAX {
        return Err(failed(io::Error::other(format!("larger than {CONFIG_BYTES_MAX} bytes"))));
    }
    let text = fs::read(path).map_err(failed)?;
    serde_json::from_slice(&text).map_err(|source| ConfigError::Parse { path: path.to_owned(), source })
}

/// `nabi-gateway`. Read at the start and after each SIGHUP; answered by a notification with
/// `X_NABI_GENERATION=` this file's generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// Counts the versions of this file within one life of the supervisor.
    pub generation: u64,
    /// Leaf certificate, then its issuers, PEM.
    pub certificate_pem: String,
    /// The leaf's private key, PEM. Only the gateway and the supervisor may read the file.
    pub private_key_pem: String,
    /// Who may ask.
    pub keys: Vec<KeyHash>,
    /// What is served.
    pub models: Vec<ServedModel>,
    /// Other names for what is served. None is the name of a model; one that leads to none of
    /// `models` is unknown to requests.
    pub aliases: Vec<Alias>,
    /// How long running answers may go on after SIGTERM.
    pub drain_grace_ms: u64,
    /// What clients may take.
    #[serde(default)]
    pub limits: GatewayLimits,
}

/// What clients may take of the gateway's time and memory. The defaults are the appliance's; tests
/// set others, so as not to wait for minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayLimits {
    /// Connections at a time, as far as file descriptors allow.
    pub connections_max: u32,
    /// From a connection to its first byte after the TLS handshake.
    pub handshake_ms_max: u64,
    /// From there, or from the last answer, to the next request, and from its first byte to the end of its
    /// headers.
    pub header_read_ms_max: u64,
    /// Without a request, a connection of HTTP/2 is closed after so long.
    pub idle_ms_max: u64,
    /// From a request's headers to the end of its body.
    pub body_read_ms_max: u64,
    /// Bodies in memory, of all requests together.
    pub bodies_bytes_max: u64,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            handshake_ms_max: 10_000,
            header_read_ms_max: 30_000,
            idle_ms_max: 300_000,
            body_read_ms_max: 60_000,
            bodies_bytes_max: 256 << 20,
        }
    }
}

/// An API key without the key: SHA-256 of its text. Keys have 256 random bits, so no salt is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyHash {
    /// Its name, for logs.
    pub name: KeyName,
    /// SHA-256 of the key's text.
    #[serde(with = "hex_32")]
    pub sha256: [u8; 32],
    /// What it is good for.
    pub scope: KeyScope,
}

/// A model that the operator wants served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServedModel {
    /// The name that requests carry.
    pub name: ModelName,
    /// Seconds since 1970 of its import, for `GET /v1/models`.
    pub created_unix_s: u64,
    /// The engine's socket once it has proven its first token; absent while it starts.
    pub socket: Option<PathBuf>,
}

/// What the site file wants of the supervisor, `site.json`. `nabi-setup` writes it at each boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteConfig {
    /// What to serve as soon as it is in the store, unless the operator decided otherwise since.
    pub serve: Vec<SiteServe>,
    /// Language of the screens (BCP 47).
    pub language: String,
    /// The machine's name.
    pub hostname: String,
}

/// A model that the site file wants served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteServe {
    /// Its name in the store.
    pub name: ModelName,
    /// How.
    pub settings: ServeSettings,
}

impl From<&Site> for SiteConfig {
    fn from(site: &Site) -> Self {
        Self {
            serve: site.models.iter().map(SiteServe::from).collect(),
            language: site.language.to_string(),
            hostname: site.hostname.to_string(),
        }
    }
}

impl From<&SiteModel> for SiteServe {
    fn from(model: &SiteModel) -> Self {
        let &SiteModel { ref name, sequences, context_tokens, stream_gap_ms } = model;
        let settings = ServeSettings { sequences, context_tokens, stream_gap_ms, anyway: false };
        Self { name: name.clone(), settings }
    }
}

// What a site file may ask for is what a verb may ask for.
const _: () = assert!(
    site::SEQUENCES_MAX == action::SEQUENCES_MAX
        && site::CONTEXT_TOKENS_MIN == action::CONTEXT_TOKENS_MIN
        && site::CONTEXT_TOKENS_MAX == action::CONTEXT_TOKENS_MAX
        && site::STREAM_GAP_MS_MAX == action::STREAM_GAP_MS_MAX
);

/// An engine process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// Name to serve under.
    pub name: ModelName,
    /// The (first) GGUF file.
    pub model: PathBuf,
    /// The kernel pack's folder.
    pub pack: PathBuf,
    /// Context of each sequence, in tokens.
    pub context_tokens: u32,
    /// Sequences that run together.
    pub sequences_max: u32,
    /// Compute threads.
    pub threads: u32,
    /// How keys and values are kept.
    pub kv: KvFormat,
    /// Requests that may wait.
    pub queue_requests_max: u32,
    /// Prompts are computed in chunks that keep running answers waiting about so long at most.
    pub stream_gap_ms_max: u32,
    /// Where prefixes are kept that have lost their slot.
    pub saved_prefixes: SavedPrefixes,
    /// How long running answers may go on after SIGTERM.
    pub drain_grace_ms: u64,
}

/// How much an engine may keep of computed prefixes beside its key-value cache.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedPrefixes {
    /// In memory.
    pub memory_bytes_max: u64,
    /// On disk, where memory does not suffice; nothing if [`Self::folder`] is absent.
    pub disk_bytes_max: u64,
    /// A folder of this engine's own. What it has is deleted at the engine's start.
    pub folder: Option<PathBuf>,
}

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvFormat {
    /// 16-bit, with flash attention where the kernels have it: the default.
    F16,
    /// 32-bit without flash attention, as the reference computes: for golden tests.
    F32,
}

/// Serde for 32 bytes as hexadecimal text.
pub mod hex_32 {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes 64 hexadecimal digits.
    pub fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    /// Reads 64 hexadecimal digits.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(&text, &mut bytes).map_err(D::Error::custom)?;
        Ok(bytes)
    }
}
