//! The few tokens among which is drawn.

use std::cmp::Ordering;

use super::weights::Weigh;

/// Tokens that are compared at once with a threshold that few of them reach.
const SCAN_TOKENS: usize = 32;
/// Ranges that are sorted rather than halved.
const SORT_MAX: usize = 32;

/// A token with its logit or weight, which is finite. Orders by that; of equals the lower token is
/// the greater, so that a choice does not depend on how the greatest were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate(u64);

impl Candidate {
    pub(super) fn new(token: u32, value: f32) -> Self {
        // Adding 0 makes −0 equal to 0. The bits of floats order as integers once those of negative
        // ones are turned around.
        let bits = (value + 0.0).to_bits();
        let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
        Self(u64::from(ordered) << 32 | u64::from(!token))
    }

    pub(super) fn token(self) -> u32 {
        !(self.0 as u32)
    }

    pub(super) fn value(self) -> f32 {
        let ordered = (self.0 >> 32) as u32;
        f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
    }
}

fn greatest_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.cmp(a)
}

/// The `k` highest finite logits, `k` above 0; in no order.
pub(super) fn highest(logits: &[f32], k: usize, found: &mut Vec<Candidate>) {
    found.clear();
    let room = (2 * k).max(SCAN_TOKENS);
    // Of equals the first ones stay, and those come first.
    let mut above = f32::NEG_INFINITY;
    for (first, chunk) in (0..).step_by(SCAN_TOKENS).zip(logits.chunks(SCAN_TOKENS)) {
        if !any(chunk, |logit| logit > above) {
            continue;
        }
        for (token, &logit) in (first..).zip(chunk) {
            if logit > above && logit < f32::INFINITY {
                found.push(Candidate::new(token, logit));
            }
        }
        if found.len() >= room {
            truncate_to_heaviest(found, k);
            above = found[k - 1].value();
        }
    }
    truncate_to_heaviest(found, k);
}

/// The `k` heaviest; if any had to go, the least of those that stay is the last.
fn truncate_to_heaviest(candidates: &mut Vec<Candidate>, k: usize) {
    if candidates.len() > k {
        candidates.select_nth_unstable_by(k - 1, greatest_first);
        candidates.truncate(k);
    }
}

/// Heaviest first.
pub(super) fn sort(candidates: &mut [Candidate]) {
    candidates.sort_unstable_by(greatest_first);
}

/// All that weigh at least so much, with their weights.
pub(super) fn at_least(weight: f32, weigh: Weigh, logits: &[f32], found: &mut Vec<Candidate>) {
    found.clear();
    let threshold = weigh.logit(weight);
    for (first, chunk) in (0..).step_by(SCAN_TOKENS).zip(logits.chunks(SCAN_TOKENS)) {
        if any(chunk, |logit| logit >= threshold) {
            let high = (first..).zip(chunk).filter(|&(_, &logit)| logit >= threshold);
            let weighed = high.map(|(token, &logit)| (token, weigh.weight(logit)));
            let heavy = weighed.filter(|&(_, one)| one >= weight && one > 0.0);
            found.extend(heavy.map(|(token, one)| Candidate::new(token, one)));
        }
    }
}

/// Without a branch for each logit, so that it is vectorised.
fn any(logits: &[f32], test: impl Fn(f32) -> bool) -> bool {
    logits.iter().fold(false, |found, &logit| found | test(logit))
}

/// Keeps the fewest heaviest candidates that weigh `enough` together; all, if all do not.
pub(super) fn keep_heaviest(candidates: &mut Vec<Candidate>, enough: f64) {
    // The last that stays is in this range; those before it weigh less than enough.
    let (mut start, mut end) = (0, candidates.len());
    let mut before = 0.0;
    while end - start > SORT_MAX {
        let middle = (end - start) / 2;
        let range = &mut candidates[start..end];
        range.select_nth_unstable_by(middle, greatest_first);
        let half = sum(&range[..middle]);
        if before + half >= enough {
            end = start + middle;
        } else {
            before += half;
            start += middle;
        }
    }
    sort(&mut candidates[start..end]);
    for at in start..end {
        before += f64::from(candidates[at].value());
        if before >= enough {
            candidates.truncate(at + 1);
            return;
        }
    }
    // Rounding left a little less than enough in the range.
    candidates.truncate(end);
}

