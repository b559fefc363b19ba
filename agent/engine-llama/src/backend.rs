//! Steps of llama.cpp: what goes into each, and what comes out.

use nabi_engine::{Backend, Memory, Output, Placed, Slot, StepError, Task, Work};
use nabi_llama_sys::{BatchToken, Context, DecodeError, Use};
use nabi_wire::engine::Refusal;

use crate::grammar::Matcher;
use crate::sample::Scratch;
use crate::sequence::{Generating, Purpose, Sequence};
use crate::slots::Slots;

/// A model with its state.
pub(crate) struct LlamaBackend {
    context: Context,
    to: Use,
    slots: Slots,
    batch: Vec<BatchToken>,
    scratch: Scratch,
    /// Where a request brings no seed.
    next_seed: u64,
}

/// Tokens of one sequence in a batch.
#[derive(Debug, Clone, Copy)]
struct Part {
    slot: Slot,
    tokens: usize,
    /// The position of the first of them.
    position: usize,
}

impl LlamaBackend {
    pub(crate) fn new(context: Context, to: Use, slots: Slots, first_seed: u64) -> Self {
        Self { context, to, slots, batch: Vec::new(), scratch: Scratch::default(), next_seed: first_seed }
    }

    /// What each sequence computes, in the order of slots: llama.cpp computes neighbours in one
    /// graph, others one after the other.
    fn parts(&mut self, work: &[Work]) -> Result<Vec<Part>, StepError> {
        let mut work = work.to_vec();
        work.sort_unstable_by_key(|part| part.slot);
        let mut parts = Vec::with_capacity(work.len());
        for Work { slot, tokens } in work {
            let tokens = tokens as usize;
            let sequence = self.slots.get(slot).ok_or_else(|| asked_wrong("a free slot"))?;
            let left = sequence.tokens.len() - sequence.computed;
            if tokens == 0 || tokens > left {
                return Err(asked_wrong("tokens that a sequence does not have"));
            }
            if self.to != Use::Generate && tokens < left {
                return Err(asked_wrong("a part of a text"));
            }
            parts.push(Part { slot, tokens, position: sequence.computed });
        }
        Ok(parts)
    }

    fn fill_batch(&mut self, parts: &[Part]) {
        self.batch.clear();
        for &Part { slot, tokens, position } in parts {
            let sequence = self.slots.get(slot).expect("a part is of a slot in use");
            for at in position..position + tokens {
                self.batch.push(BatchToken {
                    token: sequence.tokens[at],
                    position: at as u32,
                    sequence: slot,
                    // llama.cpp would say in the log of each text that it takes all tokens as outputs.
                    logits: matches!(self.to, Use::EmbedWhole(_)) || sequence.wants_logits(at),
                });
            }
        }
    }

    fn compute(&mut self, parts: &[Part]) -> Result<Vec<Output>, DecodeError> {
        match self.to {
            Use::Generate => {
                // Together, llama.cpp would compute each prompt's first token in the answers' graph,
                // and cut the rest across the tiles of its attention.
                let (answers, prompts): (Vec<Part>, Vec<Part>) =
                    parts.iter().partition(|part| part.tokens == 1);
                let mut outputs = self.generate(&answers)?;
                outputs.extend(self.generate(&prompts)?);
                Ok(outputs)
            }
            Use::EmbedLast => {
                self.fill_batch(parts);
                self.decode_last()?;
                Ok(parts.iter().map(|part| self.vector(part.slot)).collect())
            }
            Use::EmbedWhole(_) => {
                // One text at a time: llama.cpp may cut several into graphs that none is whole in, and
                // encoders would compare each text's tokens with all others'.
                let one = |part: &Part| {
                    self.fill_batch(&[*part]);
                    self.context.decode(&self.batch)?;
                    Ok(self.vector(part.slot))
                };
                parts.iter().map(one).collect()
            }
        }
    }

    /// Only a text's last token gives its vector, and only its step needs memory for one.
    fn decode_last(&mut self) -> Result<(), DecodeError> {
        let ends = |at: usize| self.batch.get(at + 1).is_none_or(|next| next.position == 0);
        let (last, before): (Vec<_>, Vec<_>) = (0..self.batch.len()).partition(|&at| ends(at));
        let tokens = |rows: Vec<usize>| rows.into_iter().map(|row| self.batch[row]).collect::<Vec<_>>();
        let (last, before) = (tokens(last), tokens(before));
        if !before.is_empty() {
            self.context.set_vectors(false);
            self.context.decode(&before)?;
        }
        self.context.set_vectors(true);
        self.context.decode(&last)
    }

    fn generate(&mut self, parts: &[Part]) -> Result<Vec<Output>, DecodeError> {
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        self.fill_batch(parts);
        self.context.decode(&self.batch)?;
        let (mut outputs, mut first_row) = (Vec::with_capacity(parts.len()), 0);
        for part in parts {
            let sequence = self.slots.get(part.slot).expect("a part is of a slot in use");
            let logits = |position: usize| self.context.logits(first_row + position - part.position);
            outputs.extend(sequence.advance(part.slot, part.tokens, logits, &mut self.scratch));
            first_row += part.tokens;
        }
        Ok(outputs)
    }

    fn vector(&self, slot: Slot) -> Output {
        match self.context.vector(slot).and_then(normalised) {
            Some(numbers) => Output::Vector { slot, numbers },
            None => {
                let what = "the model gave no vector".to_owned();
                Output::Refused { slot, refusal: Refusal::Failed { what } }
            }
        }
    }
}

impl Backend for LlamaBackend {
    type Grammar = Matcher;
    type Sequence = Sequence;

    fn sequence(&mut self, prompt: Vec<u32>, task: Task<Matcher>) -> Sequence {
        let purpose = match task {
            Task::Embed => Purpose::Embed,
            Task::Generate(generation) => {
                let generating = Generating::new(*generation, &prompt, self.next_seed);
                self.next_seed = self.next_seed.wrapping_add(1);
                Purpose::Generate(Box::new(generating))
            }
        };
        Sequence { tokens: prompt, computed: 0, purpose }
    }

    fn place(&mut self, sequence: Sequence) -> Placed {
        self.slots.place(sequence, &mut self.context)
    }

    fn take(&mut self, slot: Slot) -> Sequence {
        self.slots.take(slot, &mut self.context).expect("the host takes only what it has placed")
    }

    fn end(&mut self, slot: Slot) {
        self.slots.take(slot, &mut self.context);
    }

    fn step(&mut self, work: &[Work]) -> Result<Vec<Output>, StepError> {
        let parts = self.parts(work)?;
        self.compute(&parts).map_err(|error| {
            for part in &parts {
                match error {
                    DecodeError::Aborted => self.slots.recall(part.slot, &mut self.context),
                    _ => self.slots.forget(part.slot, &mut self.context),
                }
            }
            match error {
                DecodeError::Aborted => StepError::Unwanted,
                failed => StepError::Failed(failed.to_string()),
            }
        })
    }

    fn memory(&self) -> Memory {
        Memory {
            kv_used_tokens: self.slots.used_tokens(),
            saved_memory_bytes: self.slots.saved().memory_bytes(),
            saved_disk_bytes: self.slots.saved().disk_bytes(),
        }
    }
}

fn asked_wrong(what: &str) -> StepError {
    StepError::Failed(format!("the host asked for {what}"))
}

/// The same direction with length 1.
fn normalised(vector: &[f32]) -> Option<Vec<f32>> {
    let length = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let usable = length.is_finite() && length > 0.0;
    usable.then(|| vector.iter().map(|&x| (f64::from(x) / length) as f32).collect())
}
