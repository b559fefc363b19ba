//! Keys, values and the computing of steps.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::bindings::{self, llama_batch, llama_context};
use crate::model::{Model, Pooling};

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvType {
    /// 16 bits, flash attention where it can be.
    F16,
    /// 32 bits without flash attention: as the reference computes.
    F32,
}

/// What a context computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Logits.
    Generate,
    /// Vectors of texts, whose tokens all come in one step.
    EmbedWhole(Pooling),
    /// Vectors of texts, which only the last token needs.
    EmbedLast,
}

/// Sizes of a context.
#[derive(Debug, Clone, Copy)]
pub struct ContextParams {
    /// Tokens of each sequence.
    pub sequence_tokens_max: u32,
    /// Sequences at once; at most 256.
    pub sequences_max: u32,
    /// Tokens of one step.
    pub step_tokens_max: u32,
    /// Tokens of one graph: larger steps take several, one after the other.
    pub graph_tokens_max: u32,
    /// Tokens of one step after which logits are wanted.
    pub step_outputs_max: u32,
    /// What it computes.
    pub to: Use,
    /// Compute threads.
    pub threads: u32,
    /// How keys and values are kept.
    pub kv: KvType,
}

/// llama.cpp could not make the context: most often memory is short. The log has its reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "llama.cpp cannot make a context of {sequences_max} sequences with {sequence_tokens_max} tokens each: take fewer or shorter ones; `nabi logs` has its reason"
)]
pub struct ContextError {
    sequences_max: u32,
    sequence_tokens_max: u32,
}

/// Why a step gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The abort function said so. Sequences of this step must be removed.
    #[error("the step was given up")]
    Aborted,
    /// A token, position or sequence out of its range, or too many tokens.
    #[error("the step's input is out of range: {what}")]
    Input {
        /// Which.
        what: &'static str,
    },
    /// llama.cpp failed; the log has its reason. Sequences of this step must be removed.
    #[error("llama_decode failed with status {status}")]
    Failed {
        /// What it returned.
        status: i32,
    },
}

/// One token of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchToken {
    /// Its id.
    pub token: u32,
    /// Its place in the sequence, from 0.
    pub position: u32,
    /// Its sequence: below `sequences_max`.
    pub sequence: u32,
    /// Whether logits are wanted after it.
    pub logits: bool,
}

type Abort = Box<dyn Fn() -> bool + Send + Sync>;

/// State of all sequences. It stays on the thread that made it.
pub struct Context {
    // Before `model`, so that it is freed first.
    raw: NonNull<llama_context>,
    model: Arc<Model>,
    params: ContextParams,
    batch: Batch,
    /// llama.cpp holds its address: boxed twice so that it stays in place.
    _abort: Box<Abort>,
}

/// The arrays that `llama_batch` points into, kept for their capacity.
#[derive(Default)]
struct Batch {
    token: Vec<i32>,
    position: Vec<i32>,
    sequence: Vec<i32>,
    sequence_count: Vec<i32>,
    sequence_pointer: Vec<*mut i32>,
    logits: Vec<i8>,
}

impl Context {
    /// Makes a context. During a step `abort` is asked from compute threads whether to give up.
    pub fn new(model: Arc<Model>, params: ContextParams, abort: Abort) -> Result<Self, ContextError> {
        let ContextParams { sequences_max, sequence_tokens_max, .. } = params;
        let failed = ContextError { sequences_max, sequence_tokens_max };
        let llama = &model.library().llama;
        // SAFETY: no argument, plain struct.
        let mut raw = unsafe { llama.llama_context_default_params() };
        raw.n_ctx = sequence_tokens_max.checked_mul(sequences_max).ok_or(failed.clone())?;
        raw.n_seq_max = sequences_max;
        raw.n_batch = params.step_tokens_max;
        raw.n_ubatch = params.graph_tokens_max;
        (raw.embeddings, raw.pooling_type) = match params.to {
            Use::Generate => (false, bindings::LLAMA_POOLING_TYPE_UNSPECIFIED),
            Use::EmbedWhole(Pooling::First) => (true, bindings::LLAMA_POOLING_TYPE_CLS),
            Use::EmbedWhole(_) => (true, bindings::LLAMA_POOLING_TYPE_MEAN),
            Use::EmbedLast => (true, bindings::LLAMA_POOLING_TYPE_LAST),
        };
        raw.n_outputs_max = params.step_outputs_max;
        raw.n_threads = i32::try_from(params.threads).map_err(|_| failed.clone())?;
        raw.n_threads_batch = raw.n_threads;
        // Each sequence has cells of its own: its text does not depend on its neighbours' places.
        raw.kv_unified = false;
        // Layers with a window keep the window alone: their state cannot be cut back then, which nobody
        // does to a model that forgets.
        raw.swa_full = false;
        (raw.flash_attn_type, raw.type_k) = match params.kv {
            KvType::F16 => (bindings::LLAMA_FLASH_ATTN_TYPE_AUTO, bindings::GGML_TYPE_F16),
            KvType::F32 => (bindings::LLAMA_FLASH_ATTN_TYPE_DISABLED, bindings::GGML_TYPE_F32),
        };
        raw.type_v = raw.type_k;
        // SAFETY: valid model, which the new context keeps alive by its `Arc`.
        let context = unsafe { llama.llama_init_from_model(model.raw(), raw) };
        let context = NonNull::new(context).ok_or(failed)?;
        let abort = Box::new(abort);
        let data = (&raw const *abort).cast_mut().cast::<c_void>();
        // SAFETY: valid context; `data` stays in place as long as it lives, see `_abort`.
        unsafe { llama.llama_set_abort_callback(context.as_ptr(), Some(on_abort), data) };
        Ok(Self { raw: context, model, params, batch: Batch::default(), _abort: abort })
    }

