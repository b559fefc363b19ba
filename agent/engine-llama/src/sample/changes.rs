//! What changes single logits: bias, and penalties for tokens that the text has already.

use std::collections::HashMap;

use nabi_wire::engine::Sampling;

/// One answer's changes. Sparse: they cost as much as there are tokens that change.
#[derive(Debug, Clone)]
pub(super) struct Changes {
    presence: f32,
    frequency: f32,
    repetition: f32,
    tokens: HashMap<u32, Change>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Change {
    bias: f32,
    in_text: bool,
    in_answer: u32,
}

impl Changes {
    pub(super) fn new(sampling: &Sampling, prompt: &[u32]) -> Self {
        let mut changes = Self {
            presence: sampling.presence_penalty,
            frequency: sampling.frequency_penalty,
            repetition: sampling.repetition_penalty,
            tokens: HashMap::new(),
        };
        for &(token, bias) in &sampling.logit_bias {
            changes.tokens.entry(token).or_default().bias += bias;
        }
        if changes.repetition != 1.0 {
            for &token in prompt {
                changes.tokens.entry(token).or_default().in_text = true;
            }
        }
        changes
    }

    /// The answer has this token now.
    pub(super) fn accept(&mut self, token: u32) {
        if self.presence != 0.0 || self.frequency != 0.0 || self.repetition != 1.0 {
            let change = self.tokens.entry(token).or_default();
            change.in_text = true;
            change.in_answer = change.in_answer.saturating_add(1);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Changes the logits that are numbers, and of those tokens that the vocabulary has.
    pub(super) fn apply(&self, logits: &mut [f32]) {
        for (&token, change) in &self.tokens {
            if let Some(logit) = logits.get_mut(token as usize)
                && logit.is_finite()
            {
                *logit = self.changed(*logit, change);
            }
        }
    }

    /// Bias first, then as vLLM: repetition, frequency, presence.
    fn changed(&self, logit: f32, change: &Change) -> f32 {
        if change.bias == f32::NEG_INFINITY {
            return f32::NEG_INFINITY;
        }
        // A request's numbers may be huge, but only −∞ forbids, and nothing becomes no number.
        let finite = |logit: f32| logit.clamp(f32::MIN, f32::MAX);
        let mut logit = finite(logit + change.bias);
        if change.in_text {
            logit = finite(if logit > 0.0 { logit / self.repetition } else { logit * self.repetition });
        }
        if change.in_answer > 0 {
            logit -= self.frequency * change.in_answer as f32 + self.presence;
        }
        finite(logit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn applied(sampling: &Sampling, prompt: &[u32], answer: &[u32], logits: &[f32]) -> Vec<f32> {
        let mut changes = Changes::new(sampling, prompt);
        answer.iter().for_each(|&token| changes.accept(token));
        let mut logits = logits.to_vec();
        changes.apply(&mut logits);
        logits
    }

    #[test]
    fn each_change_is_what_its_definition_says() {
        let logits = [2.0, -2.0, 4.0, 1.0];
        let (prompt, answer) = ([0, 1], [2, 2, 1]);
        let with = |change: fn(&mut Sampling)| {
            let mut sampling = Sampling::default();
            change(&mut sampling);
            applied(&sampling, &prompt, &answer, &logits)
        };
        assert_eq!(with(|_| {}), logits);
        assert_eq!(with(|s| s.presence_penalty = 0.5), [2.0, -2.5, 3.5, 1.0]);
        assert_eq!(with(|s| s.frequency_penalty = 0.5), [2.0, -2.5, 3.0, 1.0]);
        assert_eq!(with(|s| s.frequency_penalty = -0.5), [2.0, -1.5, 5.0, 1.0]);
        assert_eq!(with(|s| s.repetition_penalty = 2.0), [1.0, -4.0, 2.0, 1.0]);
        assert_eq!(with(|s| s.logit_bias = vec![(3, 5.0), (0, -1.0), (9, 1.0)]), [1.0, -2.0, 4.0, 6.0]);
        assert_eq!(with(|s| s.logit_bias = vec![(3, f32::NEG_INFINITY)])[3], f32::NEG_INFINITY);
    }

    #[test]
    fn bias_comes_before_penalties() {
        let sampling = Sampling {
            logit_bias: vec![(0, -3.0)],
            repetition_penalty: 2.0,
            presence_penalty: 0.25,
            ..Sampling::default()
        };
        // 2 − 3 is negative, so it is multiplied.
        assert_eq!(applied(&sampling, &[], &[0], &[2.0]), [-2.25]);
    }

    #[test]
    fn huge_numbers_stay_numbers_and_what_is_none_stays_as_it_is() {
        let bias = vec![(0, f32::MAX), (1, f32::MIN), (2, 1.0), (3, 1.0)];
        let sampling =
            Sampling { logit_bias: bias, repetition_penalty: f32::MIN_POSITIVE, ..Sampling::default() };
        let logits = [f32::MAX, f32::MIN, f32::NAN, f32::NEG_INFINITY];
        let changed = applied(&sampling, &[0, 1], &[], &logits);
        assert_eq!(changed[0], f32::MAX);
        assert!(changed[1].is_finite());
        assert!(changed[2].is_nan());
        assert_eq!(changed[3], f32::NEG_INFINITY);
    }

    proptest! {
        #[test]
        fn penalties_are_those_of_the_definition(
            logits in prop::collection::vec(-10.0_f32..10.0, 16),
            prompt in prop::collection::vec(0_u32..16, 0..40),
            answer in prop::collection::vec(0_u32..16, 0..40),
            presence in -2.0_f32..2.0, frequency in -2.0_f32..2.0, repetition in 0.1_f32..3.0,
        ) {
            let sampling = Sampling {
                presence_penalty: presence,
                frequency_penalty: frequency,
                repetition_penalty: repetition,
                ..Sampling::default()
            };
            let changed = applied(&sampling, &prompt, &answer, &logits);
            for (token, &logit) in (0_u32..).zip(&logits) {
                let times = answer.iter().filter(|&&one| one == token).count() as f32;
                let mut expected = logit;
                if times > 0.0 || prompt.contains(&token) {
                    expected = if expected > 0.0 { expected / repetition } else { expected * repetition };
                }
                expected -= frequency * times;
                expected -= if times > 0.0 { presence } else { 0.0 };
                prop_assert!((changed[token as usize] - expected).abs() < 1e-4);
            }
        }
    }
}
