//! Models that give vectors, against the reference and among other texts; and what models that do
//! not say to those who want some.

use nabi_domain::Piece;
use nabi_makers::StandaloneKind::{self, BertFirst, BertMean, Qwen3Embedding};
use nabi_tests::engine::{self, Client, Engine, GoldenVector, GoldenVectors, Tiny, greedy};
use nabi_tests::programs::demo_model;
use nabi_wire::config::EngineConfig;
use nabi_wire::engine::Refusal;

use crate::text;

/// As long as the tiny encoder has positions.
const ENCODER_CONTEXT_TOKENS: u32 = 256;
/// Enough for the longest text in tokens of a byte or two.
const DECODER_CONTEXT_TOKENS: u32 = 512;
/// The length of the tiny models' vectors.
const NUMBERS: u32 = 64;
/// Their layers.
const LAYERS: usize = 3;
/// Between a number of an encoder's vector here and in the reference: ggml takes GELU by its
/// approximation, from a table of 16-bit numbers. 1.5e-4 was measured.
const ENCODER_DISTANCE_MAX: f32 = 1e-3;
/// The same for the decoder, whose kernels merely round otherwise. 7e-7 was measured.
const DECODER_DISTANCE_MAX: f32 = 1e-5;
/// Between a number of a text's vector alone and among others, with keys and values in 16 bits.
const NEIGHBOURS_DISTANCE_MAX: f32 = 1e-3;

fn context_tokens(kind: StandaloneKind) -> u32 {
    if kind == Qwen3Embedding { DECODER_CONTEXT_TOKENS } else { ENCODER_CONTEXT_TOKENS }
}

fn distance_max(kind: StandaloneKind) -> f32 {
    if kind == Qwen3Embedding { DECODER_DISTANCE_MAX } else { ENCODER_DISTANCE_MAX }
}

fn exact(kind: StandaloneKind, model: &Tiny) -> EngineConfig {
    EngineConfig { context_tokens: context_tokens(kind), sequences_max: 4, ..engine::exact(&model.path()) }
}

fn golden(kind: StandaloneKind) -> Vec<GoldenVector> {
    let GoldenVectors { texts } = engine::golden(&format!("{}.json", kind.name()));
    assert!(texts.len() >= 8);
    texts
}

/// The vectors of texts, each of length 1.
async fn vectors(client: &mut Client, inputs: Vec<Vec<Piece>>) -> Vec<Vec<f32>> {
    let wanted = inputs.len();
    let answer = client.embed(inputs).await;
    answer.usage();
    assert_eq!(answer.vectors.len(), wanted);
    for vector in &answer.vectors {
        assert_eq!(vector.len(), NUMBERS as usize);
        let length = vector.iter().map(|&number| f64::from(number).powi(2)).sum::<f64>().sqrt();
        assert!((length - 1.0).abs() < 1e-6, "length {length}");
    }
    answer.vectors
}

/// The vector of one text.
async fn vector(client: &mut Client, input: Vec<Piece>) -> Vec<f32> {
    vectors(client, vec![input]).await.remove(0)
}

fn tokens(ids: &[u32]) -> Vec<Piece> {
    ids.iter().copied().map(Piece::Token).collect()
}

/// The largest difference of two numbers at the same place.
fn distance(some: &[f32], others: &[f32]) -> f32 {
    some.iter().zip(others).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
}

async fn vectors_are_those_of_the_reference(kind: StandaloneKind) {
    let model = Tiny::standalone(kind, None);
    let (_engine, mut client) = Engine::ready(&exact(kind, &model)).await;
    let card = &client.card;
    assert_eq!((card.generates, card.embedding_numbers), (false, Some(NUMBERS)));
    assert_eq!((&card.template, card.bos), (&None, None), "whose texts' ends are the engine's business");

    let golden = golden(kind);
    let mut furthest = 0.0_f32;
    for row in &golden {
        let GoldenVector { name, ids, .. } = row;
        assert_eq!(client.tokenize(text(&row.text)).await, *ids, "{name}");
        let alone = vector(&mut client, text(&row.text)).await;
        assert_eq!(alone.len(), row.vector.len());
        furthest = furthest.max(distance(&alone, &row.vector));
        assert_eq!(vector(&mut client, tokens(ids)).await, alone, "{name}: nothing is added to tokens");
    }
    let together = vectors(&mut client, golden.iter().map(|row| text(&row.text)).collect()).await;
    for (row, vector) in golden.iter().zip(&together) {
        furthest = furthest.max(distance(vector, &row.vector));
    }
    println!("{}: at most {furthest:.1e} from the reference", kind.name());
    assert!(furthest < distance_max(kind), "{furthest:e}");
}

#[tokio::test]
async fn an_encoder_that_takes_its_first_token_gives_the_vectors_of_the_reference() {
    vectors_are_those_of_the_reference(BertFirst).await;
}

#[tokio::test]
async fn an_encoder_that_takes_the_mean_gives_the_vectors_of_the_reference() {
    vectors_are_those_of_the_reference(BertMean).await;
}

