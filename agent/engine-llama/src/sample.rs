//! Choosing tokens from logits. Pure, but for what a [`Sampler`] carries from one choice to the
//! next: its random state, what the text has already, and where its grammar is.
//!
//! Order: bias, penalties, grammar, temperature, top-k, top-p, min-p, draw, as Hugging Face and
//! vLLM have it.

mod candidates;
mod changes;
#[cfg(test)]
mod measure;
mod score;
#[cfg(test)]
mod tests;
mod weights;

use nabi_wire::engine::{Refusal, Sampling};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use self::candidates::Candidate;
use self::changes::Changes;
pub(crate) use self::score::score;
use self::weights::{BLOCK_TOKENS, Weigh, likeliest};
use crate::grammar::{GrammarError, Mask, Matcher};

/// Below it the likeliest token is practically certain, and quotients leave the range of `f32`.
const TEMPERATURE_MIN: f32 = 1e-5;

/// Weights below which there may be no token that top-p keeps; the last is always right.
const WEIGHT_GUESSES: [f32; 3] = [1.0 / 32.0, 1.0 / 1024.0, 0.0];

/// One answer's way of choosing. It goes with its sequence, in and out of slots.
pub(crate) struct Sampler {
    temperature: f32,
    top_p: f32,
    top_k: u32,
    min_p: f32,
    changes: Changes,
    grammar: Option<Matcher>,
    random: ChaCha8Rng,
}

/// Memory for one choice at a time, shared by all samplers of a thread.
#[derive(Default)]
pub(crate) struct Scratch {
    logits: Vec<f32>,
    candidates: Vec<Candidate>,
    blocks: Vec<f64>,
}

/// Why no token could be chosen. The answer cannot go on; others are not concerned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChooseError {
    #[error("the model gave no number that could choose a token")]
    NoNumbers,
    #[error("logit_bias forbids every token")]
    BiasForbidsAll,
    #[error("logit_bias forbids every token that the grammar allows here")]
    GrammarForbidsAll,
    #[error(transparent)]
    Grammar(#[from] GrammarError),
}

impl From<ChooseError> for Refusal {
    fn from(error: ChooseError) -> Self {
        match error {
            ChooseError::NoNumbers => Self::Failed { what: error.to_string() },
            ChooseError::BiasForbidsAll => Self::OutOfRange {
                field: "logit_bias".into(),
                range: "such that a token is left to choose".into(),
            },
            ChooseError::GrammarForbidsAll => Self::Grammar { what: error.to_string() },
            ChooseError::Grammar(GrammarError { what }) => Self::Grammar { what },
        }
    }
}

/// The seed of one of a request's choices; `drawn` where the request brings none.
pub(crate) fn seed(sampling: &Sampling, choice: u32, drawn: u64) -> u64 {
    sampling.seed.unwrap_or(drawn).wrapping_add(u64::from(choice))
}

