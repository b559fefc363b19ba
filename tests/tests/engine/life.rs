//! An engine's start, its end, and why it does not start.

use std::fs::{self, File};
use std::io::Read as _;

use nabi_domain::pack::{MANIFEST_FILE, sha256_hex};
use nabi_tests::engine::{self, Client, Ended, Engine, copy_of_pack, greedy};
use nabi_tests::programs::demo_model;
use nabi_wire::config::EngineConfig;
use nabi_wire::engine::{FinishReason, Refusal, ToEngine};
use nabi_wire::lifeline::{PARENT_GONE, REFUSED};

use crate::{endless, text};

/// Longer than any test.
const GRACE_MS: u64 = 3_600_000;

#[tokio::test]
async fn a_client_is_told_what_serves_and_how_far_loading_is() {
    let config = engine::config(&demo_model());
    let (engine, early) = Engine::ready(&config).await;
    assert!(early.loading_permille.is_sorted(), "{:?}", early.loading_permille);
    assert!(early.loading_permille.iter().all(|&permille| permille <= 1000));

    let late = engine.connect().await;
    assert!(late.loading_permille.is_empty(), "it is loaded already");
    assert_eq!(late.card, early.card);
    let card = late.card;
    assert_eq!((card.name, card.context_tokens, card.sequences_max), (config.name, 512, 2));
    assert_eq!((card.architecture.as_str(), card.vocabulary_tokens), ("llama", 49_152));
    assert!(card.engine.starts_with("llama.cpp ") && card.kernel.starts_with("ggml-cpu-"));
}

#[tokio::test]
async fn an_idle_engine_ends_on_sigterm() {
    let (engine, client) = Engine::ready(&engine::config(&demo_model())).await;
    engine.terminate();
    let ended = engine.ended().await;
    assert!(ended.status.success(), "{ended:?}");
    client.closed().await;
}

/// Several times: an orderly exit under a step that computes crashed now and then.
#[tokio::test]
async fn an_engine_ends_with_its_parent_in_mid_step() {
    for _ in 0..8 {
        let (mut engine, mut client) = Engine::ready(&engine::config(&demo_model())).await;
        let id = client.start(endless()).await;
        client.next_delta(id).await;
        engine.orphan();
        let ended = engine.ended().await;
        assert_eq!(ended.status.code(), Some(i32::from(PARENT_GONE)), "{ended:?}");
        client.closed().await;
    }
}

/// Ready for SIGTERM from its greeting on, however far the model is.
#[tokio::test]
async fn a_loading_engine_ends_on_sigterm() {
    for permille_min in [0, 1, 250, 500, 750] {
        let engine = Engine::start(&engine::config(&demo_model()));
        engine.loaded(permille_min).await;
        engine.terminate();
        let ended = engine.ended().await;
        assert!(ended.status.success(), "{ended:?}");
    }
}

/// Asks until SIGTERM has come through to the step thread.
async fn drains(client: &mut Client) {
    loop {
        let answer = client.answer(greedy(text("Hello"), 1)).await;
        if answer.token_ids().is_empty() {
            assert_eq!(answer.refusal(), Refusal::Draining);
            return;
        }
    }
}

async fn with_grace(drain_grace_ms: u64, sequences_max: u32) -> (Engine, Client) {
    let config =
        EngineConfig { drain_grace_ms, sequences_max, context_tokens: 4096, ..engine::config(&demo_model()) };
    Engine::ready(&config).await
}

#[tokio::test]
async fn a_draining_engine_answers_what_it_has_taken_and_refuses_the_rest() {
    let (engine, mut client) = with_grace(GRACE_MS, 3).await;
    let open = client.start(endless()).await;
    let bounded = client.start(greedy(text("Once upon a time"), 40)).await;
    client.next_delta(open).await;
    client.next_delta(bounded).await;
    engine.terminate();
    drains(&mut client).await;

    let bounded = client.end(bounded).await;
    assert_eq!((bounded.reason(), bounded.token_ids().len()), (FinishReason::Length, 40));
    client.next_delta(open).await;
    client.send(ToEngine::Abort { id: open }).await;
    assert_eq!(client.end(open).await.reason(), FinishReason::Aborted);
    let ended = engine.ended().await;
    assert!(ended.status.success(), "{ended:?}");
}

