//! What an engine brings to the host.

use std::sync::Arc;

use nabi_domain::Piece;
use nabi_wire::engine::{Grammar, ModelCard, Refusal, Salt, Sampling};

/// A place in the batch: `0..sequences_max`.
pub type Slot = u32;

/// Text to tokens and back. Shared by all threads.
pub trait Vocabulary: Send + Sync + 'static {
    /// A grammar that is ready for use, at the beginning of its text.
    type Grammar: Clone + Send + 'static;

    /// The tokens of a prompt. [`Piece::Text`] never becomes an added token.
    fn encode(&self, pieces: &[Piece]) -> Result<Vec<u32>, Refusal>;
    /// What a token adds to the text; empty for control tokens and unknown ids. A character may
    /// lie across tokens.
    fn bytes(&self, token: u32) -> &[u8];
    /// The literal of an added token; none for those of ordinary text.
    fn literal(&self, token: u32) -> Option<&str>;
    /// Whether the model ends its answer with this token.
    fn ends(&self, token: u32) -> bool;
    /// Makes a grammar ready. It may take seconds: never called on the step thread.
    fn compile(&self, grammar: &Grammar) -> Result<Self::Grammar, Refusal>;
}

/// The model's state. Made, used and dropped on one thread.
pub trait Backend {
    /// As the vocabulary makes them.
    type Grammar;
    /// A sequence that has no slot: its tokens so far, and how further ones are chosen.
    type Sequence;

    /// A sequence that begins with this prompt, which is not empty and leaves room for a token.
    fn sequence(&mut self, prompt: Vec<u32>, task: Task<Self::Grammar>) -> Self::Sequence;
    /// Gives it one of the free slots, of which there is one at least. Whatever of its tokens was
    /// computed before may be taken from there, but never all of them: a step must give a token.
    fn place(&mut self, sequence: Self::Sequence) -> Placed;
    /// Takes a sequence out of its slot, to be placed again later.
    fn take(&mut self, slot: Slot) -> Self::Sequence;
    /// Ends the sequence in this slot.
    fn end(&mut self, slot: Slot);
    /// Computes once, for each of these sequences so many of the tokens that it has left. A
    /// sequence that has none left after that gets its next token, or its vector.
    fn step(&mut self, work: &[Work]) -> Result<Vec<Output>, StepError>;
    /// What is in use.
    fn memory(&self) -> Memory;
}

/// What is to be done with a sequence.
#[derive(Debug, Clone)]
pub enum Task<G> {
    /// Continue it.
    Generate(Box<Generation<G>>),
    /// Give a vector for it.
    Embed,
}

/// How a sequence is continued.
#[derive(Debug, Clone)]
pub struct Generation<G> {
    /// With whom computed prefixes may be shared.
    pub salt: Salt,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Which of the choices it is: its draws differ from those of the others.
    pub choice: u32,
    /// What the text must match.
    pub grammar: Option<G>,
    /// Give each token's log-probability and those of so many likeliest ones.
    pub logprobs: Option<u8>,
    /// The same for the prompt's tokens.
    pub prompt_logprobs: Option<u8>,
}

/// Where a sequence is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its slot.
    pub slot: Slot,
    /// All its tokens.
    pub tokens: u32,
    /// Those of them that need not be computed; fewer than all.
    pub cached_tokens: u32,
}

/// A sequence's part of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Whose.
    pub slot: Slot,
    /// How many of its tokens; at least one, and no more than are left.
    pub tokens: u32,
}

/// What a step gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// A token that was chosen.
    Token {
        /// For which sequence.
        slot: Slot,
        /// The token.
        token: u32,
        /// Its log-probability, where asked for.
        score: Option<Score>,
    },
    /// The log-probabilities of the next tokens of a prompt.
    Prompt {
        /// Of which sequence.
        slot: Slot,
        /// One for each token that was computed; for the first of all, without a number.
        scores: Vec<Score>,
    },
    /// The vector of a text, of length 1.
    Vector {
        /// Of which sequence.
        slot: Slot,
        /// Its numbers.
        numbers: Vec<f32>,
    },
    /// This sequence cannot go on, and must be ended. The others are not concerned.
    Refused {
        /// Which.
        slot: Slot,
        /// Why not.
        refusal: Refusal,
    },
}

impl Output {
    /// The sequence that it is for.
    pub fn slot(&self) -> Slot {
        match self {
            Self::Token { slot, .. }
            | Self::Prompt { slot, .. }
            | Self::Vector { slot, .. }
            | Self::Refused { slot, .. } => *slot,
        }
    }
}

/// A token's log-probability, and the likeliest tokens at its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// The token.
    pub token: u32,
    /// Natural logarithm of its probability, before bias, penalties, grammar and temperature.
    pub logprob: Option<f32>,
    /// Likeliest first.
    pub top: Vec<(u32, f32)>,
}

/// What is in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Cells of the key-value cache, held by sequences in slots.
    pub kv_used_tokens: u64,
    /// Bytes of computed prefixes in memory, beside the key-value cache.
    pub saved_memory_bytes: u64,
    /// Bytes of computed prefixes on disk.
    pub saved_disk_bytes: u64,
}

/// Why a step gave nothing. All its sequences must be ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// [`crate::Interest`] fell to zero while it ran: nobody waits for any of its sequences.
    #[error("nobody waits for the step any more")]
    Unwanted,
    /// The model could not compute.
    #[error("{0}")]
    Failed(String),
}

/// What one step can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepLimits {
    /// Tokens of all sequences together.
    pub tokens_max: u32,
    /// Tokens after which logits are wanted: those that complete a sequence, and all of a prompt
    /// whose log-probabilities are wanted.
    pub outputs_max: u32,
}

/// A model that is ready to compute.
pub struct Loaded<V, B> {
    /// What clients must know.
    pub card: ModelCard,
    /// Shared with the tasks that tokenise.
    pub vocabulary: Arc<V>,
    /// Stays on the thread that loaded it.
    pub backend: B,
    /// What one step can take.
    pub step: StepLimits,
    /// Cells of the key-value cache.
    pub kv_tokens_max: u64,
}
