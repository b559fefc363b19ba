//! What an engine brings to the host.

use std::sync::Arc;

use nabi_domain::Piece;
use nabi_wire::engine::{ModelCard, Refusal, Sampling};

/// A place in the batch: `0..sequences_max`.
pub type Slot = u32;

/// Text to tokens and back. Shared by all threads.
pub trait Vocabulary: Send + Sync {
    /// The tokens of a prompt. [`Piece::Text`] never becomes an added token.
    fn encode(&self, pieces: &[Piece]) -> Result<Vec<u32>, Refusal>;
    /// What a token adds to the text; empty for control tokens and unknown ids. A character may
    /// lie across tokens.
    fn bytes(&self, token: u32) -> &[u8];
    /// Whether the model ends its answer with this token.
    fn ends(&self, token: u32) -> bool;
}

/// The model's state. Made, used and dropped on one thread.
pub trait Backend {
    /// Begins a sequence in a free slot. `prompt` is not empty and leaves room for a token.
    fn begin(&mut self, slot: Slot, prompt: Vec<u32>, sampling: &Sampling, logprobs: bool);
    /// Ends the sequence in this slot and frees its memory.
    fn end(&mut self, slot: Slot);
    /// Computes once for all sequences together. A sequence whose prompt is computed gets a token.
    fn step(&mut self) -> Result<Vec<Chosen>, StepError>;
    /// Sequences that shared the last step.
    fn step_sequences(&self) -> u32;
    /// Prompt tokens computed in the last step.
    fn step_prompt_tokens(&self) -> u32;
    /// Tokens whose keys and values are held.
    fn kv_used_tokens(&self) -> u64;
}

/// A token that a step chose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chosen {
    /// For which sequence.
    pub slot: Slot,
    /// The token.
    pub token: u32,
    /// Natural logarithm of its probability, where asked for.
    pub logprob: Option<f32>,
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

/// A model that is ready to compute.
pub struct Loaded {
    /// What clients must know.
    pub card: ModelCard,
    /// Shared with the tasks that tokenise.
    pub vocabulary: Arc<dyn Vocabulary>,
    /// Stays on the thread that loaded it.
    pub backend: Box<dyn Backend>,
    /// Cells of the key-value cache.
    pub kv_tokens_max: u64,
}
