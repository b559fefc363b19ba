//! DeepSeek's architecture against the reference, as `tests/golden` has it.

use nabi_domain::Piece;
use nabi_makers::Kind;
use nabi_tests::engine::{self, Answer, Client, Engine, Golden, GoldenAnswer, Tiny, greedy};
use nabi_wire::config::EngineConfig;
use nabi_wire::engine::{FinishReason, Generate, Sampling, ToEngine};

/// Between a token's log-probability here and in the reference. The kernels of different CPUs round
/// differently; 3e-5 was measured.
const LOGPROB_DISTANCE_MAX: f32 = 1e-3;
/// Fewer than the prompts, so that sequences join and leave while others run.
const SEQUENCES_MAX: u32 = 4;
/// The layers of the tiny DeepSeek-V3.
const V3_LAYERS: usize = 4;

fn config(model: &Tiny) -> EngineConfig {
    EngineConfig { sequences_max: SEQUENCES_MAX, ..engine::exact(&model.path()) }
}

fn golden(kind: Kind) -> Vec<GoldenAnswer> {
    let Golden { answers } = engine::golden(&format!("{}.json", kind.name()));
    assert!(answers.len() >= 8);
    answers
}

/// The prompt as text, behind the token that begins a sequence.
async fn request(client: &mut Client, row: &GoldenAnswer) -> Generate {
    let literal = &client.card.template.as_ref().expect("the file has one").bos_token;
    let bos = client.card.added_tokens.iter().find(|token| token.literal == *literal);
    let bos = Piece::Token(bos.expect("it is a token").id);
    let pieces = vec![bos, Piece::Text(row.prompt.clone())];
    assert_eq!(client.tokenize(pieces.clone()).await, row.prompt_ids, "{}", row.name);
    Generate { logprobs: Some(0), ..greedy(pieces, row.token_ids.len() as u32) }
}

/// The distance of log-probabilities, where the tokens are the same.
fn compare(row: &GoldenAnswer, answer: &Answer) -> f32 {
    assert_eq!(answer.token_ids(), row.token_ids, "{}", row.name);
    assert_eq!(answer.reason(), FinishReason::Length, "{}", row.name);
    let logprobs = answer.logprobs();
    assert_eq!(logprobs.len(), row.logprobs.len(), "{}", row.name);
    logprobs.iter().zip(&row.logprobs).map(|(ours, theirs)| (ours - theirs).abs()).fold(0.0, f32::max)
}

async fn answers_are_those_of_the_reference(kind: Kind) {
    let model = Tiny::make(kind, None);
    let (_engine, mut client) = Engine::ready(&config(&model)).await;
    let golden = golden(kind);

    let (mut alone, mut requests) = (0.0, Vec::new());
    for row in &golden {
        let request = request(&mut client, row).await;
        alone = compare(row, &client.answer(request.clone()).await).max(alone);
        requests.push(request);
    }
    assert!(client.stats().await.last_step_sequences.iter().all(|&sequences| sequences == 1));

    let together = client.answer_all(requests).await;
    let together = golden.iter().zip(&together).map(|(row, answer)| compare(row, answer)).fold(0.0, f32::max);
    let shared = client.stats().await.last_step_sequences;
    assert!(shared.contains(&SEQUENCES_MAX), "{shared:?}");

    println!("{}: distance of log-probabilities {alone:.1e} alone, {together:.1e} together", kind.name());
    assert!(alone < LOGPROB_DISTANCE_MAX && together < LOGPROB_DISTANCE_MAX, "{alone:e}, {together:e}");
}

#[tokio::test]
async fn deepseek_v3_answers_as_the_reference_alone_and_together() {
    answers_are_those_of_the_reference(Kind::DeepseekV3).await;
}

#[tokio::test]
async fn deepseek_v2_answers_as_the_reference_alone_and_together() {
    answers_are_those_of_the_reference(Kind::DeepseekV2).await;
}

#[tokio::test]
async fn deepseek_v2_lite_answers_as_the_reference_alone_and_together() {
    answers_are_those_of_the_reference(Kind::DeepseekV2Lite).await;
}

/// Prompts and answers of all lengths, that come and go in no order, beside others that are drawn at
/// random or aborted: each greedy answer is the reference's.
async fn answers_do_not_depend_on_their_neighbours(kind: Kind) {
    let model = Tiny::make(kind, None);
    let (_engine, mut client) =
        Engine::ready(&EngineConfig { sequences_max: 16, queue_requests_max: 128, ..config(&model) }).await;
    let golden = golden(kind);
    let (mut greedy, mut others) = (Vec::new(), Vec::new());
    for (round, row) in golden.iter().cycle().take(40).enumerate() {
        let request = request(&mut client, row).await;
        let tokens_max = 1 + (round as u32 * 7) % row.token_ids.len() as u32;
        greedy.push((row, client.start(Generate { tokens_max: Some(tokens_max), ..request.clone() }).await));
        if round % 3 == 0 {
            let sampling = Sampling { seed: Some(round as u64), ..Sampling::default() };
            let pieces = vec![request.pieces.clone(); 1 + round % 4].concat();
            let noise = Generate { pieces, sampling, tokens_max: Some(60), ..request };
            others.push(client.start(noise).await);
        }
        if round % 5 == 4 {
            client.send(ToEngine::Abort { id: others[others.len() - 1] }).await;
        }
    }
    for (row, id) in greedy {
        let ids = client.end(id).await.token_ids();
        assert_eq!(ids, row.token_ids[..ids.len()], "{}", row.name);
        assert!(!ids.is_empty());
    }
    for id in others {
        client.end(id).await;
    }
    let shared = client.stats().await.last_step_sequences;
    assert!(shared.iter().any(|&sequences| sequences >= 8), "{shared:?}");
}

#[tokio::test]
async fn sixteen_mixed_requests_of_deepseek_v3_join_and_leave() {
    answers_do_not_depend_on_their_neighbours(Kind::DeepseekV3).await;
}

#[tokio::test]
async fn sixteen_mixed_requests_of_deepseek_v2_lite_join_and_leave() {
    answers_do_not_depend_on_their_neighbours(Kind::DeepseekV2Lite).await;
}

/// The vectors would notice an error in any layer.
#[tokio::test]
async fn noise_in_any_one_layer_of_deepseek_v3_changes_every_answer() {
    for layer in 0..V3_LAYERS {
        let model = Tiny::make(Kind::DeepseekV3, Some(layer));
        let (_engine, mut client) = Engine::ready(&config(&model)).await;
        for row in golden(Kind::DeepseekV3) {
            let request = request(&mut client, &row).await;
            let answer = client.answer(request).await;
            assert_ne!(answer.token_ids(), row.token_ids, "layer {layer}, {}", row.name);
        }
    }
}
