//! How tokens are chosen, and where answers end.

use nabi_domain::Piece;
use nabi_prompt::{Chat, Template};
use nabi_tests::engine::{self, Client, Engine, Spelling, delta_text, greedy};
use nabi_tests::programs::demo_model;
use nabi_wire::engine::{FinishReason, Generate, Sampling};
use serde_json::json;

use crate::{endless, text};

const STORY: &str = "Once upon a time, in a small village by the sea,";

async fn demo() -> (Engine, Client) {
    Engine::ready(&engine::config(&demo_model())).await
}

fn sampled(seed: u64) -> Generate {
    let sampling = Sampling { seed: Some(seed), ..Sampling::default() };
    Generate { sampling, logprobs: Some(0), ..greedy(text(STORY), 24) }
}

#[tokio::test]
async fn the_likeliest_tokens_are_always_the_same() {
    let (_engine, mut client) = demo().await;
    let request = Generate { logprobs: Some(0), ..greedy(text(STORY), 24) };
    let (first, second) = (client.answer(request.clone()).await, client.answer(request).await);
    assert_eq!(first.token_ids(), second.token_ids());
    assert_eq!(first.logprobs(), second.logprobs());
}

#[tokio::test]
async fn a_seed_gives_the_same_text_twice_and_others_give_others() {
    let (_engine, mut client) = demo().await;
    let (first, again) = (client.answer(sampled(7)).await, client.answer(sampled(7)).await);
    assert_eq!(first.token_ids().len(), 24);
    assert_eq!((first.token_ids(), first.logprobs()), (again.token_ids(), again.logprobs()));
    assert_ne!(first.token_ids(), client.answer(sampled(8)).await.token_ids());

    let unseeded = || Generate { sampling: Sampling::default(), ..sampled(0) };
    let (one, other) = (client.answer(unseeded()).await, client.answer(unseeded()).await);
    assert_ne!(one.token_ids(), other.token_ids(), "without a seed, each request has its own");
}

/// Each of these leaves only the likeliest token, whatever the draw.
#[tokio::test]
async fn each_filter_can_leave_the_likeliest_token_alone() {
    let (_engine, mut client) = demo().await;
    let expected = client.answer(greedy(text(STORY), 24)).await.token_ids();
    let hot = Sampling { temperature: 2.0, seed: Some(3), ..Sampling::default() };
    let request = |sampling| Generate { sampling, ..greedy(text(STORY), 24) };
    assert_ne!(client.answer(request(hot.clone())).await.token_ids(), expected);
    for filter in [
        Sampling { top_k: 1, ..hot.clone() },
        Sampling { top_p: f32::MIN_POSITIVE, ..hot.clone() },
        Sampling { min_p: 1.0, ..hot.clone() },
        Sampling { temperature: 1e-6, ..hot },
    ] {
        assert_eq!(client.answer(request(filter.clone())).await.token_ids(), expected, "{filter:?}");
    }
}

#[tokio::test]
async fn an_answer_ends_after_its_tokens_and_counts_them() {
    let (_engine, mut client) = demo().await;
    let prompt_tokens = client.tokenize(text(STORY)).await.len();
    for tokens_max in [1, 2, 17] {
        let answer = client.answer(greedy(text(STORY), tokens_max)).await;
        assert_eq!(answer.reason(), FinishReason::Length);
        assert_eq!(answer.token_ids().len(), tokens_max as usize);
        assert_eq!(answer.usage().completion_tokens, tokens_max);
        assert_eq!(answer.usage().prompt_tokens as usize, prompt_tokens);
        assert!(answer.logprobs().is_empty(), "they were not asked for");
    }
}

#[tokio::test]
async fn an_answer_ends_at_the_end_of_the_context() {
    let (_engine, mut client) = demo().await;
    let answer = client.answer(endless()).await;
    let usage = answer.usage();
    assert_eq!(answer.reason(), FinishReason::Length);
    assert_eq!(usage.prompt_tokens + usage.completion_tokens, client.card.context_tokens);
}

#[tokio::test]
async fn an_answer_ends_at_the_end_token_which_is_not_shown() {
    let (_engine, mut client) = demo().await;
    let template = client.card.template.as_ref().expect("a chat model has one");
    let template = Template::compile(template, &client.card.added_tokens).expect("a good template");
    let messages = vec![json!({ "role": "user", "content": "What is 2 + 2? Answer with one number." })];
    let chat = Chat { messages, add_generation_prompt: true, ..Chat::default() };
    let answer = client.answer(greedy(template.render(&chat).expect("a good chat"), 200)).await;
    assert_eq!(answer.reason(), FinishReason::Stop);
    let ids = answer.token_ids();
    assert_eq!(answer.usage().completion_tokens as usize, ids.len());
    let is_added = |id: &u32| client.card.added_tokens.iter().any(|token| token.id == *id);
    assert_eq!(ids.iter().position(is_added), Some(ids.len() - 1), "the end token is told: {answer:?}");
    assert!(
        answer.deltas.iter().flat_map(|delta| &delta.pieces).all(|piece| matches!(piece, Piece::Text(_)))
    );
}

/// A stop string of the last letter of one token and the first of the next, for each such border.
#[tokio::test]
async fn stop_strings_are_found_over_the_borders_of_tokens_and_never_shown() {
    let (_engine, mut client) = demo().await;
    let whole = client.answer(greedy(text(STORY), 12)).await;
    let text_of_all = whole.text();
    assert_eq!(text_of_all, Spelling::read(&demo_model()).text(&whole.token_ids()));
    for pair in whole.deltas.windows(2) {
        let last = delta_text(&pair[0]).chars().next_back().expect("a token of letters");
        let stop: String = [last].into_iter().chain(delta_text(&pair[1]).chars().take(2)).collect();
        let request = Generate { stop: vec!["never".into(), stop.clone()], ..greedy(text(STORY), 12) };
        let answer = client.answer(request).await;
        let before = text_of_all.split(&stop).next().expect("split gives at least one part");
        assert_eq!((answer.text().as_str(), answer.reason()), (before, FinishReason::Stop), "{stop:?}");
    }
}
