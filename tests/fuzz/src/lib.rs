//! What must hold for any bytes that reach a parser, codec or template: one function for each
//! target, which returns for good and panics for bad. cargo-fuzz calls them (`libfuzzer/`), and an
//! ordinary test, with the seeds and what comes of changing them.

mod answers;
mod chats;
mod fragments;
mod grammars;
mod headers;
mod models;
mod requests;
mod wire;

/// Something to fuzz.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// As on the command line.
    pub name: &'static str,
    /// Panics when something does not hold for these bytes.
    pub run: fn(&[u8]),
    /// Where to start from: good input, and input that was bad once.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

const fn target(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, run, seeds }
}

/// All of them.
pub const TARGETS: [Target; 13] = [
    target("answer", answers::answer, answers::seeds),
    target("chat_request", requests::chat, requests::chat_seeds),
    target("completion_request", requests::completion, requests::completion_seeds),
    target("embedding_request", requests::embedding, requests::embedding_seeds),
    target("token_request", requests::tokens, requests::tokens_seeds),
    target("folder_index", headers::folder_index, headers::folder_index_seeds),
    target("from_engine", wire::from_engine, wire::from_engine_seeds),
    target("gguf_header", headers::gguf, headers::gguf_seeds),
    target("grammar", grammars::grammar, grammars::seeds),
    target("operator_wire", wire::operator, wire::operator_seeds),
    target("prompt", chats::prompt, chats::seeds),
    target("safetensors_header", headers::safetensors, headers::safetensors_seeds),
    target("to_engine", wire::to_engine, wire::to_engine_seeds),
];

/// Runs the target of this name.
///
/// # Panics
/// When there is none, or when something does not hold.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.into_iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("there is no target {name}")).run)(bytes);
}
