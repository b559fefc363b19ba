//! Computed prefixes: found again in slots, in memory and on disk, and never by another salt.

use std::fs;
use std::path::{Path, PathBuf};

use nabi_domain::Piece;
use nabi_makers::Kind;
use nabi_tests::engine::{self, Answer, Client, Engine, Golden, Tiny, greedy};
use nabi_tests::programs::demo_model;
use nabi_wire::config::{EngineConfig, KvFormat, SavedPrefixes};
use nabi_wire::engine::{Generate, Salt};

use crate::text;

const STORY: &str = "Once upon a time, in a small village by the sea, there lived";
/// Enough for one state of such a prompt, too little for two.
const ONE_STATE_BYTES: u64 = 8 << 20;

/// The same prompt of some 200 tokens each time, for one of many tenants. One token of answer: the
/// next ones have near equals, between which the prompt's chunks, cut by measured speed, may decide.
fn story(salt: u8) -> Generate {
    Generate { salt: Salt([salt; 16]), ..greedy(text(&STORY.repeat(14)), 1) }
}

async fn one_slot(saved_prefixes: SavedPrefixes) -> (Engine, Client) {
    let demo = engine::config(&demo_model());
    let config = EngineConfig { sequences_max: 1, context_tokens: 1024, saved_prefixes, ..demo };
    Engine::ready(&config).await
}

fn cached(answer: &Answer) -> u32 {
    answer.usage().cached_tokens
}

fn all_but_one(answer: &Answer) -> u32 {
    answer.usage().prompt_tokens - 1
}

#[tokio::test]
async fn a_prompt_that_comes_again_is_computed_once_for_each_salt() {
    let (_engine, mut client) = one_slot(SavedPrefixes::default()).await;
    let first = client.answer(story(1)).await;
    let again = client.answer(story(1)).await;
    assert_eq!((cached(&first), cached(&again)), (0, all_but_one(&again)));
    let other = client.answer(story(2)).await;
    assert_eq!(cached(&other), 0, "another tenant's prefix");
    let back = client.answer(story(1)).await;
    assert_eq!(cached(&back), 0, "its slot was needed, and nothing may be saved");
    for answer in [again, other, back] {
        assert_eq!(answer.token_ids(), first.token_ids());
    }
    assert_eq!(client.stats().await.saved_memory_bytes, 0);
}

#[tokio::test]
async fn a_conversation_that_goes_on_computes_only_what_is_new() {
    let (_engine, mut client) = one_slot(SavedPrefixes::default()).await;
    let first = client.answer(story(1)).await;
    let longer = STORY.repeat(14) + &first.text() + " And then";
    let next = client.answer(Generate { pieces: text(&longer), ..story(1) }).await;
    // Tokens across the border between prompt and answer may be others than those chosen.
    assert!(cached(&next) >= all_but_one(&first), "{:?}", next.usage());
}

#[tokio::test]
async fn a_prefix_that_lost_its_slot_comes_back_from_memory() {
    let saved = SavedPrefixes { memory_bytes_max: 64 << 20, ..SavedPrefixes::default() };
    let (_engine, mut client) = one_slot(saved).await;
    let first = client.answer(story(1)).await;
    assert_eq!(cached(&client.answer(story(2)).await), 0);
    assert!(client.stats().await.saved_memory_bytes > 0);
    let back = client.answer(story(1)).await;
    assert_eq!(cached(&back), all_but_one(&back));
    assert_eq!(back.token_ids(), first.token_ids());
}

#[tokio::test]
async fn a_prefix_comes_back_from_disk_and_a_damaged_file_only_costs_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("left over"), "by an earlier engine").expect("writable");
    let saved = SavedPrefixes {
        memory_bytes_max: ONE_STATE_BYTES,
        disk_bytes_max: 64 << 20,
        folder: Some(folder.path().to_owned()),
    };
    let (engine, mut client) = one_slot(saved).await;
    assert_eq!(files(folder.path()).count(), 0);
    let expected = client.answer(story(1)).await.token_ids();
    let mut salt = 1;
    loop {
        salt += 1;
        client.answer(story(salt)).await;
        let stats = client.stats().await;
        assert!(stats.saved_memory_bytes <= ONE_STATE_BYTES, "{stats:?}");
        if stats.saved_disk_bytes > 2 * ONE_STATE_BYTES {
            break;
        }
    }
    let mut from_disk = 0;
    for salt in 1..=salt {
        let answer = client.answer(story(salt)).await;
        assert_eq!(answer.token_ids(), expected);
        from_disk += u32::from(cached(&answer) == all_but_one(&answer));
    }
    assert!(from_disk > 1, "memory holds one alone");
    for file in files(folder.path()) {
        let length = fs::metadata(&file).map_or(0, |metadata| metadata.len());
        fs::write(&file, vec![0; length as usize]).expect("writable");
    }
    for salt in 1..=salt {
        assert_eq!(client.answer(story(salt)).await.token_ids(), expected);
    }
    engine.terminate();
    let log = engine.ended().await.log;
    assert!(log.contains("has changed: its tokens are computed anew"), "{log}");
}

/// On top of cached prefixes DeepSeek says what the reference says.
#[tokio::test]
async fn golden_answers_are_the_same_on_cached_prefixes() {
    let tiny = Tiny::make(Kind::DeepseekV3, None);
    let saved_prefixes = SavedPrefixes { memory_bytes_max: 64 << 20, ..SavedPrefixes::default() };
    let config =
        EngineConfig { kv: KvFormat::F32, sequences_max: 2, saved_prefixes, ..engine::config(&tiny.path()) };
    let (_engine, mut client) = Engine::ready(&config).await;
    let Golden { answers } = engine::golden(&format!("{}.json", Kind::DeepseekV3.name()));
    for round in 0..3 {
        for row in &answers {
            let pieces = row.prompt_ids.iter().map(|&id| Piece::Token(id)).collect();
            let answer = client.answer(greedy(pieces, row.token_ids.len() as u32)).await;
            assert_eq!(answer.token_ids(), row.token_ids, "{} in round {round}", row.name);
        }
    }
    assert!(client.stats().await.cached_tokens > 0);
}

fn files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").path())
}
