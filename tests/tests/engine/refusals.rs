//! What an engine does not take: each request gets its reason, and the next one works.

use futures_util::{SinkExt as _, StreamExt as _};
use nabi_domain::Piece;
use nabi_tests::engine::{self, Client, Engine, greedy, within_deadline};
use nabi_tests::programs::demo_model;
use nabi_wire::engine::{
    ENGINE_WIRE_VERSION, FinishReason, FromEngine, Generate, Greeting, Refusal, STOP_STRING_BYTES_MAX,
    STOP_STRINGS_MAX, Sampling, ToEngine,
};
use nabi_wire::frame;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use crate::{endless, text};

async fn demo() -> (Engine, Client) {
    Engine::ready(&engine::config(&demo_model())).await
}

async fn refusal(client: &mut Client, request: Generate) -> Refusal {
    let refusal = client.answer(request).await.refusal();
    let next = client.answer(greedy(text("One, two,"), 2)).await;
    assert_eq!(next.reason(), FinishReason::Length, "the next request works");
    refusal
}

#[tokio::test]
async fn numbers_out_of_their_range() {
    let (_engine, mut client) = demo().await;
    let sampling = Sampling::default;
    let bad_sampling = [
        ("temperature", Sampling { temperature: -0.1, ..sampling() }),
        ("temperature", Sampling { temperature: f32::NAN, ..sampling() }),
        ("temperature", Sampling { temperature: f32::INFINITY, ..sampling() }),
        ("top_p", Sampling { top_p: 0.0, ..sampling() }),
        ("top_p", Sampling { top_p: 1.1, ..sampling() }),
        ("top_p", Sampling { top_p: f32::NAN, ..sampling() }),
        ("min_p", Sampling { min_p: -0.1, ..sampling() }),
        ("min_p", Sampling { min_p: 1.1, ..sampling() }),
        ("min_p", Sampling { min_p: f32::NAN, ..sampling() }),
    ];
    let good = || greedy(text("Hello"), 4);
    let bad_sampling = bad_sampling.map(|(field, sampling)| (field, Generate { sampling, ..good() }));
    let bad_ends = [
        ("tokens_max", Generate { tokens_max: Some(0), ..good() }),
        ("stop", Generate { stop: vec!["x".into(); STOP_STRINGS_MAX + 1], ..good() }),
        ("stop", Generate { stop: vec!["x".repeat(STOP_STRING_BYTES_MAX + 1)], ..good() }),
    ];
    for (name, request) in bad_sampling.into_iter().chain(bad_ends) {
        let shown = format!("{request:?}");
        match refusal(&mut client, request).await {
            Refusal::OutOfRange { field, .. } => assert_eq!(field, name, "{shown}"),
            other => panic!("{other:?} for {shown}"),
        }
    }
    let limits = Generate { stop: vec!["x".repeat(STOP_STRING_BYTES_MAX); STOP_STRINGS_MAX], ..good() };
    assert_eq!(client.answer(limits).await.reason(), FinishReason::Length, "the limits themselves are fine");
}

#[tokio::test]
async fn prompts_that_cannot_be_continued() {
    let (_engine, mut client) = demo().await;
    let (context_tokens, vocabulary_tokens) = (client.card.context_tokens, client.card.vocabulary_tokens);
    let request = |pieces| greedy(pieces, 1);

    for empty in [vec![], text("")] {
        assert_eq!(refusal(&mut client, request(empty)).await, Refusal::PromptEmpty);
    }
    for token_id in [vocabulary_tokens, u32::MAX] {
        let unknown = Refusal::TokenUnknown { token_id, vocabulary_tokens };
        let pieces = vec![Piece::Text("Hello".into()), Piece::Token(token_id)];
        assert_eq!(refusal(&mut client, request(pieces)).await, unknown);
    }
    for prompt_tokens in [context_tokens, context_tokens + 1, 4 * context_tokens] {
        let too_long = Refusal::PromptTooLong { prompt_tokens, context_tokens };
        let message = too_long.to_string();
        assert!(
            message.contains(&prompt_tokens.to_string()) && message.contains(&context_tokens.to_string())
        );
        let pieces = vec![Piece::Token(100); prompt_tokens as usize];
        assert_eq!(refusal(&mut client, request(pieces)).await, too_long);
    }
    let longest = vec![Piece::Token(100); context_tokens as usize - 1];
    let answer = client.answer(greedy(longest, 10)).await;
    assert_eq!((answer.reason(), answer.token_ids().len()), (FinishReason::Length, 1), "one token has room");
}

#[tokio::test]
async fn more_requests_than_may_wait() {
    let config = nabi_wire::config::EngineConfig {
        sequences_max: 1,
        queue_requests_max: 1,
        ..engine::config(&demo_model())
    };
    let (_engine, mut client) = Engine::ready(&config).await;
    let running = client.start(endless()).await;
    client.next_delta(running).await;
    let waiting = client.start(greedy(text("Hello"), 3)).await;
    client.stats_until("the second request waits", |stats| stats.waiting == 1).await;

    let third = client.answer(greedy(text("Hello"), 3)).await;
    assert_eq!(third.refusal(), Refusal::QueueFull { queue_requests_max: 1 });

    client.send(ToEngine::Abort { id: running }).await;
    assert_eq!(client.end(running).await.reason(), FinishReason::Aborted);
    assert_eq!(client.end(waiting).await.reason(), FinishReason::Length);
}

/// What the engine says on a connection until it closes it.
async fn heard(stream: UnixStream, frames: Vec<ToEngine>) -> Vec<FromEngine> {
    let (read, write) = stream.into_split();
    let (mut from_engine, mut to_engine) = (frame::reader::<_, FromEngine>(read), frame::writer(write));
    for frame in frames {
        to_engine.send(frame).await.expect("the engine reads");
    }
    within_deadline("the engine closes the connection", async {
        let mut heard = Vec::new();
        while let Some(Ok(frame)) = from_engine.next().await {
            heard.push(frame);
        }
        heard
    })
    .await
}

#[tokio::test]
async fn clients_of_another_version_or_without_manners() {
    let (engine, mut client) = demo().await;
    let greeting = |magic, version| ToEngine::Greeting(Greeting { magic, version });
    for stranger in [
        greeting(*b"NABI", ENGINE_WIRE_VERSION + 1),
        greeting(*b"HTTP", ENGINE_WIRE_VERSION),
        ToEngine::Stats { id: 1 },
    ] {
        let heard = heard(engine.stream().await, vec![stranger]).await;
        assert_eq!(heard, [FromEngine::Greeting(Greeting::OURS)], "no card, no answer");
    }

    let ours = || ToEngine::Greeting(Greeting::OURS);
    let twice = heard(engine.stream().await, vec![ours(), ours()]).await;
    assert!(matches!(twice[..], [FromEngine::Greeting(_), FromEngine::Ready(_)]), "{twice:?}");

    let same_id = || ToEngine::Generate(Box::new(endless()));
    heard(engine.stream().await, vec![ours(), same_id(), same_id()]).await;
    client.stats_until("its request is over too", |stats| stats.running == 0 && stats.waiting == 0).await;

    let mut garbage = engine.stream().await;
    garbage.write_all(&[0xFF; 64]).await.expect("the engine reads");
    assert_eq!(heard(garbage, Vec::new()).await, [FromEngine::Greeting(Greeting::OURS)]);

    assert_eq!(client.answer(greedy(text("Hello"), 2)).await.reason(), FinishReason::Length);
}
