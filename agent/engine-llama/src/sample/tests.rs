//! Whole choices: which tokens can come, how often, and with what errors.

use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex};

use nabi_wire::engine::Grammar;
use proptest::prelude::*;

use super::*;
use crate::grammar::tests::WordVocabulary;

const LOGITS: [f32; 5] = [1.0, 4.0, f32::NAN, 3.0, 2.0];

fn sampler(change: impl FnOnce(&mut Sampling)) -> Sampler {
    let mut sampling = Sampling::default();
    change(&mut sampling);
    Sampler::new(&sampling, 7, &[], None)
}

/// All tokens that come in many choices, none of which changes the next.
fn chosen(change: impl FnOnce(&mut Sampling)) -> BTreeSet<u32> {
    let mut sampler = sampler(change);
    let mut scratch = Scratch::default();
    (0..2000).map(|_| sampler.choose(&LOGITS, &mut scratch).expect("tokens are left")).collect()
}

#[test]
fn each_limit_keeps_the_tokens_that_it_says() {
    assert_eq!(chosen(|_| {}), [0, 1, 3, 4].into());
    assert_eq!(chosen(|s| s.temperature = 0.0), [1].into());
    assert_eq!(chosen(|s| s.temperature = 0.01), [1].into());
    assert_eq!(chosen(|s| s.temperature = f32::MIN_POSITIVE), [1].into());
    assert_eq!(chosen(|s| s.temperature = f32::MAX), [0, 1, 3, 4].into());
    assert_eq!(chosen(|s| s.top_k = 2), [1, 3].into());
    assert_eq!(chosen(|s| s.top_k = 9), [0, 1, 3, 4].into());
    // Probabilities: 0.644, 0.237, 0.087, 0.032.
    assert_eq!(chosen(|s| s.top_p = 0.6), [1].into());
    assert_eq!(chosen(|s| s.top_p = 0.7), [1, 3].into());
    assert_eq!(chosen(|s| s.top_p = 0.9), [1, 3, 4].into());
    assert_eq!(chosen(|s| s.top_p = f32::MIN_POSITIVE), [1].into());
    assert_eq!(chosen(|s| s.min_p = 0.3), [1, 3].into());
    assert_eq!(chosen(|s| s.min_p = 1.0), [1].into());
}

#[test]
fn limits_come_in_their_order() {
    // Among two, the first has 0.731: top-p looks at what top-k left.
    assert_eq!(chosen(|s| (s.top_k, s.top_p) = (2, 0.7)), [1].into());
    assert_eq!(chosen(|s| (s.top_k, s.top_p) = (3, 0.7)), [1, 3].into());
    // The temperature comes before top-p: it makes the first more likely, 0.865.
    assert_eq!(chosen(|s| (s.temperature, s.top_p) = (0.5, 0.8)), [1].into());
    // min-p does not change what top-p is of.
    assert_eq!(chosen(|s| (s.top_p, s.min_p) = (0.9, 0.3)), [1, 3].into());
    assert_eq!(chosen(|s| (s.top_p, s.min_p) = (0.6, 0.1)), [1].into());
    assert_eq!(chosen(|s| (s.top_k, s.min_p) = (3, 0.3)), [1, 3].into());
    // Bias comes before all.
    assert_eq!(chosen(|s| (s.top_k, s.logit_bias) = (1, vec![(0, 9.0)])), [0].into());
    assert_eq!(chosen(|s| (s.temperature, s.logit_bias) = (0.0, vec![(1, f32::NEG_INFINITY)])), [3].into());
}

#[test]
fn penalties_keep_the_answer_from_repeating_itself() {
    let mut sampler = sampler(|s| (s.temperature, s.frequency_penalty) = (0.0, 2.0));
    let mut scratch = Scratch::default();
    let answer: Vec<u32> = (0..5).filter_map(|_| sampler.choose(&LOGITS, &mut scratch).ok()).collect();
    // 4, then 3 against 2, then 2, 2, 1 and the second 1.
    assert_eq!(answer, [1, 3, 1, 4, 0]);
}

