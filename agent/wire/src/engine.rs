//! The engine wire. A client (gateway, supervisor) connects to an engine's socket; both sides
//! first send a [`Greeting`]; the engine then sends [`FromEngine::Loading`] until its model is
//! loaded, once [`FromEngine::Ready`], and from then on answers.
//!
//! A lost connection aborts all requests that came over it. The engine never waits for a client.

use nabi_domain::{AddedToken, ChatTemplate, ModelName, Piece};
use serde::{Deserialize, Serialize};

/// Raised with every change of a type below: both sides must have the same.
pub const ENGINE_WIRE_VERSION: u32 = 1;
/// Requests under way on one connection.
pub const CONNECTION_REQUESTS_MAX: usize = 4096;
/// Stop strings of one request.
pub const STOP_STRINGS_MAX: usize = 16;
/// Bytes of one stop string.
pub const STOP_STRING_BYTES_MAX: usize = 512;

/// The first frame of either side. Its form never changes, so that any two versions can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// Always `NABI`, so that a stray program is noticed.
    pub magic: [u8; 4],
    /// [`ENGINE_WIRE_VERSION`] of the sender.
    pub version: u32,
}

impl Greeting {
    /// What this build says.
    pub const OURS: Self = Self { magic: *b"NABI", version: ENGINE_WIRE_VERSION };
}

/// What a client asks of an engine. `id` is the client's own; it may be used again after its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToEngine {
    /// Same for all clients, first frame.
    Greeting(Greeting),
    /// Continue a prompt.
    Generate(Generate),
    /// Which tokens does this prompt have?
    Tokenize {
        /// Names the answer.
        id: u64,
        /// The prompt.
        pieces: Vec<Piece>,
    },
    /// End a request; it answers [`FinishReason::Aborted`] within one step. Unknown ids are ignored.
    Abort {
        /// Which.
        id: u64,
    },
    /// How is the engine doing?
    Stats {
        /// Names the answer.
        id: u64,
    },
}

/// One prompt to continue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generate {
    /// Names all answers to this request.
    pub id: u64,
    /// The prompt; not empty.
    pub pieces: Vec<Piece>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Generation ends before any of these, which may lie across tokens.
    pub stop: Vec<String>,
    /// End after so many tokens; the context's end if absent.
    pub tokens_max: Option<u32>,
    /// Send the log-probability of each token.
    pub logprobs: bool,
}

/// How the next token is chosen. Order: temperature, top-k, top-p, min-p, draw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 takes the likeliest token; finite, not negative.
    pub temperature: f32,
    /// Keep the smallest set of tokens with this probability together; 0 < p ≤ 1, 1 keeps all.
    pub top_p: f32,
    /// Keep so many likeliest tokens; 0 keeps all.
    pub top_k: u32,
    /// Keep tokens at least this fraction as likely as the likeliest; 0 ≤ p ≤ 1, 0 keeps all.
    pub min_p: f32,
    /// The same seed, prompt and engine give the same text; drawn by the engine if absent.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_p: 1.0, top_k: 0, min_p: 0.0, seed: None }
    }
}

/// What an engine answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromEngine {
    /// First frame.
    Greeting(Greeting),
    /// The model is being loaded.
    Loading {
        /// Thousandths done.
        permille: u16,
    },
    /// The model is loaded; requests are taken.
    Ready(Box<ModelCard>),
    /// More of an answer.
    Delta(Delta),
    /// The end of an answer; nothing follows for this id.
    Finish {
        /// Which request.
        id: u64,
        /// Why it ended.
        reason: FinishReason,
        /// What it took.
        usage: Usage,
    },
    /// The request was not taken, or failed; nothing follows for this id.
    Refused {
        /// Which request.
        id: u64,
        /// Why.
        refusal: Refusal,
    },
    /// Answer to [`ToEngine::Tokenize`].
    Tokens {
        /// Which request.
        id: u64,
        /// Ids in the vocabulary.
        token_ids: Vec<u32>,
    },
    /// Answer to [`ToEngine::Stats`].
    Stats {
        /// Which request.
        id: u64,
        /// The figures.
        stats: Box<Stats>,
    },
}

