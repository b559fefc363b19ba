//! How requests share an engine: choices, credit, time limits, and fair shares of flows.

use nabi_makers::Kind;
use nabi_tests::engine::{self, Client, Engine, Tiny, greedy};
use nabi_tests::programs::demo_model;
use nabi_wire::config::EngineConfig;
use nabi_wire::engine::{FinishReason, Generate, Refusal, Sampling, Share, ToEngine};

use crate::{endless, text};

const STORY: &str = "Once upon a time, in a small village by the sea,";

async fn with_sequences(sequences_max: u32) -> (Engine, Client) {
    let config = EngineConfig { sequences_max, context_tokens: 2048, ..engine::config(&demo_model()) };
    Engine::ready(&config).await
}

#[tokio::test]
async fn choices_share_one_prompt_and_draw_each_for_itself() {
    // In 32 bits, so that a draw does not depend on how a step's size rounds.
    let model = Tiny::make(Kind::DeepseekV3, None);
    let (_engine, mut client) =
        Engine::ready(&EngineConfig { sequences_max: 4, ..engine::exact(&model.path()) }).await;
    let pieces = text(&STORY.repeat(10));
    let sampling = Sampling { seed: Some(11), ..Sampling::default() };
    let request = Generate { choices: 4, sampling: sampling.clone(), ..greedy(pieces.clone(), 16) };
    let answer = client.answer(request).await;
    let choices: Vec<_> = (0..4).map(|choice| answer.choice(choice).token_ids()).collect();
    assert!(choices.iter().all(|ids| ids.len() == 16), "{choices:?}");
    assert!((1..4).all(|choice| choices[choice] != choices[0]), "{choices:?}");
    let usage = answer.usage();
    let prompt_tokens = client.tokenize(pieces.clone()).await.len() as u32;
    assert_eq!((usage.prompt_tokens, usage.completion_tokens), (prompt_tokens, 4 * 16));
    let stats = client.stats().await;
    assert!(stats.prompt_tokens < u64::from(prompt_tokens) + 16, "{stats:?}: the prompt is computed once");

    // Choice `i` is what a single answer with the seed `seed + i` is.
    for (choice, expected) in (0..).zip(choices) {
        let sampling = Sampling { seed: Some(11 + choice), ..sampling.clone() };
        let alone = client.answer(Generate { sampling, ..greedy(pieces.clone(), 16) }).await;
        assert_eq!(alone.token_ids(), expected, "choice {choice}");
    }
    let greedy = client.answer(Generate { choices: 2, ..greedy(pieces, 8) }).await;
    assert_eq!(greedy.choice(0).token_ids(), greedy.choice(1).token_ids());
}

#[tokio::test]
async fn more_choices_than_slots_all_end() {
    let (_engine, mut client) = with_sequences(2).await;
    let answer = client.answer(Generate { choices: 7, ..greedy(text(STORY), 5) }).await;
    for choice in 0..7 {
        assert_eq!(answer.choice(choice).token_ids().len(), 5);
        assert_eq!(answer.choice(choice).reason(), FinishReason::Length);
    }
}

#[tokio::test]
async fn a_stream_goes_as_far_as_its_credit_and_holds_up_nobody() {
    let (_engine, mut client) = with_sequences(1).await;
    let expected = client.answer(greedy(text(STORY), 40)).await.token_ids();
    let slow = client.start(Generate { credit_tokens: 3, ..greedy(text(STORY), 40) }).await;
    for _ in 0..3 {
        client.next_delta(slow).await;
    }
    // The only slot is the slow one's, until somebody else wants it.
    for _ in 0..3 {
        assert_eq!(client.answer(greedy(text(STORY), 40)).await.token_ids(), expected);
    }
    client.send(ToEngine::Credit { id: slow, tokens: 5 }).await;
    for _ in 0..5 {
        client.next_delta(slow).await;
    }
    client.stats_until("it is out of its credit", |stats| stats.running == 1).await;
    client.send(ToEngine::Credit { id: slow, tokens: u32::MAX }).await;
    assert_eq!(client.end(slow).await.token_ids(), expected, "as if it had never waited");
    assert!(client.stats().await.preemptions >= 1);
}

