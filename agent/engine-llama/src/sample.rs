//! Choosing a token from logits. Pure, but for the random state that a [`Sampler`] carries.
//!
//! Order: temperature, top-k, top-p, min-p, draw: the order of Hugging Face's and vLLM's samplers.

use std::cmp::Ordering;

use nabi_wire::engine::Sampling;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// One answer's way of choosing.
pub(crate) struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
    /// Kept for its capacity.
    candidates: Vec<Candidate>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    token: u32,
    /// A logit at first, then a weight: the probability times a common factor.
    weight: f32,
}

impl Sampler {
    /// The same seed chooses the same tokens from the same logits, on every machine.
    pub(crate) fn new(sampling: &Sampling, seed: u64) -> Self {
        Self { sampling: sampling.clone(), random: ChaCha8Rng::seed_from_u64(seed), candidates: Vec::new() }
    }

    /// The next token. NaN counts as never; none where no logit is a number.
    pub(crate) fn choose(&mut self, logits: &[f32]) -> Option<u32> {
        if self.sampling.temperature == 0.0 {
            return likeliest(logits);
        }
        let highest = likeliest(logits).map(|token| logits[token as usize])?;
        let candidates = &mut self.candidates;
        candidates.clear();
        candidates.extend(
            (0..)
                .zip(logits)
                .filter(|(_, logit)| !logit.is_nan())
                .map(|(token, &weight)| Candidate { token, weight }),
        );
        keep_top_k(candidates, self.sampling.top_k);
        for candidate in &mut *candidates {
            candidate.weight = ((candidate.weight - highest) / self.sampling.temperature).exp();
        }
        keep_top_p(candidates, self.sampling.top_p);
        // The highest weight is 1.
        candidates.retain(|candidate| candidate.weight >= self.sampling.min_p);
        let uniform = (self.random.next_u32() >> 8) as f32 / (1_u32 << 24) as f32;
        draw(candidates, uniform)
    }
}

/// The highest logit's token, the lowest of equals.
pub(crate) fn likeliest(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(u32, f32)> = None;
    for (token, &logit) in (0..).zip(logits) {
        if !logit.is_nan() && best.is_none_or(|(_, highest)| logit > highest) {
            best = Some((token, logit));
        }
    }
    best.map(|(token, _)| token)
}

/// Natural logarithm of a token's probability, at temperature 1.
pub(crate) fn logprob(logits: &[f32], token: u32) -> f32 {
    let Some(highest) = likeliest(logits).map(|token| f64::from(logits[token as usize])) else {
        return f32::NAN;
    };
    let sum: f64 = logits.iter().filter(|l| !l.is_nan()).map(|&l| (f64::from(l) - highest).exp()).sum();
    (f64::from(logits[token as usize]) - highest - sum.ln()) as f32
}

/// Heaviest first, the lowest token of equals: so that a choice does not depend on the sort.
fn heaviest(a: &Candidate, b: &Candidate) -> Ordering {
    b.weight.total_cmp(&a.weight).then(a.token.cmp(&b.token))
}

fn keep_top_k(candidates: &mut Vec<Candidate>, top_k: u32) {
    let keep = top_k as usize;
    if keep > 0 && keep < candidates.len() {
        candidates.select_nth_unstable_by(keep - 1, heaviest);
        candidates.truncate(keep);
        // Whatever order the selection left: back to the vocabulary's.
        candidates.sort_unstable_by_key(|candidate| candidate.token);
    }
}

/// Keeps the fewest heaviest candidates that have `top_p` of all weight.
fn keep_top_p(candidates: &mut Vec<Candidate>, top_p: f32) {
    if top_p >= 1.0 {
        return;
    }
    let total: f64 = candidates.iter().map(|candidate| f64::from(candidate.weight)).sum();
    // All that weigh less than this weigh less than 1 - top_p together, so none of them is needed:
    // sorting the few others is much cheaper than sorting a vocabulary.
    let least = (1.0 - f64::from(top_p)) * total / candidates.len() as f64;
    candidates.retain(|candidate| f64::from(candidate.weight) >= least);
    candidates.sort_unstable_by(heaviest);
    let mut sum = 0.0;
    let enough = candidates.iter().position(|candidate| {
        sum += f64::from(candidate.weight);
        sum >= f64::from(top_p) * total
    });
    candidates.truncate(enough.map_or(candidates.len(), |last| last + 1));
}

