//! The self-test model gives its known tokens by each variant of the CPU kernels that this machine can
//! run, as an appliance sets it up: else an appliance with such a CPU would refuse a good version.

use std::fs;

use nabi_domain::pack::MANIFEST_FILE;
use nabi_makers::{SELF_TEST_NAME, known_answer, write_self_test};
use nabi_tests::engine::{self, Engine, copy_of_pack, greedy};
use nabi_wire::config::{EngineConfig, KvFormat};
use nabi_wire::engine::FinishReason;

use crate::life::refused;
use crate::text;

/// The manifest with one backend alone, and all backends' names.
fn with_backend_alone(manifest: &str, kept: &str) -> String {
    let mut sections = manifest.split("[[file]]\n");
    let head = sections.next().unwrap_or_default().to_owned();
    let kept = |section: &&str| !section.contains("\"backends/") || section.contains(kept);
    sections.filter(kept).fold(head, |manifest, section| manifest + "[[file]]\n" + section)
}

#[tokio::test]
async fn every_variant_of_the_kernels_gives_the_known_tokens() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (store, pack) = (folder.path().join("store"), copy_of_pack(folder.path()));
    write_self_test(&store, 0).expect("written");
    let model = store.join(SELF_TEST_NAME).join("nabi-self-test.gguf");
    let known = known_answer();
    let manifest = fs::read_to_string(pack.join(MANIFEST_FILE)).expect("the copied manifest");
    let mut variants = Vec::new();
    for entry in fs::read_dir(pack.join("backends")).expect("the copied pack") {
        let variant = entry.expect("readable").file_name().into_string().expect("text");
        let alone = with_backend_alone(&manifest, &format!("\"backends/{variant}\""));
        fs::write(pack.join(MANIFEST_FILE), alone).expect("writable");
        let config = EngineConfig { pack: pack.clone(), ..engine::config(&model) };
        // A CPU that lacks what a variant needs has no backend at all then, and no model is looked for.
        let missing = refused(&EngineConfig { model: "missing.gguf".into(), ..config.clone() }).await;
        if !missing.last_line().contains("missing.gguf") {
            continue;
        }
        for kv in [KvFormat::F16, KvFormat::F32] {
            let (_engine, mut client) = Engine::ready(&EngineConfig { kv, ..config.clone() }).await;
            let request = greedy(text(&known.prompt), known.token_ids.len() as u32);
            let answer = client.answer(request).await;
            assert_eq!(answer.token_ids(), known.token_ids, "{variant}, {kv:?}");
            assert_eq!(answer.reason(), FinishReason::Length);
            variants.push(format!("{variant} {kv:?}"));
        }
    }
    println!("{variants:?}");
    for plain in ["libggml-cpu-x64.so", "libggml-cpu-sse42.so"] {
        assert!(variants.iter().any(|variant| variant.starts_with(plain)), "{plain}: {variants:?}");
    }
}
