//! All that an operator can do: one enum. The verbs of `nabi` are generated from it, the console
//! uses it. One connection to the admin socket carries one action; [`crate::reply`] is what comes back.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use nabi_domain::{KeyName, ModelName};
use serde::{Deserialize, Serialize};

/// Largest number of lines that `logs` shows from the past.
pub const LOG_LINES_MAX: u32 = 10_000;
/// Most requests that one engine runs together: llama.cpp's limit.
pub const SEQUENCES_MAX: u32 = 256;
/// Shortest context: a chat template alone may need as much.
pub const CONTEXT_TOKENS_MIN: u32 = 128;
/// Longest context.
pub const CONTEXT_TOKENS_MAX: u32 = 16 << 20;
/// Longest [`ServeSettings::stream_gap_ms`].
pub const STREAM_GAP_MS_MAX: u32 = 60_000;

/// What the operator asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
pub enum Action {
    /// What runs, and whether it serves
    Status,
    /// Models: import, list, remove, verify, serve, stop
    #[command(subcommand)]
    Model(ModelAction),
    /// API keys: add, list, revoke
    #[command(subcommand)]
    Key(KeyAction),
    /// Other names for served models: set, list, remove
    #[command(subcommand)]
    Alias(AliasAction),
    /// Sticks and disks that bring models: list
    #[command(subcommand)]
    Media(MediaAction),
    /// What the machine has: processors, memory, accelerators, disks, network, power
    Hardware {
        /// Print all that was read for it instead, for those who cannot come to the machine
        #[arg(long)]
        record: bool,
    },
    /// Which models fit, how fast they would be, and for how many users; speeds are estimates
    Capacity,
    /// Print the certificate of the authority that clients must trust
    Ca,
    /// Have the built-in model compute what is known, to see that the kernels are right
    SelfTest,
    /// What this start is judged by before its version is kept
    Boot,
    /// Print what the processes logged
    Logs {
        /// Only this process: supervisor, gateway, import, probe, or engine-MODEL
        process: Option<String>,
        /// How many lines of each process
        #[arg(long, short = 'n', default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(LOG_LINES_MAX)))]
        lines: u32,
    },
    /// Versions of Nabi and of its engines
    Version,
}

/// What can be done with models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
pub enum ModelAction {
    /// Copy a model into the store: a GGUF file or a Hugging Face folder
    Import {
        /// The file, one file of a split one, or the folder; on an appliance MEDIUM/PATH, as `media list` shows it
        path: PathBuf,
        /// Store it under this name; by default the name of the file or folder
        #[arg(long)]
        name: Option<ModelName>,
    },
    /// List the models in the store
    List,
    /// Delete a model from the store
    Remove {
        /// Its name
        name: ModelName,
    },
    /// Hash a model's files again and compare with its import
    Verify {
        /// Its name
        name: ModelName,
    },
    /// Serve a model, now and after each start
    Serve {
        /// Its name
        name: ModelName,
        /// What differs from before; an engine that runs with other settings is started again.
        #[command(flatten)]
        settings: ServeSettings,
    },
    /// Serve a model no longer
    Stop {
        /// Its name
        name: ModelName,
    },
}

/// How a model is served. What is absent is as it was, or the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
pub struct ServeSettings {
    /// Requests that run together, 1 to 256; memory for all their contexts is reserved at once [default: 4 to 16, by memory and processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(SEQUENCES_MAX)))]
    pub sequences: Option<u32>,
    /// Tokens of prompt and answer together, for each request [default: the model's, at most 8192 to 32768, by memory]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(i64::from(CONTEXT_TOKENS_MIN)..=i64::from(CONTEXT_TOKENS_MAX)))]
    pub context_tokens: Option<u32>,
    /// Milliseconds that a running answer may wait while others' prompts are read [default: 5000]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..=i64::from(STREAM_GAP_MS_MAX)))]
    pub stream_gap_ms: Option<u32>,
    /// Even if it does not fit into the memory by what is known of it
    #[arg(long)]
    pub anyway: bool,
}

impl ServeSettings {
    /// These, and what they leave open as in `before`.
    #[must_use]
    pub fn or(self, before: Self) -> Self {
        Self {
            sequences: self.sequences.or(before.sequences),
            context_tokens: self.context_tokens.or(before.context_tokens),
            stream_gap_ms: self.stream_gap_ms.or(before.stream_gap_ms),
            anyway: self.anyway || before.anyway,
        }
    }
}

/// What can be done with aliases. Requests that name an alias go to its model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
pub enum AliasAction {
    /// Lead a name to a served model; one that exists is swapped without refusing a request
    Set {
        /// The alias
        name: ModelName,
        /// The model, which must be ready
        model: ModelName,
    },
    /// List the aliases
    List,
    /// Remove an alias; its model stays served
    Remove {
        /// The alias
        name: ModelName,
    },
}

/// What can be done with sticks and disks. They are attached by being plugged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
pub enum MediaAction {
    /// List them, and the models on them
    List,
}

/// What a key is good for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum KeyScope {
    /// Asking models
    #[default]
    Inference,
    /// Reading /metrics
    Metrics,
}

/// What can be done with API keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
pub enum KeyAction {
    /// Make a key and print it: it is shown this once
    Add {
        /// A name to know it by
        name: KeyName,
        /// What it is good for
        #[arg(long, value_enum, default_value_t)]
        scope: KeyScope,
    },
    /// List the keys' names and scopes
    List,
    /// Refuse a key from now on
    Revoke {
        /// Its name
        name: KeyName,
    },
}