#[test]
fn only_repetition_counts_the_prompt() {
    let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
    let first = |sampling: Sampling| {
        Sampler::new(&sampling, 0, &[1, 1], None).choose(&LOGITS, &mut Scratch::default())
    };
    assert_eq!(first(Sampling { presence_penalty: 2.0, frequency_penalty: 2.0, ..greedy.clone() }), Ok(1));
    assert_eq!(first(Sampling { repetition_penalty: 2.0, ..greedy }), Ok(3));
}

#[test]
fn tokens_come_as_often_as_their_probability_says() {
    // More tokens than one block, and limits that keep them all.
    let mut logits = vec![f32::NEG_INFINITY; 1100];
    (logits[5], logits[1090]) = (0.0, 3.0_f32.ln());
    let cases: [fn(&mut Sampling); 3] = [|_| {}, |s| s.top_k = 2, |s| s.top_p = 0.999];
    for change in cases {
        let mut sampler = sampler(change);
        let mut scratch = Scratch::default();
        let hits = (0..4000).filter(|_| sampler.choose(&logits, &mut scratch) == Ok(1090)).count();
        assert!((2880..3120).contains(&hits), "{hits} of 4000, expected 3000");
    }
}

#[test]
fn the_same_seed_chooses_the_same_and_another_does_not() {
    let run = |seed| {
        let mut sampler = Sampler::new(&Sampling::default(), seed, &[], None);
        let mut scratch = Scratch::default();
        (0..12).map(|_| sampler.choose(&[0.0; 8], &mut scratch).expect("a token")).collect::<Vec<_>>()
    };
    // Kept, so that a new version chooses what the last one did.
    assert_eq!(run(1), [3, 0, 4, 1, 2, 5, 3, 1, 6, 5, 3, 4]);
    assert_ne!(run(1), run(2));
}

#[test]
fn each_choice_has_a_seed_of_its_own() {
    let of = |seed| Sampling { seed, ..Sampling::default() };
    assert_eq!(seed(&of(Some(5)), 3, 99), 8);
    assert_eq!(seed(&of(None), 3, 99), 102);
    assert_eq!(seed(&of(Some(u64::MAX)), 1, 99), 0);
}

#[test]
fn numbers_that_are_none_are_passed_over_or_refused() {
    let mut scratch = Scratch::default();
    let cases: [fn(&mut Sampling); 5] =
        [|s| s.temperature = 0.0, |_| {}, |s| s.top_k = 2, |s| s.top_p = 0.5, |s| s.presence_penalty = 1.0];
    for change in cases {
        let mut choose = |logits: &[f32]| sampler(change).choose(logits, &mut scratch);
        assert_eq!(choose(&[]), Err(ChooseError::NoNumbers));
        assert_eq!(choose(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]), Err(ChooseError::NoNumbers));
        assert_eq!(choose(&[f32::NAN, f32::NEG_INFINITY, 1.0, f32::INFINITY]), Ok(2));
        assert_eq!(choose(&[f32::MIN, f32::NAN, f32::MAX]), Ok(2));
    }
}

#[test]
fn what_forbids_all_is_refused() {
    let forbid = |tokens: std::ops::Range<u32>| tokens.map(|token| (token, f32::NEG_INFINITY)).collect();
    let all = Sampling { logit_bias: forbid(0..5), ..Sampling::default() };
    let chosen = Sampler::new(&all, 0, &[], None).choose(&LOGITS, &mut Scratch::default());
    assert_eq!(chosen, Err(ChooseError::BiasForbidsAll));
    assert!(matches!(Refusal::from(ChooseError::BiasForbidsAll), Refusal::OutOfRange { .. }));

    let vocabulary = WordVocabulary::new(300);
    let digits = vocabulary.grammars().compile(&Grammar::Regex("[0-9]".into())).expect("a small regex");
    let no_digits = Sampling { logit_bias: forbid(u32::from(b'0')..u32::from(b':')), ..Sampling::default() };
    let chosen = Sampler::new(&no_digits, 0, &[], Some(digits)).choose(&[0.0; 300], &mut Scratch::default());
    assert_eq!(chosen, Err(ChooseError::GrammarForbidsAll));
}

