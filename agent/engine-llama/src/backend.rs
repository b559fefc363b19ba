//! Sequences in llama.cpp: what goes into each step, and what comes out.

use std::collections::VecDeque;

use nabi_engine::{Backend, Chosen, Slot, StepError};
use nabi_llama_sys::{BatchToken, Context, DecodeError};
use nabi_wire::engine::Sampling;

use crate::sample::{self, Sampler};

/// Tokens of one step: chosen ones of running sequences first, then prompts in chunks.
pub(crate) const STEP_TOKENS_MAX: u32 = 512;

pub(crate) struct LlamaBackend {
    context: Context,
    /// In the order of their beginning: earlier prompts are computed first.
    sequences: VecDeque<Sequence>,
    batch: Vec<BatchToken>,
    step_sequences: u32,
    step_prompt_tokens: u32,
    /// Where a request brings no seed.
    next_seed: u64,
}

struct Sequence {
    slot: Slot,
    /// The prompt, then at its end each token that was chosen.
    tokens: Vec<u32>,
    /// How many of `tokens` have keys and values.
    computed: usize,
    prompt_tokens: usize,
    sampler: Sampler,
    logprobs: bool,
}

impl LlamaBackend {
    pub(crate) fn new(context: Context, first_seed: u64) -> Self {
        Self {
            context,
            sequences: VecDeque::new(),
            batch: Vec::new(),
            step_sequences: 0,
            step_prompt_tokens: 0,
            next_seed: first_seed,
        }
    }

    /// Fills the batch. Returns for each sequence whose logits are wanted: its place among the
    /// sequences, and that of its last token in the batch.
    fn fill_batch(&mut self) -> Vec<(usize, usize)> {
        self.batch.clear();
        (self.step_sequences, self.step_prompt_tokens) = (0, 0);
        let mut complete = Vec::new();
        // Running answers have one token to compute, so they go before any longer prompt.
        let mut order: Vec<usize> = (0..self.sequences.len()).collect();
        order.sort_by_key(|&at| self.sequences[at].is_in_prompt());
        for at in order {
            let sequence = &self.sequences[at];
            let room = STEP_TOKENS_MAX as usize - self.batch.len();
            let take = sequence.left().min(room);
            if take == 0 {
                continue;
            }
            let end = sequence.computed + take;
            for position in sequence.computed..end {
                self.batch.push(BatchToken {
                    token: sequence.tokens[position],
                    position: position as u32,
                    sequence: sequence.slot,
                    logits: position + 1 == sequence.tokens.len(),
                });
            }
            self.step_sequences += 1;
            if sequence.is_in_prompt() {
                self.step_prompt_tokens += take as u32;
            }
            if end == sequence.tokens.len() {
                complete.push((at, self.batch.len() - 1));
            }
            self.sequences[at].computed = end;
        }
        complete
    }
}

impl Sequence {
    fn left(&self) -> usize {
        self.tokens.len() - self.computed
    }

    fn is_in_prompt(&self) -> bool {
        self.computed < self.prompt_tokens
    }
}

impl Backend for LlamaBackend {
    fn begin(&mut self, slot: Slot, prompt: Vec<u32>, sampling: &Sampling, logprobs: bool) {
        let seed = sampling.seed.unwrap_or(self.next_seed);
        self.next_seed = self.next_seed.wrapping_add(1);
        self.sequences.push_back(Sequence {
            slot,
            prompt_tokens: prompt.len(),
            tokens: prompt,
            computed: 0,
            sampler: Sampler::new(sampling, seed),
            logprobs,
        });
    }

    fn end(&mut self, slot: Slot) {
        self.sequences.retain(|sequence| sequence.slot != slot);
        self.context.remove(slot);
    }

    fn step(&mut self) -> Result<Vec<Chosen>, StepError> {
        let complete = self.fill_batch();
        self.context.decode(&self.batch).map_err(|error| match error {
            DecodeError::Aborted => StepError::Unwanted,
            failed => StepError::Failed(failed.to_string()),
        })?;
        let mut chosen = Vec::with_capacity(complete.len());
        for (at, row) in complete {
            let sequence = &mut self.sequences[at];
            let no_logits = || StepError::Failed("the model gave no usable logits".into());
            let logits = self.context.logits(row).ok_or_else(no_logits)?;
            let token = sequence.sampler.choose(logits).ok_or_else(no_logits)?;
            let logprob = sequence.logprobs.then(|| sample::logprob(logits, token));
            sequence.tokens.push(token);
            chosen.push(Chosen { slot: sequence.slot, token, logprob });
        }
        Ok(chosen)
    }

    fn step_sequences(&self) -> u32 {
        self.step_sequences
    }

    fn step_prompt_tokens(&self) -> u32 {
        self.step_prompt_tokens
    }

    fn kv_used_tokens(&self) -> u64 {
        self.sequences.iter().map(|sequence| sequence.computed as u64).sum()
    }
}
