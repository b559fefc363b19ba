//! Passes over a whole vocabulary: the likeliest token, and weights (probabilities times a common
//! factor). They run for every token of every stream, so the loops are shaped to be vectorised.
//!
//! The exponential is ours, of additions and multiplications only: the platform's differs in its
//! last bits from one processor to the next, and with it the tokens that a seed chooses.

/// Tokens that are summed in single precision before they go into a double.
pub(super) const BLOCK_TOKENS: usize = 1024;
/// Independent sums, so that several additions are under way at once.
const LANES: usize = 16;
/// Below it the exponential is no normal number any more: it counts as nothing.
const EXPONENT_MIN: f32 = -87.0;
/// Rounds to an integer, which then is in the lowest bits: 1.5 × 2²³.
const ROUNDER: f32 = 12_582_912.0;

/// A token and its logit, the highest of all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Likeliest {
    pub(super) token: u32,
    pub(super) logit: f32,
}

/// The highest finite logit, with the lowest token of equals.
pub(super) fn likeliest(logits: &[f32]) -> Option<Likeliest> {
    let (mut best, mut highest) = (0, f32::NEG_INFINITY);
    for (at, block) in logits.chunks(BLOCK_TOKENS).enumerate() {
        let highest_here = highest_finite(block);
        if highest_here > highest {
            (best, highest) = (at, highest_here);
        }
    }
    let first = best * BLOCK_TOKENS;
    let token =
        first + logits.get(first..)?.iter().position(|&logit| logit == highest && logit.is_finite())?;
    Some(Likeliest { token: token as u32, logit: highest })
}

/// −∞ if there is none.
fn highest_finite(logits: &[f32]) -> f32 {
    let higher = |a: f32, b: f32| if b > a && b < f32::INFINITY { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane = higher(*lane, logit);
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| higher(a, b))
}

/// Turns logits into weights: the likeliest has weight 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weigh {
    pub(super) highest: f32,
    /// 1 / temperature.
    pub(super) sharpness: f32,
}

impl Weigh {
    /// 0 for what is no number, and for what is too unlikely ever to be drawn.
    #[inline]
    pub(super) fn weight(self, logit: f32) -> f32 {
        let exponent = (logit - self.highest) * self.sharpness;
        // False for NaN. Without a branch, or the loops would not be vectorised.
        let counts = u32::from(exponent > EXPONENT_MIN) & u32::from(exponent <= 0.0);
        f32::from_bits(exp(exponent).to_bits() & counts.wrapping_neg())
    }

    /// Logits below have less than this weight. A little lower than exact, for rounding.
    pub(super) fn logit(self, weight: f32) -> f32 {
        self.highest + (weight.ln() * 1.0001 - 0.0001) / self.sharpness
    }

    /// All weights together.
    pub(super) fn sum(self, logits: &[f32]) -> f64 {
        logits.chunks(BLOCK_TOKENS).map(|block| self.sum_block(block)).sum()
    }

    /// The sum of no more than [`BLOCK_TOKENS`].
    pub(super) fn sum_block(self, logits: &[f32]) -> f64 {
        let mut lanes = [0.0_f32; LANES];
        let (chunks, rest) = logits.as_chunks::<LANES>();
        for chunk in chunks {
            for (lane, &logit) in lanes.iter_mut().zip(chunk) {
                *lane += self.weight(logit);
            }
        }
        let rest: f64 = rest.iter().map(|&logit| f64::from(self.weight(logit))).sum();
        lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>() + rest
    }
}

/// The exponential for [`EXPONENT_MIN`] to 0, exact at 0. Its relative error is below 2⁻²²; the
/// coefficients are those of Cephes' `expf`.
#[inline]
fn exp(x: f32) -> f32 {
    // exp(x) = 2ⁿ exp(r), where r is at most half of ln 2 from 0.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut series = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1] {
        series = series * r + coefficient;
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    (series * r * r + r + 1.0) * power
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_exponential_is_close_and_exact_at_zero() {
        assert_eq!(exp(0.0), 1.0);
        let worst = (0..870_000)
            .map(|step| -(step as f32) * 1e-4)
            .map(|x| (f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs())
            .fold(0.0, f64::max);
        assert!(worst < 2.0_f64.powi(-22), "relative error {worst:e}");
    }

    #[test]
    fn what_is_no_number_weighs_nothing() {
        let weigh = Weigh { highest: 1.0, sharpness: 1.0 };
        for logit in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -100.0, f32::MIN] {
            assert_eq!(weigh.weight(logit), 0.0, "{logit}");
        }
        assert_eq!(weigh.weight(1.0), 1.0);
    }

    fn any_logits() -> impl Strategy<Value = Vec<f32>> {
        let logit = prop_oneof![
            8 => -30.0_f32..30.0,
            1 => prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 0.0, 7.0]),
        ];
        prop::collection::vec(logit, 0..3000)
    }

    proptest! {
        #[test]
        fn the_likeliest_is_the_first_of_the_highest(logits in any_logits()) {
            let mut expected: Option<Likeliest> = None;
            for (token, &logit) in (0..).zip(&logits) {
                if logit.is_finite() && expected.is_none_or(|best| logit > best.logit) {
                    expected = Some(Likeliest { token, logit });
                }
            }
            prop_assert_eq!(likeliest(&logits), expected);
        }

        #[test]
        fn the_sum_is_that_of_the_weights(logits in any_logits(), sharpness in 0.01_f32..10.0) {
            let weigh = Weigh { highest: 30.0, sharpness };
            let expected: f64 = logits.iter().map(|&logit| f64::from(weigh.weight(logit))).sum();
            prop_assert!((weigh.sum(&logits) - expected).abs() <= expected * 1e-5);
        }

        #[test]
        fn no_weight_is_lost_below_its_logit(weight in 1e-30_f32..1.0, highest in -50.0_f32..50.0, sharpness in 0.1_f32..10.0) {
            let weigh = Weigh { highest, sharpness };
            prop_assert!(weigh.weight(weigh.logit(weight)) <= weight);
        }
    }
}