/// More of an answer: at least one of the fields is not empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Which request.
    pub id: u64,
    /// Tokens chosen since the last delta. Their text may come later, when a character or a
    /// possible stop string is complete.
    pub token_ids: Vec<u32>,
    /// Text, always whole characters.
    pub text: String,
    /// Natural logarithm of each token's probability, where asked for; as many as `token_ids`.
    pub logprobs: Vec<f32>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FinishReason {
    /// The model's end token, or a stop string.
    Stop,
    /// `tokens_max` or the context's end.
    Length,
    /// The client aborted.
    Aborted,
    /// The engine is going down and the grace time is over.
    Draining,
}

/// What an answer took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens chosen, the end token included.
    pub completion_tokens: u32,
}

/// Why a request was not taken, or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Prompt and at least one token do not fit.
    #[error(
        "the prompt has {prompt_tokens} tokens, but this model's context holds {context_tokens} tokens, prompt and answer together: shorten the prompt"
    )]
    PromptTooLong {
        /// What came.
        prompt_tokens: u32,
        /// What fits.
        context_tokens: u32,
    },
    /// Nothing to continue.
    #[error("the prompt is empty")]
    PromptEmpty,
    /// A token id that the vocabulary lacks.
    #[error("token id {token_id} is not in the vocabulary of {vocabulary_tokens} tokens")]
    TokenUnknown {
        /// What came.
        token_id: u32,
        /// How many there are.
        vocabulary_tokens: u32,
    },
    /// A number out of its range.
    #[error("{field} must be {range}")]
    OutOfRange {
        /// Which.
        field: String,
        /// What is allowed.
        range: String,
    },
    /// Too many wait already.
    #[error("{queue_requests_max} requests wait already: try again later")]
    QueueFull {
        /// How many may wait.
        queue_requests_max: u32,
    },
    /// The engine is going down.
    #[error("the engine is going down: try again later")]
    Draining,
    /// The model could not compute; the log has the details.
    #[error("the engine could not compute the answer: {what}")]
    Failed {
        /// What failed.
        what: String,
    },
}

/// What a client must know of a loaded model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// The name it is served under.
    pub name: ModelName,
    /// llama.cpp's name of the architecture.
    pub architecture: String,
    /// Tokens of prompt and answer together, for each request.
    pub context_tokens: u32,
    /// Tokens in the vocabulary.
    pub vocabulary_tokens: u32,
    /// How chats become prompts; absent in a model that only continues text.
    pub template: Option<ChatTemplate>,
    /// What a tokenizer would match in text.
    pub added_tokens: Vec<AddedToken>,
    /// The token that begins plain text, where the tokenizer asks for one. Chats begin as their
    /// template says.
    pub bos: Option<u32>,
    /// Which engine, with its version.
    pub engine: String,
    /// Which kernel pack and device.
    pub kernel: String,
    /// Requests that run together.
    pub sequences_max: u32,
}

/// How an engine is doing. Counters count since its start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Requests that wait.
    pub waiting: u32,
    /// Requests that run.
    pub running: u32,
    /// Steps of the model.
    pub steps: u64,
    /// Sequences that shared each of the last steps, oldest first, at most [`STATS_STEPS_MAX`].
    pub last_step_sequences: Vec<u32>,
    /// Prompt tokens computed.
    pub prompt_tokens: u64,
    /// Tokens chosen.
    pub completion_tokens: u64,
    /// Cells of the key-value cache in use, and all.
    pub kv_used_tokens: u64,
    /// All cells of the key-value cache.
    pub kv_tokens_max: u64,
    /// The kernel in use.
    pub kernel: String,
}

/// Steps that [`Stats::last_step_sequences`] tells of.
pub const STATS_STEPS_MAX: usize = 64;
