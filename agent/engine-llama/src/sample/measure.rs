//! What a choice costs: `cargo test --release -p nabi-engine-llama -- --ignored --nocapture cost`.

use std::hint::black_box;
use std::time::Instant;

use nabi_wire::engine::{Grammar, Sampling};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::{Sampler, Scratch, score};
use crate::grammar::tests::WordVocabulary;

const ROUNDS: u32 = 200;

/// As a model gives them: nearly normal, with a few tokens that stand out and 99 % of the mass.
fn logits(tokens: usize) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut uniform = || (random.next_u32() >> 8) as f32 / (1_u32 << 24) as f32;
    let mut logits: Vec<f32> =
        (0..tokens).map(|_| (0..6).map(|_| uniform() - 0.5).sum::<f32>() * 2.8).collect();
    for (token, above) in (0..tokens).step_by(tokens / 8).zip(0_u8..) {
        logits[token] = 18.0 - f32::from(above);
    }
    logits
}

/// The median: other programs interrupt some rounds.
fn print(what: &str, tokens: usize, mut once: impl FnMut()) {
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| micros(&mut once)).collect();
    rounds.sort_by(f64::total_cmp);
    println!("{tokens:>7} tokens  {what:<34} {:>8.1} µs", rounds[rounds.len() / 2]);
}

fn micros(once: impl FnOnce()) -> f64 {
    let start = Instant::now();
    once();
    start.elapsed().as_secs_f64() * 1e6
}

#[test]
#[ignore = "prints figures"]
fn cost_of_a_choice() {
    let prompt: Vec<u32> = (0..4000).map(|at| at * 7 % 5000).collect();
    let base = Sampling { seed: Some(1), ..Sampling::default() };
    let cases = [
        ("greedy", Sampling { temperature: 0.0, ..base.clone() }),
        ("temperature 1", base.clone()),
        ("top_p 0.95", Sampling { top_p: 0.95, ..base.clone() }),
        ("top_p 0.95 at temperature 3", Sampling { temperature: 3.0, top_p: 0.95, ..base.clone() }),
        ("top_k 40", Sampling { top_k: 40, ..base.clone() }),
        ("top_k 40, top_p 0.95", Sampling { top_k: 40, top_p: 0.95, ..base.clone() }),
        ("min_p 0.05", Sampling { min_p: 0.05, ..base.clone() }),
        ("greedy, repetition 1.1", Sampling { temperature: 0.0, repetition_penalty: 1.1, ..base.clone() }),
        ("presence, frequency, repetition", {
            Sampling { presence_penalty: 0.5, frequency_penalty: 0.5, repetition_penalty: 1.1, ..base }
        }),
    ];
    for tokens in [49_152, 129_280] {
        let logits = logits(tokens);
        let mut scratch = Scratch::default();
        for (what, sampling) in &cases {
            let mut sampler = Sampler::new(sampling, 1, &prompt, None);
            print(what, tokens, || {
                let _ = black_box(sampler.choose(&logits, &mut scratch));
            });
        }
        print("score, 20 likeliest", tokens, || drop(black_box(score(&logits, 7, 20))));
    }
}

#[test]
#[ignore = "prints figures"]
fn cost_of_grammars() {
    for tokens in [49_152, 129_280] {
        let vocabulary = WordVocabulary::new(tokens);
        let start = Instant::now();
        let grammars = vocabulary.grammars();
        println!("{tokens:>7} tokens  vocabulary prepared in {:?}", start.elapsed());
        let logits = logits(tokens);
        let mut scratch = Scratch::default();
        for (what, grammar) in typical() {
            let start = Instant::now();
            let matcher = grammars.compile(&grammar).expect("a grammar that is allowed");
            println!("{tokens:>7} tokens  {what:<34} compiled in {:?}", start.elapsed());
            let sampling = Sampling::default();
            print(&format!("{what}, clone"), tokens, || drop(black_box(matcher.clone())));
            let mut choices = Vec::new();
            for seed in 0..20 {
                let mut sampler = Sampler::new(&sampling, seed, &[], Some(matcher.clone()));
                let mut ended = false;
                while !ended && choices.len() < (seed as usize + 1) * 64 {
                    choices.push(micros(|| {
                        let token = sampler.choose(&logits, &mut scratch).expect("a token");
                        ended = vocabulary.ends(token);
                    }));
                }
            }
            choices.sort_by(f64::total_cmp);
            let at = |part: usize| choices[(choices.len() - 1) * part / 100];
            println!(
                "{tokens:>7} tokens  {what:<34} {:>8.1} µs, one of 100 {:.0} µs, of {} choices",
                at(50),
                at(99),
                choices.len(),
            );
        }
    }
}

fn typical() -> [(&'static str, Grammar); 6] {
    let person = r#"{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer",
        "minimum":0,"maximum":150},"tags":{"type":"array","items":{"enum":["a","b","c"]},"maxItems":5},
        "home":{"type":"object","properties":{"street":{"type":"string","maxLength":80},"zip":{"type":
        "string","pattern":"^[0-9]{5}$"}},"required":["street","zip"],"additionalProperties":false}},
        "required":["name","age","tags","home"],"additionalProperties":false}"#;
    let properties: Vec<String> =
        (0..200).map(|at| format!(r#""field_{at}":{{"type":["string","null"]}}"#)).collect();
    let wide = format!(r#"{{"type":"object","properties":{{{}}}}}"#, properties.join(","));
    [
        ("any JSON object", Grammar::JsonObject),
        ("JSON schema of a person", Grammar::JsonSchema(person.into())),
        ("JSON schema of 200 fields", Grammar::JsonSchema(wide)),
        ("JSON string", Grammar::JsonSchema(r#"{"type":"string"}"#.into())),
        ("regex of a date", Grammar::Regex(r"[0-9]{4}-[01][0-9]-[0-3][0-9]".into())),
        ("Lark arithmetic", {
            Grammar::Lark("start: term (\"+\" term)*\nterm: /[0-9]+/ | \"(\" start \")\"".into())
        }),
    ]
}