/// All weights together.
pub(super) fn sum(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|candidate| f64::from(candidate.value())).sum()
}

/// The candidate at `uniform` (0 to 1, exclusive) of all weight.
pub(super) fn draw(candidates: &[Candidate], uniform: f64) -> Option<u32> {
    let mut rest = uniform * sum(candidates);
    let mut last = None;
    for candidate in candidates.iter().filter(|candidate| candidate.value() > 0.0) {
        rest -= f64::from(candidate.value());
        last = Some(candidate.token());
        if rest < 0.0 {
            break;
        }
    }
    // Rounding may leave a little after the last.
    last
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Many of them equal.
    fn weights() -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec(prop_oneof![(0_u8..8).prop_map(|w| f32::from(w) / 8.0), 0.0_f32..1.0], 1..2000)
    }

    fn candidates(weights: &[f32]) -> Vec<Candidate> {
        (0..).zip(weights).map(|(token, &weight)| Candidate::new(token, weight)).collect()
    }

    fn tokens(mut candidates: Vec<Candidate>) -> Vec<u32> {
        candidates.sort_unstable_by_key(|candidate| candidate.token());
        candidates.iter().map(|candidate| candidate.token()).collect()
    }

    #[test]
    fn candidates_order_by_value_then_by_token() {
        let values = [f32::MAX, 1.5, 1.0, f32::MIN_POSITIVE, 0.0, -0.0, -1.0, -1.5, f32::MIN];
        let ordered = candidates(&values);
        assert!(ordered.is_sorted_by(|a, b| a > b));
        for (token, &value) in (0..).zip(&values) {
            let candidate = ordered[token as usize];
            assert_eq!((candidate.token(), candidate.value()), (token, value));
        }
        assert_eq!(Candidate::new(u32::MAX, 1.0).token(), u32::MAX);
    }

    proptest! {
        #[test]
        fn the_highest_are_those_of_a_sort(logits in weights(), k in 1_usize..300) {
            let mut sorted = candidates(&logits);
            sort(&mut sorted);
            sorted.truncate(k);
            let mut found = Vec::new();
            highest(&logits, k, &mut found);
            prop_assert_eq!(tokens(found), tokens(sorted));
        }

        #[test]
        fn the_kept_are_the_shortest_prefix_of_a_sort(weights in weights(), part in 0.0_f64..1.0) {
            let mut sorted = candidates(&weights);
            let enough = part * sum(&sorted);
            sort(&mut sorted);
            let mut kept = sorted.clone();
            kept.reverse();
            keep_heaviest(&mut kept, enough);
            // Sums of other orders differ in the last bit.
            prop_assert!(sum(&kept) >= enough - 1e-9);
            prop_assert!(sum(&sorted[..kept.len() - 1]) <= enough + 1e-9);
            prop_assert_eq!(tokens(kept.clone()), tokens(sorted[..kept.len()].to_vec()));
        }

        #[test]
        fn those_at_least_so_heavy_are_all_found(logits in prop::collection::vec(-20.0_f32..0.0, 1..500), least in 0.0_f32..=1.0) {
            let weigh = Weigh { highest: 0.0, sharpness: 1.0 };
            let expected = (0..).zip(&logits).filter(|&(_, &logit)| weigh.weight(logit) >= least).map(|(token, _)| token);
            let mut found = Vec::new();
            at_least(least, weigh, &logits, &mut found);
            prop_assert_eq!(tokens(found), expected.collect::<Vec<u32>>());
        }
    }

    #[test]
    fn a_draw_takes_no_candidate_without_weight() {
        let some = candidates(&[0.0, 0.5, 0.0, 0.25, 0.0]);
        for (uniform, token) in [(0.0, 1), (0.66, 1), (0.67, 3), (0.999_999_999, 3), (1.0, 3)] {
            assert_eq!(draw(&some, uniform), Some(token), "{uniform}");
        }
        assert_eq!(draw(&candidates(&[0.0, 0.0]), 0.5), None);
        assert_eq!(draw(&[], 0.5), None);
    }
}
