//! Which engine computes a model, where, and with how much memory.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::devices::{VllmShape, on_devices};
use super::{CacheFormat, Engine, Memory, ModelShape, Room, Settings};

/// Requests that run together, and tokens of each, without the operator's word: the first pair that fits.
pub(super) const LADDER: [(u32, u32); 6] = [(4, 8192), (2, 8192), (1, 8192), (1, 4096), (1, 2048), (1, 512)];
/// Where memory allows, a context grows up to this: models that think write long answers.
pub(super) const CONTEXT_TOKENS_GROWN_MAX: u32 = 32_768;
/// So many threads keep so many answers together readable.
const SEQUENCES_BY_THREADS: [(u32, u32); 2] = [(64, 16), (16, 8)];
/// Contexts are told in steps of it.
const CONTEXT_TOKENS_STEP: u32 = 256;
/// Growing, keys and values take such a part of the machine at most: of all of it, so that it is the same
/// whatever runs beside, and in whatever order.
const GROWN_DIVISOR: u64 = 16;
/// One engine may keep prefixes in such a part of what all may have,
const PREFIXES_DIVISOR: u64 = 16;
/// but in no more than this.
const PREFIXES_BYTES_MAX: u64 = 8 << 30;
/// A file that would have to be smaller than such a part is no way out: not even weights of a bit are.
const SMALLER_FILE_DIVISOR: u64 = 8;

/// A model that may be run.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its architecture by its field name, for what is said of it.
    pub architecture: &'a str,
    /// As a file that llama.cpp runs; none if it has no such file or does not know the architecture.
    pub llama_cpp: Option<&'a ModelShape>,
    /// As a folder that vLLM runs.
    pub vllm: Option<&'a VllmShape>,
}

/// What the operator said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    /// Requests that run together.
    pub sequences: Option<u32>,
    /// Tokens of each.
    pub context_tokens: Option<u32>,
    /// Whatever is found of memory: where nothing fits, it is tried with what was said, or with the least.
    pub anyway: bool,
}

/// How a model is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// By which program.
    pub engine: Engine,
    /// On what.
    pub placement: Placement,
    /// Threads that compute on processors.
    pub threads: u32,
    /// Requests that run together.
    pub sequences: u32,
    /// Tokens of each.
    pub context_tokens: u32,
    /// Keys and values.
    pub cache: CacheFormat,
    /// What it takes: of the machine, or of each device.
    pub memory: Memory,
    /// What it may take besides, for prefixes that wait to be asked again.
    pub prefixes_bytes_max: u64,
}

/// What computes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Placement {
    /// The processors, in the machine's memory.
    Processors,
    /// Equal accelerators, each with its part of every layer.
    Devices {
        /// Which.
        name: String,
        /// How many.
        count: u32,
    },
}

/// Why a model cannot be run here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Unfit {
    /// Nothing installed computes it.
    NoEngine {
        /// Its architecture.
        architecture: String,
    },
    /// A longer context than it was trained for.
    Context {
        /// What was asked for.
        asked_tokens: u32,
        /// What it was trained for.
        trained_tokens: u64,
    },
    /// It is too large.
    Memory {
        /// What it takes at least, or as it was asked for.
        needs_bytes: u64,
        /// What there is.
        has_bytes: u64,
        /// What can be done, the cheapest first.
        ways_out: Vec<WayOut>,
    },
}

/// What makes a model fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WayOut {
    /// Other settings.
    Settings {
        /// Requests that run together.
        sequences: u32,
        /// Tokens of each.
        context_tokens: u32,
    },
    /// Stopping what runs beside it.
    StopOthers,
    /// The same model in a smaller file.
    SmallerFile {
        /// So large at most.
        bytes_max: u64,
    },
    /// A machine with more memory.
    MachineMemory {
        /// So much at least.
        bytes_min: u64,
    },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEngine { architecture } => {
                write!(
                    f,
                    "no engine that is installed here computes models of the architecture {architecture} in this format"
                )
            }
            Self::Context { asked_tokens, trained_tokens } => write!(
                f,
                "it was trained for a context of {trained_tokens} tokens, and {asked_tokens} were asked for"
            ),
            Self::Memory { needs_bytes, has_bytes, ways_out } => {
                write!(f, "it needs {} of memory, and {} are free for it", Gb(*needs_bytes), Gb(*has_bytes))?;
                for (at, way) in ways_out.iter().enumerate() {
                    write!(f, "{}{way}", if at == 0 { ": " } else { "; or " })?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for WayOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings { sequences, context_tokens } => {
                write!(f, "take --sequences {sequences} --context-tokens {context_tokens}")
            }
            Self::StopOthers => write!(f, "stop a model that runs"),
            Self::SmallerFile { bytes_max } => {
                write!(f, "import it in a smaller quantisation, of at most {}", Gb(*bytes_max))
            }
            Self::MachineMemory { bytes_min } => write!(f, "take a machine with {}", Gb(*bytes_min)),
        }
    }
}