fn limits() -> impl Strategy<Value = Sampling> {
    let temperature = prop_oneof![Just(0.0_f32), 0.01_f32..5.0];
    let top_p = prop_oneof![Just(1.0_f32), 0.01_f32..1.0];
    let min_p = prop_oneof![Just(0.0_f32), 0.0_f32..=1.0];
    (temperature, top_p, 0_u32..40, min_p).prop_map(|(temperature, top_p, top_k, min_p)| Sampling {
        temperature,
        top_p,
        top_k,
        min_p,
        ..Sampling::default()
    })
}

/// What may come, by the definition: sort all, and cut three times.
fn allowed(sampling: &Sampling, logits: &[f32]) -> Vec<u32> {
    let mut ranked: Vec<(u32, f64)> =
        (0..).zip(logits).map(|(token, &logit)| (token, f64::from(logit))).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let (likeliest, highest) = ranked[0];
    if sampling.temperature == 0.0 {
        return vec![likeliest];
    }
    for (_, weight) in &mut ranked {
        *weight = ((*weight - highest) / f64::from(sampling.temperature)).exp();
    }
    if sampling.top_k > 0 {
        ranked.truncate(sampling.top_k as usize);
    }
    // A little more than the definition allows: we calculate in single precision.
    let enough = f64::from(sampling.top_p) * 1.000_01 * ranked.iter().map(|(_, weight)| weight).sum::<f64>();
    let mut sum = 0.0;
    let kept = ranked.iter().take_while(|(_, weight)| {
        let wanted = sum < enough;
        sum += weight;
        wanted
    });
    let least = f64::from(sampling.min_p) * 0.999_99;
    kept.filter(|(_, weight)| *weight >= least).map(|&(token, _)| token).collect()
}

proptest! {
    #[test]
    fn nothing_comes_that_the_limits_exclude(
        sampling in limits(),
        logits in prop_oneof![
            prop::collection::vec(-12.0_f32..12.0, 1..2500),
            // All below zero: a weight is not its logit.
            prop::collection::vec(-12.0_f32..0.0, 1..20),
        ],
        seed in any::<u64>(),
    ) {
        let allowed = allowed(&sampling, &logits);
        let mut sampler = Sampler::new(&sampling, seed, &[], None);
        let mut scratch = Scratch::default();
        for _ in 0..20 {
            let token = sampler.choose(&logits, &mut scratch).expect("all logits are numbers");
            prop_assert!(allowed.contains(&token), "{} of {:?}", token, allowed.len());
        }
    }

    #[test]
    fn nothing_comes_that_the_grammar_forbids(
        sampling in limits(),
        logits in prop::collection::vec(prop_oneof![
            8 => -12.0_f32..12.0,
            1 => prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::MAX]),
        ], 300),
        seed in any::<u64>(),
    ) {
        let mut logits = logits;
        // Some allowed token must have a number.
        logits[usize::from(b'7')] = 0.0;
        static DIGITS: LazyLock<Mutex<Matcher>> = LazyLock::new(|| {
            let grammars = WordVocabulary::new(300).grammars();
            Mutex::new(grammars.compile(&Grammar::Regex("[0-9]{3}".into())).expect("a small regex"))
        });
        let digits = DIGITS.lock().expect("no clone panics").clone();
        let mut sampler = Sampler::new(&sampling, seed, &[], Some(digits));
        let mut scratch = Scratch::default();
        let first = sampler.choose(&logits, &mut scratch).expect("a digit");
        prop_assert!(WordVocabulary::new(300).bytes(first).iter().all(u8::is_ascii_digit), "{}", first);
    }
}
