//! How requests share an engine, and leave it.

use nabi_domain::Piece;
use nabi_tests::engine::{self, Engine, greedy};
use nabi_tests::programs::demo_model;
use nabi_wire::config::EngineConfig;
use nabi_wire::engine::{FinishReason, Generate, ToEngine};

use crate::{endless, text};

#[tokio::test]
async fn more_requests_than_slots_wait_and_all_end() {
    let (_engine, mut client) = Engine::ready(&engine::config(&demo_model())).await;
    let requests: Vec<_> = (1..=7).map(|tokens_max| greedy(text("One, two, three,"), tokens_max)).collect();
    let answers = client.answer_all(requests).await;
    for (tokens, answer) in (1..).zip(answers) {
        assert_eq!((answer.reason(), answer.token_ids().len()), (FinishReason::Length, tokens));
    }
    let stats = client.stats().await;
    assert_eq!((stats.running, stats.waiting, stats.kv_used_tokens), (0, 0, 0));
    assert_eq!(stats.completion_tokens, (1..=7).sum::<u64>());
    assert_eq!(stats.last_step_sequences.iter().max(), Some(&client.card.sequences_max));
}

#[tokio::test]
async fn requests_of_two_connections_share_a_step() {
    let (engine, mut one) = Engine::ready(&engine::config(&demo_model())).await;
    let mut other = engine.connect().await;
    let (of_one, of_other) = (one.start(endless()).await, other.start(endless()).await);
    let stats = one.stats_until("a step of both", |stats| stats.last_step_sequences.contains(&2)).await;
    assert_eq!(stats.running, 2);
    assert!(stats.kv_used_tokens > 0 && stats.kv_used_tokens <= stats.kv_tokens_max);
    for (client, id) in [(&mut one, of_one), (&mut other, of_other)] {
        client.send(ToEngine::Abort { id }).await;
        assert_eq!(client.end(id).await.reason(), FinishReason::Aborted);
    }
}

/// With one slot, the next request shows that the slot is free and that nothing is left in it.
#[tokio::test]
async fn an_aborted_answer_frees_its_slot_in_mid_prompt_and_in_mid_answer() {
    let config = EngineConfig { sequences_max: 1, context_tokens: 8192, ..engine::config(&demo_model()) };
    let (_engine, mut client) = Engine::ready(&config).await;
    let request = || greedy(text("One, two, three,"), 8);
    let expected = client.answer(request()).await.token_ids();

    let answering = client.start(endless()).await;
    client.next_delta(answering).await;
    client.send(ToEngine::Abort { id: answering }).await;
    let aborted = client.end(answering).await;
    assert_eq!(aborted.reason(), FinishReason::Aborted);
    assert_eq!(aborted.usage().completion_tokens as usize, aborted.token_ids().len());
    assert_eq!(client.stats().await.kv_used_tokens, 0);
    assert_eq!(client.answer(request()).await.token_ids(), expected);

    // Until an abort came before the first token: as a rule, the first one.
    let long = Generate { pieces: vec![Piece::Token(100); 4000], ..endless() };
    let mut in_mid_answer = true;
    while in_mid_answer {
        let prompting = client.start(long.clone()).await;
        client.stats_until("it runs", |stats| stats.running == 1).await;
        client.send(ToEngine::Abort { id: prompting }).await;
        let aborted = client.end(prompting).await;
        in_mid_answer = !aborted.token_ids().is_empty();
        assert_eq!(aborted.reason(), FinishReason::Aborted);
        assert_eq!(client.stats().await.kv_used_tokens, 0);
        assert_eq!(client.answer(request()).await.token_ids(), expected);
    }

    client.send(ToEngine::Abort { id: 1 << 40 }).await;
    assert_eq!(client.answer(request()).await.token_ids(), expected, "unknown ids are ignored");
}

#[tokio::test]
async fn a_request_that_waits_can_be_aborted() {
    let config = EngineConfig { sequences_max: 1, ..engine::config(&demo_model()) };
    let (_engine, mut client) = Engine::ready(&config).await;
    let running = client.start(endless()).await;
    client.next_delta(running).await;
    let waiting = client.start(endless()).await;
    client.stats_until("the second request waits", |stats| stats.waiting == 1).await;
    client.send(ToEngine::Abort { id: waiting }).await;
    let aborted = client.end(waiting).await;
    assert_eq!((aborted.reason(), aborted.token_ids().len()), (FinishReason::Aborted, 0));
    client.next_delta(running).await;
}

#[tokio::test]
async fn a_lost_connection_ends_all_its_requests_and_no_others() {
    let config = EngineConfig { sequences_max: 3, ..engine::config(&demo_model()) };
    let (engine, mut client) = Engine::ready(&config).await;
    let mut lost = engine.connect().await;
    let mine = client.start(endless()).await;
    client.next_delta(mine).await;
    for _ in 0..4 {
        lost.start(endless()).await;
    }
    client.stats_until("all slots are taken", |stats| stats.running == 3 && stats.waiting == 2).await;
    drop(lost);
    client.stats_until("the others are gone", |stats| stats.running == 1 && stats.waiting == 0).await;
    client.next_delta(mine).await;
}
