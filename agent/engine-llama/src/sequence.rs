//! One sequence: its tokens, and what comes of them.

use std::ops::Range;

use nabi_engine::{Generation, Output, Score, Slot};
use nabi_wire::engine::{Refusal, Salt};

use crate::grammar::Matcher;
use crate::sample::{self, ChooseError, Sampler, Scratch};

/// It goes in and out of slots.
pub(crate) struct Sequence {
    /// The prompt, then at its end each token that was chosen.
    pub(crate) tokens: Vec<u32>,
    /// How many of them are computed in its slot.
    pub(crate) computed: usize,
    pub(crate) purpose: Purpose,
}

/// What a sequence is for.
pub(crate) enum Purpose {
    Generate(Box<Generating>),
    Embed,
}

/// How a sequence goes on.
pub(crate) struct Generating {
    salt: Salt,
    sampler: Sampler,
    logprobs: Option<u8>,
    prompt_scores: Option<PromptScores>,
}

/// The log-probabilities of a prompt. Each token's is known when the one before it is computed.
struct PromptScores {
    top: u8,
    prompt_tokens: usize,
    /// Those of so many tokens were told.
    told: usize,
    /// That of the next token.
    next: Option<Score>,
}

impl Generating {
    pub(crate) fn new(generation: Generation<Matcher>, prompt: &[u32], drawn_seed: u64) -> Self {
        let seed = sample::seed(&generation.sampling, generation.choice, drawn_seed);
        let prompt_scores = generation.prompt_logprobs.map(|top| PromptScores {
            top,
            prompt_tokens: prompt.len(),
            told: 0,
            next: prompt.first().map(|&token| Score { token, logprob: None, top: Vec::new() }),
        });
        Self {
            salt: generation.salt,
            sampler: Sampler::new(&generation.sampling, seed, prompt, generation.grammar),
            logprobs: generation.logprobs,
            prompt_scores,
        }
    }
}

impl Sequence {
    /// With whom it shares what is computed.
    pub(crate) fn salt(&self) -> Salt {
        match &self.purpose {
            Purpose::Generate(generating) => generating.salt,
            Purpose::Embed => Salt::default(),
        }
    }

    /// All of its tokens that may come from elsewhere, and one more. Where a prompt's
    /// log-probabilities are wanted, each of its tokens is computed until its own is told.
    pub(crate) fn wanted(&self) -> &[u32] {
        match &self.purpose {
            Purpose::Embed => &[],
            Purpose::Generate(generating) => match &generating.prompt_scores {
                Some(scores) if scores.told < scores.prompt_tokens => &self.tokens[..=scores.told],
                _ => &self.tokens,
            },
        }
    }

    /// Whether logits are wanted after the token at this position.
    pub(crate) fn wants_logits(&self, position: usize) -> bool {
        let Purpose::Generate(generating) = &self.purpose else { return false };
        let scores = generating.prompt_scores.as_ref();
        position + 1 == self.tokens.len()
            || scores.is_some_and(|scores| (scores.told + 1..scores.prompt_tokens).contains(&(position + 1)))
    }

    /// Takes note that so many more tokens are computed; gives what comes of it. `logits` has those
    /// after a position, where they were wanted.
    pub(crate) fn advance<'l>(
        &mut self,
        slot: Slot,
        tokens: usize,
        logits: impl Fn(usize) -> Option<&'l [f32]>,
        scratch: &mut Scratch,
    ) -> Vec<Output> {
        let positions = self.computed..self.computed + tokens;
        self.computed = positions.end;
        let mut outputs = Vec::new();
        let Purpose::Generate(generating) = &mut self.purpose else { return outputs };
        let no_logits = || Refusal::from(ChooseError::NoNumbers);
        if let Some(scores) = &mut generating.prompt_scores {
            match scores.tell(&self.tokens, positions, &logits) {
                None => outputs.push(Output::Refused { slot, refusal: no_logits() }),
                Some(told) if told.is_empty() => {}
                Some(scores) => outputs.push(Output::Prompt { slot, scores }),
            }
        }
        if self.computed < self.tokens.len() {
            return outputs;
        }
        let chosen = logits(self.computed - 1).ok_or_else(no_logits).and_then(|logits| {
            let token = generating.sampler.choose(logits, scratch)?;
            let score = generating.logprobs.map(|top| sample::score(logits, token, top));
            Ok(Output::Token { slot, token, score })
        });
        outputs.push(match chosen {
            Ok(output) => {
                if let Output::Token { token, .. } = output {
                    self.tokens.push(token);
                }
                output
            }
            Err(refusal) => Output::Refused { slot, refusal },
        });
        outputs
    }
}

impl PromptScores {
    /// The scores of those of these tokens that were not told yet. None where logits are missing.
    fn tell<'l>(
        &mut self,
        tokens: &[u32],
        computed: Range<usize>,
        logits: impl Fn(usize) -> Option<&'l [f32]>,
    ) -> Option<Vec<Score>> {
        let mut told = Vec::new();
        for position in computed.filter(|position| *position < self.prompt_tokens) {
            if position < self.told {
                continue;
            }
            told.extend(self.next.take());
            self.told += 1;
            if self.told < self.prompt_tokens {
                self.next = Some(sample::score(logits(position)?, tokens[self.told], self.top));
            }
        }
        Some(told)
    }
}