#[tokio::test]
async fn credit_counts_the_tokens_of_all_choices() {
    let (_engine, mut client) = with_sequences(4).await;
    let id = client.start(Generate { choices: 3, credit_tokens: 7, ..greedy(text(STORY), 20) }).await;
    for _ in 0..7 {
        client.next_delta(id).await;
    }
    // What would be sent too much comes before this answer.
    client.answer(greedy(text(STORY), 8)).await;
    client.send(ToEngine::Abort { id }).await;
    let aborted = client.end(id).await;
    assert_eq!(aborted.token_ids().len(), 7);
    assert_eq!(aborted.usage().completion_tokens, 7);
}

#[tokio::test]
async fn time_limits_end_what_waits_and_what_runs() {
    let (_engine, mut client) = with_sequences(1).await;
    let running = client.start(endless()).await;
    client.next_delta(running).await;
    let limited = |queue_ms_max, total_ms_max| Share { queue_ms_max, total_ms_max, ..Share::default() };
    let request = |share| Generate { share, ..endless() };
    let refused = client.answer(request(limited(Some(1), None))).await.refusal();
    assert_eq!(refused, Refusal::QueueTimeOver { queue_ms_max: 1 });
    let refused = client.answer(request(limited(None, Some(1)))).await.refusal();
    assert_eq!(refused, Refusal::TimeOver { total_ms_max: 1 });
    client.send(ToEngine::Abort { id: running }).await;
    assert_eq!(client.end(running).await.reason(), FinishReason::Aborted);

    // Silent for want of credit, but not for ever.
    let share = limited(Some(60_000), Some(300));
    let silent = client.answer(Generate { share, credit_tokens: 2, ..endless() }).await;
    match silent.end {
        Some(engine::End::Finish(_)) => assert_eq!(silent.reason(), FinishReason::TimeOver),
        _ => assert_eq!(silent.refusal(), Refusal::TimeOver { total_ms_max: 300 }),
    }
    assert_eq!(client.answer(greedy(text(STORY), 2)).await.reason(), FinishReason::Length);
}

/// One flow has taken all slots with answers that do not end: another one's request is served.
#[tokio::test]
async fn a_flow_that_takes_everything_gives_way_to_another() {
    let (_engine, mut client) = with_sequences(2).await;
    let of_flow = |flow| Share { flow, ..Share::default() };
    let expected = client.answer(greedy(text(STORY), 30)).await.token_ids();
    let greedy_flow = || Generate { share: of_flow(1), ..endless() };
    let mut running = Vec::new();
    for _ in 0..4 {
        running.push(client.start(greedy_flow()).await);
    }
    let other = Generate { share: of_flow(2), ..greedy(text(STORY), 30) };
    assert_eq!(client.answer(other).await.token_ids(), expected);
    let stats = client.stats().await;
    assert_eq!(stats.running + stats.waiting, 4, "the others still run or wait");
    for id in running {
        client.send(ToEngine::Abort { id }).await;
        assert_eq!(client.end(id).await.reason(), FinishReason::Aborted);
    }
}

/// Taken out of its slot and placed again, an answer goes on as if nothing had been.
#[tokio::test]
async fn answers_that_gave_way_are_the_same_as_those_that_did_not() {
    let (_engine, mut client) = with_sequences(1).await;
    let sampling = Sampling { seed: Some(5), frequency_penalty: 0.5, ..Sampling::default() };
    let long = |flow| Generate {
        share: Share { flow, ..Share::default() },
        sampling: sampling.clone(),
        ..greedy(text(STORY), 700)
    };
    let expected = client.answer(long(1)).await;
    let answers = client.answer_all(vec![long(1), long(2)]).await;
    assert!(client.stats().await.preemptions > 0);
    for answer in answers {
        assert_eq!(answer.token_ids(), expected.token_ids());
        assert_eq!(answer.text(), expected.text());
    }
}