    /// The model that it computes.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Computes one step for all tokens given.
    pub fn decode(&mut self, tokens: &[BatchToken]) -> Result<(), DecodeError> {
        self.check(tokens)?;
        let batch = self.batch.fill(tokens);
        // SAFETY: valid context; the arrays have `n_tokens` entries each and live during the call.
        let status = unsafe { self.model.library().llama.llama_decode(self.raw.as_ptr(), batch) };
        match status {
            0 => Ok(()),
            2 => Err(DecodeError::Aborted),
            status => Err(DecodeError::Failed { status }),
        }
    }

    fn check(&self, tokens: &[BatchToken]) -> Result<(), DecodeError> {
        let what = if tokens.is_empty() {
            "no token"
        } else if tokens.len() > self.params.step_tokens_max as usize {
            "too many tokens"
        } else if tokens.iter().any(|t| t.token >= self.model.vocabulary_tokens()) {
            "a token outside the vocabulary"
        } else if tokens.iter().any(|t| t.sequence >= self.params.sequences_max) {
            "a sequence outside the context"
        } else if tokens.iter().any(|t| t.position >= self.params.sequence_tokens_max) {
            "a position outside the context"
        } else if tokens.iter().filter(|t| t.logits).count() > self.params.step_outputs_max as usize {
            "too many logits"
        } else {
            return Ok(());
        };
        Err(DecodeError::Input { what })
    }

    /// The logits after the token at `index` of the last step, one for each of the vocabulary;
    /// none where they were not asked for.
    pub fn logits(&self, index: usize) -> Option<&[f32]> {
        if self.batch.logits.get(index) != Some(&1) {
            return None;
        }
        let row = i32::try_from(index).ok()?;
        // SAFETY: valid context after a step in which this token asked for logits.
        let logits = unsafe { self.model.library().llama.llama_get_logits_ith(self.raw.as_ptr(), row) };
        if logits.is_null() {
            return None;
        }
        // SAFETY: llama.h promises n_vocab floats, valid until the next step, which needs `&mut self`. The
        // first call after a step puts the rows in order; no later one changes them.
        Some(unsafe { std::slice::from_raw_parts(logits, self.model.vocabulary_tokens() as usize) })
    }

    /// Whether steps give vectors. A step without them needs no memory for every token's output.
    pub fn set_vectors(&mut self, on: bool) {
        // SAFETY: valid context.
        unsafe { self.model.library().llama.llama_set_embeddings(self.raw.as_ptr(), on) };
    }

    /// The vector of a sequence that was in the last step.
    pub fn vector(&self, sequence: u32) -> Option<&[f32]> {
        let id = self.id(sequence)?;
        // SAFETY: valid context after a step.
        let vector = unsafe { self.model.library().llama.llama_get_embeddings_seq(self.raw.as_ptr(), id) };
        if vector.is_null() {
            return None;
        }
        // SAFETY: llama.h promises n_embd_out floats, valid until the next step, which needs `&mut self`.
        Some(unsafe { std::slice::from_raw_parts(vector, self.model.vector_numbers() as usize) })
    }

