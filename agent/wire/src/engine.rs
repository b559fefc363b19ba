//! The engine wire. A client (gateway, supervisor) connects to an engine's socket; both sides
//! first send a [`Greeting`]; the engine then sends [`FromEngine::Loading`] until its model is
//! loaded, once [`FromEngine::Ready`], and from then on answers.
//!
//! A lost connection aborts all requests that came over it. The engine never waits for a client.

use nabi_domain::{AddedToken, ChatTemplate, ModelName, Piece};
use serde::{Deserialize, Serialize};

/// Raised with every change of a type below: both sides must have the same.
pub const ENGINE_WIRE_VERSION: u32 = 2;
/// Requests under way on one connection.
pub const CONNECTION_REQUESTS_MAX: usize = 4096;
/// Stop strings of one request.
pub const STOP_STRINGS_MAX: usize = 16;
/// Bytes of one stop string.
pub const STOP_STRING_BYTES_MAX: usize = 512;
/// Answers to one prompt.
pub const CHOICES_MAX: u32 = 16;
/// Alternatives told with each token.
pub const TOP_LOGPROBS_MAX: u8 = 20;
/// Tokens whose logits a request may change.
pub const LOGIT_BIAS_TOKENS_MAX: usize = 1024;
/// Bytes of a grammar's text.
pub const GRAMMAR_BYTES_MAX: usize = 256 << 10;
/// Texts of one [`Embed`].
pub const EMBED_INPUTS_MAX: usize = 2048;
/// Numbers of all vectors of one [`FromEngine::Embedded`]: it is one frame.
pub const EMBED_NUMBERS_MAX: usize = 4_000_000;
/// Largest [`Sampling::repetition_penalty`].
pub const REPETITION_PENALTY_MAX: f32 = 100.0;
/// Largest [`Share::weight`].
pub const WEIGHT_MAX: u16 = 1000;
/// The credit of a client that takes whatever comes.
pub const CREDIT_UNBOUNDED: u32 = u32::MAX;

/// Texts of one [`Embed`] to a model whose vectors have so many numbers.
pub fn embed_inputs_max(embedding_numbers: u32) -> usize {
    EMBED_INPUTS_MAX.min(EMBED_NUMBERS_MAX / (embedding_numbers.max(1) as usize)).max(1)
}

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
    Generate(Box<Generate>),
    /// Give vectors for texts.
    Embed(Box<Embed>),
    /// Which tokens does this prompt have, and what does each add to the text? Pieces that are
    /// tokens come back as they are, so that this also turns ids into text.
    Tokenize {
        /// Names the answer.
        id: u64,
        /// The prompt.
        pieces: Vec<Piece>,
    },
    /// So many tokens more may be sent for a [`Generate`]. Unknown ids are ignored.
    Credit {
        /// Which.
        id: u64,
        /// How many more.
        tokens: u32,
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

/// Whose request it is, and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Requests of one flow share among themselves what is theirs; flows share the engine.
    pub flow: u64,
    /// A flow's share, relative to the others that wait: 1 to [`WEIGHT_MAX`].
    pub weight: u16,
    /// Refused when it has waited so long for its first place; no limit if absent.
    pub queue_ms_max: Option<u64>,
    /// Ended when so much time has gone since it came; no limit if absent.
    pub total_ms_max: Option<u64>,
}

impl Default for Share {
    fn default() -> Self {
        Self { flow: 0, weight: 1, queue_ms_max: None, total_ms_max: None }
    }
}

/// Keeps prefixes apart: computed prompts are shared only between requests of equal salt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Salt(pub [u8; 16]);

