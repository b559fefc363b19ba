//! What the operator is answered, progress first. `--json` prints the last of it.

use std::fmt;
use std::path::PathBuf;

use nabi_domain::boot::{BootFacts, SelfTest};
use nabi_domain::hardware::Inventory;
use nabi_domain::media::Medium;
use nabi_domain::plan::{Capacity, Room};
use nabi_domain::{KeyName, ModelName, ModelSummary, UnfinishedModel};
use serde::{Deserialize, Serialize};

use crate::action::{KeyScope, ServeSettings};

/// The supervisor's answer, frame by frame. The last one is `Done` or `Failed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// A long action goes on; closing the connection interrupts it without loss.
    Progress(Progress),
    /// It is done.
    Done(Reply),
    /// It is not; says what was attempted, on what, and what to do.
    Failed {
        /// The whole text.
        message: String,
    },
}

/// How far a long action is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What goes on: "copying model.gguf", "loading".
    pub what: String,
    /// Done so far, in `unit`.
    pub done: u64,
    /// All, in `unit`; 0 when not known.
    pub total: u64,
    /// `bytes` or `permille`.
    pub unit: Unit,
}

/// Of what a [`Progress`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Thousandths.
    Permille,
}

/// What `--json` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To `status`.
    Status(Status),
    /// To `model import`.
    Imported(ModelSummary),
    /// To `model list`.
    Models {
        /// Those that are whole, as far as their manifests tell.
        stored: Vec<ListedModel>,
        /// Those whose manifest cannot be read.
        damaged: Vec<DamagedModel>,
        /// What imports and removals left that did not end, or are under way.
        unfinished: Vec<UnfinishedModel>,
    },
    /// To `model remove`.
    Removed(ModelName),
    /// To `model verify`.
    Verified {
        /// Which model.
        name: ModelName,
        /// How many files.
        files: u32,
        /// How many bytes.
        bytes: u64,
    },
    /// To `model serve`: the first token is proven.
    Serving(Box<EngineStatus>),
    /// To `model stop`.
    Stopped(ModelName),
    /// To `alias set`: from now on requests for the alias go to this model.
    AliasSet {
        /// The alias.
        alias: Alias,
        /// Where it led before.
        before: Option<ModelName>,
    },
    /// To `alias list`.
    Aliases(Vec<Alias>),
    /// To `alias remove`.
    AliasRemoved(ModelName),
    /// To `key add`.
    KeyAdded {
        /// Its name.
        name: KeyName,
        /// What it is good for.
        scope: KeyScope,
        /// The key itself: shown this once.
        key: String,
    },
    /// To `key list`.
    Keys(Vec<ListedKey>),
    /// To `key revoke`.
    Revoked(KeyName),
    /// To `media list`.
    Media(Vec<Medium>),
    /// To `hardware`.
    Hardware(Box<Inventory>),
    /// To `hardware --record`.
    Recording(String),
    /// To `capacity`.
    Capacity {
        /// What there is for models.
        room: Box<Room>,
        /// How each would run by itself, those in the store first.
        models: Vec<Capacity>,
    },
    /// To `self-test`.
    SelfTest(SelfTest),
    /// To `boot`.
    Boot(BootFacts),
    /// To `ca`.
    Ca {
        /// The certificate.
        certificate_pem: String,
        /// SHA-256 of its DER form, hexadecimal, to compare by eye.
        sha256: String,
    },
    /// To `logs`.
    Logs(Vec<ProcessLog>),
    /// To `version`.
    Version(Version),
}

/// A model in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedModel {
    /// What it is.
    pub summary: ModelSummary,
    /// Whether it is to be served.
    pub served: bool,
}

/// A model in the store that can only be removed or imported again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedModel {
    /// Its name.
    pub name: ModelName,
    /// What is wrong with it.
    pub reason: String,
}

/// Another name for a served model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// The name that requests may carry.
    pub name: ModelName,
    /// The model that answers them.
    pub model: ModelName,
}

/// A key, as far as anybody knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedKey {
    /// Its name.
    pub name: KeyName,
    /// What it is good for.
    pub scope: KeyScope,
}

/// The state of everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Where clients connect.
    pub address: String,
    /// Whether there is a model, the self-test's at least, and every one answers: as `/readyz` has it.
    pub ready: bool,
    /// The gateway.
    pub gateway: ProcessState,
    /// One for each model that the operator serves.
    pub engines: Vec<EngineStatus>,
    /// That of the self-test's model, where the installation has one.
    pub self_test: Option<Box<EngineStatus>>,
    /// Other names for them.
    pub aliases: Vec<Alias>,
    /// What the operator should see to.
    pub alarms: Vec<Alarm>,
}