#[tokio::test]
async fn a_decoder_that_takes_its_end_token_gives_the_vectors_of_the_reference() {
    vectors_are_those_of_the_reference(Qwen3Embedding).await;
}

/// Each text alone and among sixteen others of all lengths, as engines are served by default.
async fn vectors_do_not_depend_on_their_neighbours(kind: StandaloneKind) {
    let model = Tiny::standalone(kind, None);
    let config = engine::config(&model.path());
    let (_engine, mut client) =
        Engine::ready(&EngineConfig { context_tokens: context_tokens(kind), sequences_max: 16, ..config })
            .await;
    let inputs: Vec<_> = (0..17).map(|number| text(&"a dam. ".repeat(1 + number * number % 13))).collect();
    let mut alone = Vec::new();
    for input in &inputs {
        alone.push(vector(&mut client, input.clone()).await);
    }
    assert!(client.stats().await.last_step_sequences.iter().all(|&sequences| sequences == 1));
    let together = vectors(&mut client, inputs).await;
    let shared = client.stats().await.last_step_sequences;
    assert!(shared.iter().any(|&sequences| sequences >= 2), "{shared:?}");

    let distances = alone.iter().zip(&together).map(|(one, same)| distance(one, same));
    let furthest = distances.fold(0.0, f32::max);
    let cosine =
        |(one, same): (&Vec<f32>, &Vec<f32>)| -> f32 { one.iter().zip(same).map(|(a, b)| a * b).sum() };
    let least = alone.iter().zip(&together).map(cosine).fold(1.0, f32::min);
    println!("{}: at most {furthest:.1e} apart, cosine at least {least}", kind.name());
    assert!(furthest < NEIGHBOURS_DISTANCE_MAX && least > 0.99999, "{furthest:e}, {least}");
}

#[tokio::test]
async fn a_text_has_the_same_vector_among_sixteen_others_in_an_encoder() {
    vectors_do_not_depend_on_their_neighbours(BertMean).await;
}

#[tokio::test]
async fn a_text_has_the_same_vector_among_sixteen_others_in_a_decoder() {
    vectors_do_not_depend_on_their_neighbours(Qwen3Embedding).await;
}

/// The golden vectors would notice an error in any layer.
#[tokio::test]
async fn noise_in_any_one_layer_changes_every_vector() {
    for (kind, layer) in
        [BertMean, Qwen3Embedding].into_iter().flat_map(|kind| (0..LAYERS).map(move |l| (kind, l)))
    {
        let model = Tiny::standalone(kind, Some(layer));
        let (_engine, mut client) = Engine::ready(&exact(kind, &model)).await;
        for row in golden(kind) {
            let vector = vector(&mut client, text(&row.text)).await;
            assert!(
                distance(&vector, &row.vector) > 10.0 * ENCODER_DISTANCE_MAX,
                "layer {layer}, {}",
                row.name
            );
        }
    }
}

#[tokio::test]
async fn a_text_that_is_too_long_is_refused_and_the_longest_is_not() {
    for kind in [BertMean, Qwen3Embedding] {
        let (model, longest) = (Tiny::standalone(kind, None), context_tokens(kind));
        let (_engine, mut client) = Engine::ready(&exact(kind, &model)).await;
        let of = |tokens: u32| vec![Piece::Token(9); tokens as usize];
        let too_long = |prompt_tokens| Refusal::PromptTooLong { prompt_tokens, context_tokens: longest };
        let refusal = client.embed(vec![text("short"), of(longest + 1)]).await.refusal();
        assert_eq!(refusal, too_long(longest + 1));
        // The tokens around a text count.
        let words = text(&"7 ".repeat(longest as usize));
        let with_ends = client.tokenize(words.clone()).await.len() as u32;
        let refusal = client.embed(vec![words]).await.refusal();
        assert_eq!(refusal, too_long(with_ends));
        assert_eq!(client.embed(vec![Vec::new()]).await.refusal(), Refusal::PromptEmpty);
        vector(&mut client, of(longest)).await;
    }
}

#[tokio::test]
async fn a_model_that_gives_vectors_writes_no_text_and_says_so() {
    for kind in [BertMean, Qwen3Embedding] {
        let model = Tiny::standalone(kind, None);
        let (_engine, mut client) = Engine::ready(&exact(kind, &model)).await;
        let refusal = client.answer(greedy(text("Hello"), 1)).await.refusal();
        assert!(
            matches!(&refusal, Refusal::Unable { what } if what.contains("generate text")),
            "{refusal:?}"
        );
        vector(&mut client, text("Hello")).await;
    }
}

#[tokio::test]
async fn a_chat_model_gives_no_embeddings_and_says_so() {
    let (_engine, mut client) = Engine::ready(&engine::config(&demo_model())).await;
    assert_eq!((client.card.generates, client.card.embedding_numbers), (true, None));
    let refusal = client.embed(vec![text("Hello")]).await.refusal();
    assert!(matches!(refusal, Refusal::Unable { .. }), "{refusal:?}");
}