/// One prompt to continue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generate {
    /// Names all answers to this request.
    pub id: u64,
    /// Whose it is.
    pub share: Share,
    /// With whom it may share computed prefixes.
    pub salt: Salt,
    /// Independent answers, 1 to [`CHOICES_MAX`]. Choice `i` draws from `seed + i`.
    pub choices: u32,
    /// The prompt; not empty.
    pub pieces: Vec<Piece>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// What the answer's form must be.
    pub grammar: Option<Grammar>,
    /// Generation ends before any of these, which may lie across tokens.
    pub stop: Vec<String>,
    /// End each choice after so many tokens; the context's end if absent. 0 is for those who want
    /// only [`Self::prompt_logprobs`].
    pub tokens_max: Option<u32>,
    /// Send each token's log-probability, and those of so many likeliest ones.
    pub logprobs: Option<u8>,
    /// Send the same for the tokens of the prompt, before any [`Delta`].
    pub prompt_logprobs: Option<u8>,
    /// Tokens of all choices together that may be sent before [`ToEngine::Credit`] allows more;
    /// a choice that may not send does not run.
    pub credit_tokens: u32,
}

impl Generate {
    /// One answer of unlimited length to a prompt, with nothing special about it.
    pub fn new(id: u64, pieces: Vec<Piece>) -> Self {
        Self {
            id,
            share: Share::default(),
            salt: Salt::default(),
            choices: 1,
            pieces,
            sampling: Sampling::default(),
            grammar: None,
            stop: Vec::new(),
            tokens_max: None,
            logprobs: None,
            prompt_logprobs: None,
            credit_tokens: CREDIT_UNBOUNDED,
        }
    }
}

/// What an answer's text must match, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grammar {
    /// Any JSON object.
    JsonObject,
    /// JSON that this JSON schema accepts.
    JsonSchema(String),
    /// Text that this regular expression (of the `regex` crate's syntax) matches whole.
    Regex(String),
    /// A grammar in llguidance's form of Lark.
    Lark(String),
}

/// Texts to give vectors for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Embed {
    /// Names the answer.
    pub id: u64,
    /// Whose it is.
    pub share: Share,
    /// 1 to [`embed_inputs_max`] texts, none empty.
    pub inputs: Vec<Vec<Piece>>,
}

/// How the next token is chosen. Order: bias, penalties, grammar, temperature, top-k, top-p,
/// min-p, draw.
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
    /// Taken from the logit of each token that the answer has; −2 to 2, 0 for none.
    pub presence_penalty: f32,
    /// Taken from the logit of each token, as many times as the answer has it; −2 to 2, 0 for none.
    pub frequency_penalty: f32,
    /// Divides positive logits and multiplies negative ones of the tokens that prompt or answer
    /// have; above 0, at most [`REPETITION_PENALTY_MAX`], 1 for none.
    pub repetition_penalty: f32,
    /// Added to the logits of tokens; finite or −∞, which forbids a token.
    pub logit_bias: Vec<(u32, f32)>,
    /// The same seed, prompt and engine give the same text; drawn by the engine if absent.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            logit_bias: Vec::new(),
            seed: None,
        }
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
    /// The prompt's tokens with their log-probabilities, in order, over as many frames as it
    /// takes; where asked for.
    Prompt {
        /// Which request.
        id: u64,
        /// The next tokens. The prompt's first token has no log-probability.
        tokens: Vec<ScoredToken>,
    },
    /// More of an answer.
    Delta(Delta),
    /// All choices have ended; nothing follows for this id.
    Finish {
        /// Which request.
        id: u64,
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
    /// Answer to [`Embed`]; nothing follows for this id.
    Embedded {
        /// Which request.
        id: u64,
        /// One vector of length 1 for each input.
        vectors: Vec<Vec<f32>>,
        /// What it took.
        usage: Usage,
    },
    /// Answer to [`ToEngine::Tokenize`].
    Tokens {
        /// Which request.
        id: u64,
        /// The prompt's tokens.
        tokens: Vec<TokenText>,
    },
    /// Answer to [`ToEngine::Stats`].
    Stats {
        /// Which request.
        id: u64,
        /// The figures.
        stats: Box<Stats>,
    },
}