/// Something that is not as it should be, though what can be served is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alarm {
    /// A model cannot be served, and it is not the engine's fault.
    ModelAbsent {
        /// Which.
        model: ModelName,
        /// What is missing, and what to do.
        reason: String,
    },
    /// The self-test failed: what models answer may be wrong.
    SelfTest {
        /// How.
        reason: String,
    },
    /// The models' own partition is not there.
    ModelsDisk {
        /// Where it should be mounted.
        folder: PathBuf,
    },
    /// A disk is nearly full.
    LowSpace {
        /// Which folder lies on it.
        folder: PathBuf,
        /// What is left.
        free_bytes: u64,
    },
    /// A disk takes nothing any more, as after damage.
    ReadOnly {
        /// Which folder lies on it.
        folder: PathBuf,
    },
    /// The clock is behind what this appliance has lived through.
    ClockBehind {
        /// What it shows, in seconds since 1970.
        now_unix_s: u64,
    },
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ModelAbsent { model, reason } => write!(f, "{model} cannot be served: {reason}"),
            Self::SelfTest { reason } => write!(
                f,
                "the self-test failed, and answers of all models may be wrong: {reason}; start the machine again, and \
                 if it fails again go back to the version before"
            ),
            Self::ModelsDisk { folder } => write!(
                f,
                "the models' partition is not at {}: it is damaged or gone; start the machine again to have it checked, and \
                 if it stays away write the disk again and import the models anew",
                folder.display()
            ),
            Self::LowSpace { folder, free_bytes } => write!(
                f,
                "only {} MB are free on the disk of {}: remove a model that is not needed (`model remove NAME`)",
                free_bytes / 1_000_000,
                folder.display()
            ),
            Self::ReadOnly { folder } => write!(
                f,
                "the disk of {} can only be read: it may be damaged, start the machine again to have it checked",
                folder.display()
            ),
            Self::ClockBehind { now_unix_s } => write!(
                f,
                "the clock is wrong ({now_unix_s} s since 1970 lies before this appliance's past), and clients may refuse its \
                 certificate: name a time server in the site file, or set the machine's clock"
            ),
        }
    }
}

/// One engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineStatus {
    /// Which model.
    pub model: ModelName,
    /// How its process is.
    pub state: ProcessState,
    /// What the operator set; the rest is as by default.
    pub settings: ServeSettings,
    /// What it told when ready.
    pub card: Option<EngineCard>,
    /// Its own figures, when it answered.
    pub stats: Option<EngineFigures>,
}

/// What the operator wants to know of a loaded model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineCard {
    /// Which engine, with its version.
    pub engine: String,
    /// Which kernel pack and device.
    pub kernel: String,
    /// Context of each request.
    pub context_tokens: u32,
    /// Requests that run together.
    pub sequences_max: u32,
    /// Milliseconds from the start of the process to the proven first token.
    pub first_token_ms: u64,
}

/// An engine's figures since its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineFigures {
    /// Requests that wait.
    pub waiting: u32,
    /// Requests that run.
    pub running: u32,
    /// Steps of the model.
    pub steps: u64,
    /// Most sequences that shared one of the last steps.
    pub last_step_sequences_max: u32,
    /// Prompt tokens computed.
    pub prompt_tokens: u64,
    /// Prompt tokens that had been computed before.
    pub cached_tokens: u64,
    /// Tokens chosen.
    pub completion_tokens: u64,
    /// Requests that lost their place for a while to one of a flow that had been served less.
    pub preemptions: u64,
    /// Places of the key-value cache in use by requests that run.
    pub kv_used_tokens: u64,
    /// All places of the key-value cache; its memory is reserved from the start.
    pub kv_tokens_max: u64,
    /// Computed prefixes kept in memory, beside the key-value cache.
    pub saved_memory_bytes: u64,
    /// Computed prefixes kept on disk.
    pub saved_disk_bytes: u64,
}

/// How a process is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// Started, not yet proven.
    Starting {
        /// Process id.
        pid: u32,
        /// Thousandths of the model that are loaded.
        loaded_permille: u16,
    },
    /// Serves.
    Ready {
        /// Process id.
        pid: u32,
    },
    /// Ended, and will be started again.
    Waiting {
        /// When.
        restart_in_ms: u64,
        /// Ends in a row.
        failures: u32,
        /// Why it ended.
        reason: String,
    },
    /// Cannot run until the operator changes something.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
    /// Is being ended.
    Stopping,
}

/// What one process logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessLog {
    /// Which process.
    pub process: String,
    /// The last lines, oldest first.
    pub lines: Vec<String>,
}

/// Versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Nabi's own.
    pub nabi: String,
    /// Of the engine wire.
    pub engine_wire: u32,
    /// The kernel pack in use.
    pub pack: String,
}
