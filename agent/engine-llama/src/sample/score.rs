//! Log-probabilities.

use nabi_engine::Score;

use super::candidates;
use super::weights::{Weigh, likeliest};

/// What stands for "never", as in OpenAI's interface: JSON has no infinity.
const LOGPROB_MIN: f32 = -9999.0;

/// A token's log-probability and the `top` likeliest tokens, at temperature 1, of the model's own
/// logits.
pub(crate) fn score(logits: &[f32], token: u32, top: u8) -> Score {
    let Some(best) = likeliest(logits) else {
        return Score { token, logprob: Some(LOGPROB_MIN), top: Vec::new() };
    };
    let sum = Weigh { highest: best.logit, sharpness: 1.0 }.sum(logits).ln();
    let logprob = |logit: f32| {
        let logprob = (f64::from(logit) - f64::from(best.logit) - sum) as f32;
        // False for NaN and ∞, which the model never should give.
        if logprob > LOGPROB_MIN && logprob <= 0.0 { logprob } else { LOGPROB_MIN }
    };
    let mut likeliest = Vec::new();
    if top > 0 {
        candidates::highest(logits, usize::from(top), &mut likeliest);
        candidates::sort(&mut likeliest);
    }
    Score {
        token,
        logprob: Some(logits.get(token as usize).map_or(LOGPROB_MIN, |&logit| logprob(logit))),
        top: likeliest.iter().map(|candidate| (candidate.token(), logprob(candidate.value()))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(logits: &[f32], token: usize) -> f64 {
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        (f64::from(logits[token]).exp() / sum).ln()
    }

    proptest! {
        #[test]
        fn scores_are_those_of_softmax(
            logits in prop::collection::vec(-15.0_f32..15.0, 1..3000),
            token in any::<prop::sample::Index>(),
            top in 0_u8..=20,
        ) {
            let token = token.index(logits.len());
            let score = score(&logits, token as u32, top);
            let logprob = score.logprob.expect("every token has one");
            prop_assert!((f64::from(logprob) - naive(&logits, token)).abs() < 1e-5);
            prop_assert_eq!(score.top.len(), usize::from(top).min(logits.len()));
            prop_assert!(score.top.windows(2).all(|pair| pair[0].1 >= pair[1].1));
            let higher = |&(token, _): &(u32, f32)| logits.iter().filter(|&&other| other > logits[token as usize]).count();
            for (rank, one) in score.top.iter().enumerate() {
                prop_assert!(higher(one) <= rank);
                prop_assert!((f64::from(one.1) - naive(&logits, one.0 as usize)).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn what_is_no_number_is_as_good_as_never() {
        let logits = [1.0, f32::NAN, f32::NEG_INFINITY, f32::INFINITY, 1.0];
        for token in [1, 2, 3, 99] {
            assert_eq!(score(&logits, token, 0).logprob, Some(LOGPROB_MIN), "{token}");
        }
        let half = score(&logits, 0, 20);
        assert_eq!(half.top, [(0, 0.5_f32.ln()), (4, 0.5_f32.ln())]);
        assert_eq!(score(&[f32::NAN], 0, 3), Score { token: 0, logprob: Some(LOGPROB_MIN), top: vec![] });
        assert_eq!(score(&[], 0, 3).logprob, Some(LOGPROB_MIN));
    }
}