    /// How many tokens of a sequence are computed.
    pub fn computed_tokens(&self, sequence: u32) -> u32 {
        let Some(id) = self.id(sequence) else { return 0 };
        // SAFETY: valid context and sequence.
        let last = unsafe { self.model.library().llama.llama_memory_seq_pos_max(self.memory(), id) };
        u32::try_from(last + 1).unwrap_or(0)
    }

    /// Keeps only the first tokens of a sequence. False if its state cannot be cut there; it is
    /// then as before.
    pub fn truncate(&mut self, sequence: u32, tokens: u32) -> bool {
        let (Some(id), Ok(from)) = (self.id(sequence), i32::try_from(tokens)) else { return false };
        // SAFETY: valid context and sequence; -1 means up to the end.
        unsafe { self.model.library().llama.llama_memory_seq_rm(self.memory(), id, from, -1) }
    }

    /// Forgets a sequence.
    pub fn remove(&mut self, sequence: u32) {
        if let Some(id) = self.id(sequence) {
            // SAFETY: valid context and sequence; -1 and -1 mean all positions.
            unsafe { self.model.library().llama.llama_memory_seq_rm(self.memory(), id, -1, -1) };
        }
    }

    /// The state of a sequence, to be restored in this context. None if it has none.
    pub fn save(&mut self, sequence: u32) -> Option<Vec<u8>> {
        let id = self.id(sequence)?;
        let llama = &self.model.library().llama;
        // SAFETY: valid context and sequence.
        let size = unsafe { llama.llama_state_seq_get_size(self.raw.as_ptr(), id) };
        let mut state = Vec::new();
        state.try_reserve_exact(size).ok()?;
        // SAFETY: the buffer has room for `size` bytes, and llama.cpp writes no more than it is told.
        let written =
            unsafe { llama.llama_state_seq_get_data(self.raw.as_ptr(), state.as_mut_ptr(), size, id) };
        if written == 0 || written > size {
            return None;
        }
        // SAFETY: so many bytes were written.
        unsafe { state.set_len(written) };
        Some(state)
    }

    /// Puts a state in the place of a sequence's own. False if it does not fit; the sequence is
    /// empty then. The state must come from [`Self::save`] of this context, unchanged: llama.cpp
    /// ends the process over some others.
    pub fn restore(&mut self, sequence: u32, state: &[u8]) -> bool {
        let Some(id) = self.id(sequence) else { return false };
        self.remove(sequence);
        let llama = &self.model.library().llama;
        // SAFETY: valid context and sequence; the buffer with its length.
        let read =
            unsafe { llama.llama_state_seq_set_data(self.raw.as_ptr(), state.as_ptr(), state.len(), id) };
        if read != state.len() {
            self.remove(sequence);
        }
        read == state.len()
    }

    fn memory(&self) -> bindings::llama_memory_t {
        // SAFETY: valid context.
        unsafe { self.model.library().llama.llama_get_memory(self.raw.as_ptr()) }
    }

    fn id(&self, sequence: u32) -> Option<i32> {
        (sequence < self.params.sequences_max).then(|| sequence.cast_signed())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed once, before its model and its abort function.
        unsafe { self.model.library().llama.llama_free(self.raw.as_ptr()) };
    }
}

impl Batch {
    fn fill(&mut self, tokens: &[BatchToken]) -> llama_batch {
        let column = |of: fn(&BatchToken) -> u32| tokens.iter().map(move |t| of(t).cast_signed());
        refill(&mut self.token, column(|t| t.token));
        refill(&mut self.position, column(|t| t.position));
        refill(&mut self.sequence, column(|t| t.sequence));
        refill(&mut self.sequence_count, tokens.iter().map(|_| 1));
        refill(&mut self.logits, tokens.iter().map(|t| i8::from(t.logits)));
        refill(&mut self.sequence_pointer, self.sequence.iter_mut().map(std::ptr::from_mut));
        llama_batch {
            n_tokens: i32::try_from(tokens.len()).unwrap_or(0),
            token: self.token.as_mut_ptr(),
            embd: std::ptr::null_mut(),
            pos: self.position.as_mut_ptr(),
            n_seq_id: self.sequence_count.as_mut_ptr(),
            seq_id: self.sequence_pointer.as_mut_ptr(),
            logits: self.logits.as_mut_ptr(),
        }
    }
}

fn refill<T>(column: &mut Vec<T>, values: impl Iterator<Item = T>) {
    column.clear();
    column.extend(values);
}

unsafe extern "C" fn on_abort(data: *mut c_void) -> bool {
    // SAFETY: `data` is the boxed function of the context that is computing, which outlives the step.
    let abort = unsafe { &*data.cast::<Abort>() };
    abort()
}