#[tokio::test]
async fn what_outlasts_the_grace_is_told_so() {
    let (engine, mut client) = with_grace(0, 1).await;
    let running = client.start(endless()).await;
    client.next_delta(running).await;
    let waiting = client.start(endless()).await;
    client.stats_until("the second request waits", |stats| stats.waiting == 1).await;
    engine.terminate();
    assert_eq!(client.end(running).await.reason(), FinishReason::Draining);
    assert_eq!(client.end(waiting).await.refusal(), Refusal::Draining);
    let ended = engine.ended().await;
    assert!(ended.status.success(), "{ended:?}");
    client.closed().await;
}

#[tokio::test]
async fn a_second_sigterm_ends_the_grace() {
    let (engine, mut client) = with_grace(GRACE_MS, 2).await;
    let running = client.start(endless()).await;
    client.next_delta(running).await;
    engine.terminate();
    drains(&mut client).await;
    engine.terminate();
    assert_eq!(client.end(running).await.reason(), FinishReason::Draining);
    assert!(engine.ended().await.status.success());
}

/// The end of an engine that cannot run.
pub(crate) async fn refused(config: &EngineConfig) -> Ended {
    let ended = Engine::start(config).ended().await;
    assert_eq!(ended.status.code(), Some(i32::from(REFUSED)), "{ended:?}");
    ended
}

#[tokio::test]
async fn a_pack_whose_files_changed_is_refused_by_the_files_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pack = copy_of_pack(folder.path());
    let config = EngineConfig { pack: pack.clone(), ..engine::config(&demo_model()) };
    for name in ["libllama.so", "libggml-base.so", "backends/libggml-cpu-x64.so"] {
        let path = pack.join(name);
        let mut changed = fs::read(&path).expect("readable");
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        fs::write(&path, &changed).expect("writable");
        let ended = refused(&config).await;
        assert!(ended.last_line().contains(&format!("{} has changed", path.display())), "{ended:?}");
        fs::remove_file(&path).expect("writable");
        let ended = refused(&config).await;
        assert!(ended.last_line().contains(&format!("cannot read {}", path.display())), "{ended:?}");
        changed[middle] ^= 1;
        fs::write(&path, &changed).expect("writable");
    }
    let (_engine, mut client) = Engine::ready(&config).await;
    assert_eq!(client.answer(greedy(text("Hello"), 1)).await.reason(), FinishReason::Length, "mended");
}

#[tokio::test]
async fn a_pack_of_other_headers_or_for_another_engine_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pack = copy_of_pack(folder.path());
    let manifest = fs::read_to_string(pack.join(MANIFEST_FILE)).expect("the copied manifest");
    let headers =
        manifest.lines().find_map(|line| line.strip_prefix("headers_sha256 = ")).expect("it has one");
    let other_headers = format!("{:?}", sha256_hex(b"other headers"));
    let config = EngineConfig { pack: pack.clone(), ..engine::config(&demo_model()) };
    for (changed, reason) in [
        (manifest.replace(headers, &other_headers), "other headers"),
        (manifest.replace("engine = \"llama.cpp\"", "engine = \"vllm\""), "for the engine \"vllm\""),
        (manifest.replace("\"libllama.so\"", "\"../libllama.so\""), "only plain relative paths"),
        (manifest.replace("\"libllama.so\"", "\"libother.so\""), "lacks libllama.so"),
        ("name =".to_owned(), MANIFEST_FILE),
    ] {
        assert_ne!(changed, manifest);
        fs::write(pack.join(MANIFEST_FILE), changed).expect("writable");
        let ended = refused(&config).await;
        assert!(ended.last_line().contains(reason), "{reason}: {ended:?}");
    }
}

#[tokio::test]
async fn a_model_that_is_cut_off_or_missing_is_refused_by_its_path() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cut_off = folder.path().join("cut-off.gguf");
    let half = fs::metadata(demo_model()).expect("readable").len() / 2;
    for bytes in [half, 1000, 0] {
        let mut beginning = Vec::new();
        File::open(demo_model())
            .expect("readable")
            .take(bytes)
            .read_to_end(&mut beginning)
            .expect("readable");
        fs::write(&cut_off, beginning).expect("writable");
        let ended = refused(&engine::config(&cut_off)).await;
        assert!(ended.last_line().contains(&cut_off.display().to_string()), "{bytes}: {ended:?}");
    }
    let missing = folder.path().join("missing.gguf");
    let ended = refused(&engine::config(&missing)).await;
    assert!(ended.last_line().contains(&missing.display().to_string()), "{ended:?}");
}
