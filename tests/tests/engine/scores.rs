//! Log-probabilities of answers and prompts.

use nabi_makers::Kind;
use nabi_tests::engine::{self, Client, Engine, Spelling, Tiny, greedy};
use nabi_tests::programs::demo_model;
use nabi_wire::config::EngineConfig;
use nabi_wire::engine::{FinishReason, Generate, ScoredToken};

use crate::text;

/// Between a token's log-probability in steps of different sizes, in 32 bits.
const LOGPROB_DISTANCE_MAX: f32 = 1e-3;
const STORY: &str = "Once upon a time, in a small village by the sea, there lived";

async fn demo() -> (Engine, Client) {
    let config = EngineConfig { context_tokens: 2048, ..engine::config(&demo_model()) };
    Engine::ready(&config).await
}

fn check_top(token: &ScoredToken, top: usize) {
    assert_eq!(token.top.len(), top, "{token:?}");
    assert!(token.top.windows(2).all(|pair| pair[0].1 >= pair[1].1), "likeliest first: {token:?}");
    let own = token.logprob.expect("a log-probability");
    assert!(own <= 0.0);
    if let Some((_, logprob)) = token.top.iter().find(|(text, _)| text.token == token.text.token) {
        assert_eq!(*logprob, own);
    }
    let sum: f32 = token.top.iter().map(|(_, logprob)| logprob.exp()).sum();
    assert!(sum <= 1.0 + 1e-4, "{sum}");
}

#[tokio::test]
async fn each_token_of_an_answer_comes_with_the_likeliest_ones() {
    let (_engine, mut client) = demo().await;
    let answer = client.answer(Generate { logprobs: Some(5), ..greedy(text(STORY), 12) }).await;
    let spelling = Spelling::read(&demo_model());
    let tokens: Vec<_> = answer.deltas.iter().flat_map(|delta| &delta.logprobs).collect();
    assert_eq!(tokens.len(), 12);
    for token in tokens {
        check_top(token, 5);
        assert_eq!(token.top[0].0, token.text, "greedy takes the likeliest");
        assert_eq!(String::from_utf8_lossy(&token.text.bytes), spelling.text(&[token.text.token]));
    }
}

/// A prompt's scores are those that an answer with the same tokens had. In 32 bits: with quantised
/// weights, steps of other sizes round so differently that distances of 0.15 were seen.
#[tokio::test]
async fn a_prompt_is_scored_as_the_answer_was() {
    let model = Tiny::make(Kind::DeepseekV3, None);
    let (_engine, mut client) = Engine::ready(&engine::exact(&model.path())).await;
    let prompt_ids = client.tokenize(text(STORY)).await;
    let answer = client.answer(Generate { logprobs: Some(2), ..greedy(text(STORY), 80) }).await;
    let all: Vec<u32> = prompt_ids.iter().copied().chain(answer.token_ids()).collect();
    let pieces = all.iter().map(|&id| nabi_domain::Piece::Token(id)).collect();
    let request = Generate { prompt_logprobs: Some(2), tokens_max: Some(0), ..greedy(pieces, 1) };
    let scored = client.answer(request).await;
    assert_eq!(scored.reason(), FinishReason::Length);
    assert_eq!(scored.usage().completion_tokens, 0);
    assert!(scored.token_ids().is_empty());
    assert_eq!(scored.prompt.iter().map(|token| token.text.token).collect::<Vec<_>>(), all);
    assert_eq!((scored.prompt[0].logprob, scored.prompt[0].top.len()), (None, 0));
    scored.prompt[1..].iter().for_each(|token| check_top(token, 2));
    let of_answer = &scored.prompt[prompt_ids.len()..];
    for (token, logprob) in of_answer.iter().zip(answer.logprobs()) {
        let scored = token.logprob.expect("a log-probability");
        assert!((scored - logprob).abs() < LOGPROB_DISTANCE_MAX, "{scored} and {logprob}");
    }
}

/// Beside running answers, in chunks, over and over: the same numbers, whatever was computed before.
#[tokio::test]
async fn a_prompt_is_scored_whole_though_its_prefix_was_computed_before() {
    let (_engine, mut client) = demo().await;
    let request = || Generate { prompt_logprobs: Some(0), ..greedy(text(&STORY.repeat(20)), 3) };
    let first = client.answer(request()).await;
    let again = client.answer(request()).await;
    assert_eq!(first.prompt.len(), first.usage().prompt_tokens as usize);
    assert_eq!(first.prompt, again.prompt);
    assert_eq!(first.token_ids(), again.token_ids());
    assert_eq!(again.usage().cached_tokens, 0);
}