/// More of one choice of an answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Which request.
    pub id: u64,
    /// Which of its choices, from 0.
    pub choice: u32,
    /// Tokens chosen since the last delta, the end token included. What they add to the answer may
    /// come later, when a character or a possible stop string is complete.
    pub token_ids: Vec<u32>,
    /// What they add: text, always whole characters; and each added token (of the model card's
    /// list) as itself.
    pub pieces: Vec<Piece>,
    /// One for each of `token_ids`, where asked for.
    pub logprobs: Vec<ScoredToken>,
    /// Set in the choice's last delta.
    pub end: Option<FinishReason>,
}

/// A token, and what it adds to the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenText {
    /// Its id.
    pub token: u32,
    /// What it adds; a character may lie across tokens. An added token has its literal here.
    pub bytes: Vec<u8>,
}

/// A token with its log-probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoredToken {
    /// The token.
    pub text: TokenText,
    /// Natural logarithm of its probability at temperature 1, before bias, penalties and grammar.
    /// Absent for the first token of a prompt.
    pub logprob: Option<f32>,
    /// The likeliest tokens at its place, likeliest first, as many as asked for.
    pub top: Vec<(TokenText, f32)>,
}

/// Why a choice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FinishReason {
    /// The model's end token, or a stop string.
    Stop,
    /// `tokens_max` or the context's end.
    Length,
    /// The client aborted.
    Aborted,
    /// `total_ms_max` is over.
    TimeOver,
    /// The engine is going down and the grace time is over.
    Draining,
}

/// What an answer took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Those of them that had been computed for an earlier request.
    pub cached_tokens: u32,
    /// Tokens chosen in all choices, the end tokens included.
    pub completion_tokens: u32,
}

/// Why a request was not taken, or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// A prompt and at least one token of its answer, or a text to embed, do not fit.
    #[error(
        "the prompt has {prompt_tokens} tokens, but this model's context holds {context_tokens} tokens, an answer's included: shorten the prompt"
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
    /// It waited as long as it was allowed to.
    #[error("no place became free within {queue_ms_max} ms: try again later")]
    QueueTimeOver {
        /// The limit that the request named.
        queue_ms_max: u64,
    },
    /// It took as long as it was allowed to, before there was any answer.
    #[error("there was no answer within {total_ms_max} ms")]
    TimeOver {
        /// The limit that the request named.
        total_ms_max: u64,
    },
    /// The grammar does not compile, or is too large.
    #[error("the grammar cannot be used: {what}")]
    Grammar {
        /// Why not.
        what: String,
    },
    /// The model cannot do this.
    #[error("this model does not {what}")]
    Unable {
        /// "give embeddings", "generate text".
        what: String,
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
    /// Whether it takes [`Generate`].
    pub generates: bool,
    /// The length of the vectors that it gives, if it takes [`Embed`].
    pub embedding_numbers: Option<u32>,
    /// How it fills in the middle of a text, if it can.
    pub fill_in: Option<FillIn>,
}

/// Tokens around the parts of a text whose middle is wanted, in the prompt's order:
/// `prefix`, text before, `suffix`, text after, `middle`, and the answer follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FillIn {
    /// Before the text before.
    pub prefix: u32,
    /// Before the text after.
    pub suffix: u32,
    /// At the end.
    pub middle: u32,
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
    /// Prompt tokens that had been computed before.
    pub cached_tokens: u64,
    /// Tokens chosen.
    pub completion_tokens: u64,
    /// Requests that lost their place for a while to one of a flow that had been served less.
    pub preemptions: u64,
    /// Cells of the key-value cache in use by requests that run.
    pub kv_used_tokens: u64,
    /// All cells of the key-value cache.
    pub kv_tokens_max: u64,
    /// Bytes of computed prefixes kept in memory, beside the key-value cache.
    pub saved_memory_bytes: u64,
    /// Bytes of computed prefixes kept on disk.
    pub saved_disk_bytes: u64,
    /// The kernel in use.
    pub kernel: String,
}

/// Steps that [`Stats::last_step_sequences`] tells of.
pub const STATS_STEPS_MAX: usize = 64;