/// The candidate at `uniform` (0 to 1, exclusive) of all weight.
fn draw(candidates: &[Candidate], uniform: f32) -> Option<u32> {
    let total: f64 = candidates.iter().map(|candidate| f64::from(candidate.weight)).sum();
    let mut rest = f64::from(uniform) * total;
    for candidate in candidates {
        rest -= f64::from(candidate.weight);
        if rest < 0.0 {
            return Some(candidate.token);
        }
    }
    // Rounding may leave a little.
    candidates.iter().rev().find(|candidate| candidate.weight > 0.0).map(|candidate| candidate.token)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn chosen(sampling: &Sampling, logits: &[f32]) -> BTreeSet<u32> {
        let mut sampler = Sampler::new(sampling, 7);
        (0..2000).filter_map(|_| sampler.choose(logits)).collect()
    }

    const LOGITS: [f32; 5] = [1.0, 4.0, f32::NAN, 3.0, 2.0];

    #[test]
    fn each_limit_keeps_the_tokens_that_it_says() {
        let with = |change: fn(&mut Sampling)| {
            let mut sampling = Sampling::default();
            change(&mut sampling);
            chosen(&sampling, &LOGITS)
        };
        assert_eq!(with(|_| {}), [0, 1, 3, 4].into());
        assert_eq!(with(|s| s.temperature = 0.0), [1].into());
        assert_eq!(with(|s| s.top_k = 2), [1, 3].into());
        assert_eq!(with(|s| s.top_k = 9), [0, 1, 3, 4].into());
        // Probabilities: 0.644, 0.237, 0.087, 0.032.
        assert_eq!(with(|s| s.top_p = 0.6), [1].into());
        assert_eq!(with(|s| s.top_p = 0.7), [1, 3].into());
        assert_eq!(with(|s| s.top_p = 0.9), [1, 3, 4].into());
        assert_eq!(with(|s| s.min_p = 0.3), [1, 3].into());
        assert_eq!(with(|s| s.min_p = 1.0), [1].into());
        assert_eq!(with(|s| s.temperature = 0.01), [1].into());
    }

    #[test]
    fn tokens_come_as_often_as_their_probability_says() {
        let mut sampler = Sampler::new(&Sampling::default(), 1);
        let hits = (0..20_000).filter(|_| sampler.choose(&[0.0, 3.0_f32.ln()]) == Some(1)).count();
        assert!((14_600..15_400).contains(&hits), "{hits} of 20000, expected 15000");
    }

    #[test]
    fn the_same_seed_chooses_the_same_and_another_does_not() {
        let run = |seed| {
            let mut sampler = Sampler::new(&Sampling::default(), seed);
            (0..64).map(|_| sampler.choose(&LOGITS)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn numbers_that_are_none_choose_nothing_or_are_passed_over() {
        let mut sampler = Sampler::new(&Sampling::default(), 0);
        assert_eq!(sampler.choose(&[]), None);
        assert_eq!(sampler.choose(&[f32::NAN, f32::NAN]), None);
        assert_eq!(sampler.choose(&[f32::NEG_INFINITY, 1.0]), Some(1));
        assert_eq!(likeliest(&[2.0, 5.0, 5.0]), Some(1));
    }

    #[test]
    fn log_probabilities_are_those_of_softmax() {
        let logits = [0.0, 1.0, 2.0];
        let sum: f32 = logits.iter().map(|l: &f32| l.exp()).sum();
        assert!((logprob(&logits, 1) - (1.0_f32.exp() / sum).ln()).abs() < 1e-6);
    }
}
