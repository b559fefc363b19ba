//! EleutherAI's lm-eval through `/v1/completions`: its scores, and every log-likelihood of which
//! they are made, are those of the same weights in transformers.

use nabi_makers::{Kind, Model, Tokenizer, tokenizer_folder};
use nabi_tests::engine::{Engine, config};
use nabi_tests::gateway::{Gateway, KEY};
use nabi_wire::config::{EngineConfig, KvFormat};

use crate::{conformance, passes, python_environment, text};

const MODEL: &str = "tiny-deepseek";

#[tokio::test(flavor = "multi_thread")]
async fn scores_are_those_of_the_reference() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tokenizer = Tokenizer::cut_from_folder(&tokenizer_folder()).unwrap_or_else(|error| panic!("{error}"));
    let model = Model::new(Kind::DeepseekV3, &tokenizer, None).expect("a model");
    let (gguf, huggingface) = (folder.path().join("model.gguf"), folder.path().join("hf"));
    model.write_gguf(&gguf).expect("writable");
    // Of this lm-eval needs the tokenizer alone.
    model.write_huggingface(&huggingface).expect("writable");

    // Rounding apart, as the reference computes.
    let (engine, _client) = Engine::ready(&EngineConfig { kv: KvFormat::F32, ..config(&gguf) }).await;
    let gateway = Gateway::start(&[(MODEL, Some(engine.socket()))]);
    let mut command = tokio::task::block_in_place(|| {
        std::process::Command::new(python_environment("lm-eval").join("bin/python"))
    });
    command
        .arg(conformance("lm-eval/evaluate.py"))
        .args(["nabi", text(&huggingface)])
        .env("NABI_ADDRESS", gateway.address())
        .env("NABI_CA", gateway.ca())
        .env("NABI_KEY", KEY)
        .env("NABI_MODEL", MODEL)
        .env("HF_HOME", folder.path());
    let said = tokio::task::block_in_place(|| passes(&mut command));
    assert!(said.contains("all items agree"), "{said}");
}