/// Bytes for people, as disks and memory are sold.
struct Gb(u64);

impl fmt::Display for Gb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gb = self.0 as f64 / 1e9;
        if gb < 10.0 { write!(f, "{gb:.1} GB") } else { write!(f, "{gb:.0} GB") }
    }
}

/// Plans a model on a machine: on accelerators where an engine has them and they suffice, else on the
/// processors.
///
/// # Errors
/// With what is missing.
pub fn plan(candidate: Candidate<'_>, wish: Wish, room: &Room) -> Result<Plan, Unfit> {
    let has = |engine: Engine| room.engines.contains(&engine);
    let mut unfit = None;
    if let Some(shape) = candidate.vllm.filter(|_| has(Engine::Vllm)) {
        match on_devices(shape, wish, room) {
            Some(Ok(plan)) => return Ok(plan),
            Some(Err(why)) => unfit = Some(why),
            None => {}
        }
    }
    if let Some(shape) = candidate.llama_cpp.filter(|_| has(Engine::LlamaCpp)) {
        return on_processors(shape, wish, room);
    }
    Err(unfit.unwrap_or_else(|| Unfit::NoEngine { architecture: candidate.architecture.to_owned() }))
}

/// Tokens that a single request may have at most, on the processors; 0 if there is no room for any.
#[must_use]
pub fn largest_context(shape: &ModelShape, room: &Room) -> u32 {
    let fits = |context_tokens: u32| {
        let cache = CacheFormat::F16;
        let settings = Settings { sequences: 1, context_tokens, cache, threads: room.threads };
        Memory::of(shape, settings).total_bytes() <= room.free_bytes()
    };
    let trained = u32::try_from(shape.context_tokens).unwrap_or(u32::MAX);
    if fits(trained) {
        return trained;
    }
    // What is between them is not known yet.
    let (mut fitting, mut too_large) = (0, trained);
    while too_large - fitting > CONTEXT_TOKENS_STEP {
        let middle = fitting + (too_large - fitting) / 2;
        if fits(middle) { fitting = middle } else { too_large = middle }
    }
    fitting / CONTEXT_TOKENS_STEP * CONTEXT_TOKENS_STEP
}

pub(super) fn check_context(wish: Wish, trained_tokens: u64) -> Result<(), Unfit> {
    match wish.context_tokens {
        Some(asked_tokens) if u64::from(asked_tokens) > trained_tokens => {
            Err(Unfit::Context { asked_tokens, trained_tokens })
        }
        _ => Ok(()),
    }
}

pub(super) fn at_most(tokens: u32, trained_tokens: u64) -> u32 {
    u32::try_from(trained_tokens.max(1)).unwrap_or(u32::MAX).min(tokens)
}

fn on_processors(shape: &ModelShape, wish: Wish, room: &Room) -> Result<Plan, Unfit> {
    check_context(wish, shape.context_tokens)?;
    let memory = |(sequences, context_tokens): (u32, u32)| {
        let cache = CacheFormat::F16;
        Memory::of(shape, Settings { sequences, context_tokens, cache, threads: room.threads })
    };
    let fits = |settings: (u32, u32), bytes: u64| memory(settings).total_bytes() <= bytes;
    let free = room.free_bytes();
    // What was said is fixed; the rest comes from the ladder.
    let wished = |(sequences, context_tokens): (u32, u32)| {
        let context_tokens = at_most(context_tokens, shape.context_tokens);
        (wish.sequences.unwrap_or(sequences), wish.context_tokens.unwrap_or(context_tokens))
    };
    let smallest = wished(LADDER[LADDER.len() - 1]);
    let settings = match LADDER.into_iter().map(wished).find(|&settings| fits(settings, free)) {
        Some(first) => grown(shape, wish, room, first, &memory),
        None if wish.anyway => smallest,
        None => return Err(too_large(shape, wish, room, memory(smallest))),
    };
    Ok(on_processors_with(settings, memory(settings), room))
}