impl Sampler {
    /// The same seed chooses the same tokens from the same logits, on every machine.
    pub(crate) fn new(sampling: &Sampling, seed: u64, prompt: &[u32], grammar: Option<Matcher>) -> Self {
        Self {
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            top_k: sampling.top_k,
            min_p: sampling.min_p,
            changes: Changes::new(sampling, prompt),
            grammar,
            random: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// The answer's next token; from then on the answer has it. Logits that are no finite numbers
    /// are never chosen.
    pub(crate) fn choose(&mut self, logits: &[f32], scratch: &mut Scratch) -> Result<u32, ChooseError> {
        let Scratch { logits: changed, candidates, blocks } = scratch;
        let mask = self.grammar.as_mut().map(Matcher::mask).transpose()?;
        let choosable = if mask.is_none() && self.changes.is_empty() {
            logits
        } else {
            copy_allowed(logits, mask.as_ref(), changed);
            self.changes.apply(changed);
            changed.as_slice()
        };
        let best = likeliest(choosable).ok_or_else(|| self.none_left(logits))?;
        let token = if self.temperature == 0.0 {
            best.token
        } else {
            let sharpness = self.temperature.max(TEMPERATURE_MIN).recip();
            let weigh = Weigh { highest: best.logit, sharpness };
            let uniform = (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
            let drawn = if self.keeps_all(choosable.len()) {
                draw_from_all(choosable, weigh, uniform, blocks)
            } else {
                self.keep(choosable, weigh, candidates);
                candidates::draw(candidates, uniform)
            };
            // The likeliest has weight 1, so that there always is one to draw.
            drawn.unwrap_or(best.token)
        };
        self.accept(token)?;
        Ok(token)
    }

    fn accept(&mut self, token: u32) -> Result<(), GrammarError> {
        self.changes.accept(token);
        self.grammar.as_mut().map_or(Ok(()), |grammar| grammar.accept(token))
    }

    fn none_left(&self, logits: &[f32]) -> ChooseError {
        match (likeliest(logits), &self.grammar) {
            (None, _) => ChooseError::NoNumbers,
            (Some(_), None) => ChooseError::BiasForbidsAll,
            (Some(_), Some(_)) => ChooseError::GrammarForbidsAll,
        }
    }

    fn keeps_top_k(&self, tokens: usize) -> bool {
        self.top_k > 0 && (self.top_k as usize) < tokens
    }

    fn keeps_all(&self, tokens: usize) -> bool {
        !self.keeps_top_k(tokens) && self.top_p >= 1.0 && self.min_p <= 0.0
    }

    /// The candidates that top-k, top-p and min-p keep, with their weights. Both of the latter keep
    /// the heaviest, so that it does not matter which comes first.
    fn keep(&self, logits: &[f32], weigh: Weigh, found: &mut Vec<Candidate>) {
        if self.keeps_top_k(logits.len()) {
            candidates::highest(logits, self.top_k as usize, found);
            for candidate in &mut *found {
                *candidate = Candidate::new(candidate.token(), weigh.weight(candidate.value()));
            }
            let enough = f64::from(self.top_p) * candidates::sum(found);
            found.retain(|candidate| candidate.value() >= self.min_p);
            if self.top_p < 1.0 {
                candidates::keep_heaviest(found, enough);
            }
        } else if self.top_p < 1.0 {
            self.keep_top_p(logits, weigh, found);
        } else {
            candidates::at_least(self.min_p, weigh, logits, found);
        }
    }

    fn keep_top_p(&self, logits: &[f32], weigh: Weigh, found: &mut Vec<Candidate>) {
        let total = weigh.sum(logits);
        let enough = f64::from(self.top_p) * total;
        // All that weigh less than this weigh less than 1 − top_p together.
        let needless = (1.0 - f64::from(self.top_p)) * total / logits.len() as f64;
        let least = self.min_p.max(needless as f32);
        // Where the model is sure of itself, the first few are enough.
        for guess in WEIGHT_GUESSES {
            candidates::at_least(least.max(guess), weigh, logits, found);
            if guess <= least || candidates::sum(found) >= enough {
                break;
            }
        }
        candidates::keep_heaviest(found, enough);
    }
}

/// Tokens that the mask forbids become −∞.
fn copy_allowed(logits: &[f32], mask: Option<&Mask>, copy: &mut Vec<f32>) {
    copy.clear();
    let Some(mask) = mask else {
        copy.extend_from_slice(logits);
        return;
    };
    let allowed = mask.words().iter().copied().chain(std::iter::repeat(0));
    for (chunk, word) in logits.chunks(u32::BITS as usize).zip(allowed) {
        let one = |(bit, &logit): (u32, &f32)| if word >> bit & 1 == 1 { logit } else { f32::NEG_INFINITY };
        match word {
            u32::MAX => copy.extend_from_slice(chunk),
            0 => copy.resize(copy.len() + chunk.len(), f32::NEG_INFINITY),
            _ => copy.extend((0..).zip(chunk).map(one)),
        }
    }
}

/// The token at `uniform` (0 to 1, exclusive) of all weight, in the vocabulary's order.
fn draw_from_all(logits: &[f32], weigh: Weigh, uniform: f64, blocks: &mut Vec<f64>) -> Option<u32> {
    blocks.clear();
    blocks.extend(logits.chunks(BLOCK_TOKENS).map(|block| weigh.sum_block(block)));
    let mut rest = uniform * blocks.iter().sum::<f64>();
    let mut last = None;
    for ((first, block), sum) in (0..).step_by(BLOCK_TOKENS).zip(logits.chunks(BLOCK_TOKENS)).zip(blocks) {
        if *sum > 0.0 {
            last = Some((first, block));
            if rest < *sum {
                break;
            }
            rest -= *sum;
        }
    }
    let (first, block) = last?;
    let mut drawn = None;
    for (token, &logit) in (first..).zip(block) {
        let weight = weigh.weight(logit);
        if weight > 0.0 {
            drawn = Some(token);
            rest -= f64::from(weight);
            if rest < 0.0 {
                break;
            }
        }
    }
    drawn
}
