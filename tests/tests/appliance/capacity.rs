//! What fits, and what is done about that which does not.

use std::fs;
use std::path::{Path, PathBuf};

use nabi_model_corpus::gguf::Gguf;
use nabi_tests::appliance::State;
use nabi_tests::programs::demo_model;
use serde_json::Value;

use crate::argument;

/// Keys and values of a token take a megabyte: 256 requests of 131,072 tokens take 34 TB.
fn wide(state: &State) -> PathBuf {
    let file = Gguf::empty()
        .text("general.architecture", "llama")
        .texts("tokenizer.ggml.tokens", &["<s>", "</s>", "a", "b"])
        .u32("llama.context_length", 131_072)
        .u32("llama.embedding_length", 64)
        .u32("llama.block_count", 8)
        .u32("llama.attention.head_count", 64)
        .u32("llama.attention.key_length", 512)
        .u32("llama.attention.value_length", 512)
        .f32("token_embd.weight", &[64, 4]);
    let path = state.path("wide.gguf");
    fs::write(&path, file.build()).expect("written");
    path
}

fn row<'a>(capacity: &'a Value, name: &str) -> &'a Value {
    let models = capacity["capacity"]["models"].as_array().expect("a list");
    models.iter().find(|model| model["name"] == name).unwrap_or_else(|| panic!("no {name} in {capacity}"))
}

fn printed(state: &State) -> String {
    let output = state.verb_command(&["capacity"]).output().expect("nabi runs");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_machine_is_told_what_fits() {
    let state = State::empty();
    let machines = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/hardware/tests/machines");
    let _up = state.up(&["--hardware-root", argument(&machines.join("amd-mi300x-eight.tree"))]);
    let capacity = state.done(&["capacity"]);
    let room = &capacity["capacity"]["room"];
    assert_eq!(
        (&room["devices"][0]["count"], &room["read_bytes_per_s"]),
        (&8.into(), &Value::Null),
        "{room}"
    );
    let small = row(&capacity, "DeepSeek-R1-Distill-Qwen-1.5B");
    assert_eq!(small["outcome"]["fits"]["plan"]["engine"], "llama.cpp", "{small}");
    let newest = row(&capacity, "DeepSeek-V4.1-Flash");
    assert_eq!(newest["outcome"]["unfit"]["no_engine"]["architecture"], "deepseek41", "{newest}");
    let text = printed(&state);
    assert!(text.contains("8 x ") && text.contains("for which no engine is installed"), "{text}");
}

#[test]
fn a_stored_model_is_told_with_what_it_will_take() {
    let state = State::empty();
    let _up = state.up(&[]);
    state.done(&["model", "import", argument(&demo_model()), "--name", "chat"]);
    let capacity = state.done(&["capacity"]);
    assert!(capacity["capacity"]["room"]["read_bytes_per_s"].as_u64() > Some(100_000_000), "{capacity}");
    let fits = &row(&capacity, "chat")["outcome"]["fits"];
    assert_eq!(
        (&fits["plan"]["sequences"], &fits["plan"]["context_tokens"]),
        (&4.into(), &8192.into()),
        "{fits}"
    );
    // 30 layers with 3 heads of 64 numbers, keys and values, of two bytes.
    let kept = 4 * 8192 * 30 * 3 * 64 * 2 * 2;
    assert_eq!(fits["plan"]["memory"]["cache_bytes"], kept, "{fits}");
    assert!(fits["speed"]["one_tokens_per_s"].as_f64() > Some(1.0), "{fits}");
    assert!(printed(&state).contains("in the store, each alone\n  chat "));
    let serving = state.done(&["model", "serve", "chat"]);
    let card = &serving["serving"]["card"];
    assert_eq!((&card["sequences_max"], &card["context_tokens"]), (&4.into(), &8192.into()), "{serving}");
}

#[test]
fn what_does_not_fit_is_refused_before_it_is_tried_unless_the_operator_insists() {
    let state = State::empty();
    let _up = state.up(&[]);
    state.done(&["model", "import", argument(&wide(&state)), "--name", "wide"]);
    state.done(&["capacity"]);
    let huge = ["model", "serve", "wide", "--sequences", "256", "--context-tokens", "131072"];
    let said = state.fails(&huge);
    for part in ["wide does not fit", "take --sequences ", "take a machine with ", "--anyway"] {
        assert!(said.contains(part), "{said:?} has no {part:?}");
    }
    assert_eq!(state.status()["engines"], Value::Array(Vec::new()));
    // Its weights are none: llama.cpp says so, and not we.
    let said = state.fails(&[&huge[..], &["--anyway"]].concat());
    assert!(!said.contains("does not fit"), "{said}");
}