/// Of a model of which it is not known what it takes: as it was said, or by default; the engine says when
/// memory is short.
///
/// # Errors
/// When more context is wished than it was trained for.
pub fn plan_unknown(context_tokens: u64, wish: Wish, room: &Room) -> Result<Plan, Unfit> {
    check_context(wish, context_tokens)?;
    let (sequences, context) = LADDER[0];
    let settings = (
        wish.sequences.unwrap_or(sequences),
        wish.context_tokens.unwrap_or(at_most(context, context_tokens)),
    );
    Ok(on_processors_with(settings, Memory::default(), room))
}

fn on_processors_with(settings: (u32, u32), memory: Memory, room: &Room) -> Plan {
    let spare = room.free_bytes().saturating_sub(memory.total_bytes());
    Plan {
        engine: Engine::LlamaCpp,
        placement: Placement::Processors,
        threads: room.threads,
        sequences: settings.0,
        context_tokens: settings.1,
        cache: CacheFormat::F16,
        memory,
        prefixes_bytes_max: (room.memory_bytes / PREFIXES_DIVISOR).min(PREFIXES_BYTES_MAX).min(spare),
    }
}

/// More context, then more sequences, where there is room and nothing was said.
fn grown(
    shape: &ModelShape,
    wish: Wish,
    room: &Room,
    mut settings: (u32, u32),
    memory: &impl Fn((u32, u32)) -> Memory,
) -> (u32, u32) {
    let is_modest = |settings: (u32, u32)| {
        let memory = memory(settings);
        memory.cache_bytes <= room.memory_bytes / GROWN_DIVISOR && memory.total_bytes() <= room.free_bytes()
    };
    // What had to be made smaller does not grow again.
    if wish.context_tokens.is_none() && settings.1 >= at_most(LADDER[0].1, shape.context_tokens) {
        let most = at_most(CONTEXT_TOKENS_GROWN_MAX, shape.context_tokens);
        while settings.1 < most && is_modest((settings.0, settings.1.saturating_mul(2).min(most))) {
            settings.1 = settings.1.saturating_mul(2).min(most);
        }
    }
    if wish.sequences.is_none() && settings.0 == LADDER[0].0 {
        let by_threads = SEQUENCES_BY_THREADS.iter().filter(|(threads, _)| room.threads >= *threads);
        let fitting = by_threads.map(|&(_, sequences)| (sequences, settings.1)).find(|&more| is_modest(more));
        settings = fitting.unwrap_or(settings);
    }
    settings
}

fn too_large(shape: &ModelShape, wish: Wish, room: &Room, needed: Memory) -> Unfit {
    let (needs_bytes, has_bytes) = (needed.total_bytes(), room.free_bytes());
    let mut ways_out = Vec::new();
    // Without what was said, it may fit.
    if (wish.sequences, wish.context_tokens) != (None, None)
        && let Ok(plan) = on_processors(shape, Wish::default(), room)
    {
        let Plan { sequences, context_tokens, .. } = plan;
        ways_out.push(WayOut::Settings { sequences, context_tokens });
    }
    if room.taken_bytes > 0 && needs_bytes <= room.memory_bytes {
        ways_out.push(WayOut::StopOthers);
    }
    let beside = needs_bytes - needed.weights_bytes;
    let bytes_max = has_bytes.saturating_sub(beside);
    if bytes_max >= shape.weights_bytes() / SMALLER_FILE_DIVISOR {
        ways_out.push(WayOut::SmallerFile { bytes_max });
    }
    if needs_bytes > room.memory_bytes {
        ways_out.push(WayOut::MachineMemory { bytes_min: needs_bytes / 9 * 10 });
    }
    Unfit::Memory { needs_bytes, has_bytes, ways_out }
}
