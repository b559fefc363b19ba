//! The appliance as its operator and its API users meet it: `nabi up`, verbs, HTTPS.

mod aliases;
mod attach;
mod capacity;
mod drain;
mod faults;
mod hardware;
mod health;
mod import;
mod keys;
mod media;
mod models;
mod settings;
mod site;
mod ssh;
mod together;
mod up;

use nabi_makers::Kind;
use nabi_tests::appliance::{Appliance, State};
use nabi_tests::engine::Tiny;

/// The name under which tests serve a model whose text does not matter.
const TINY: &str = "tiny-deepseek";

/// A model with DeepSeek-V3's layers and random weights: it loads at once and hardly ever stops.
fn tiny() -> Tiny {
    Tiny::make(Kind::DeepseekV3, None)
}

/// A path as an argument.
fn argument(path: &std::path::Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

/// Starts an appliance that serves the tiny model, with more arguments for `nabi up`.
fn serve_tiny<'a>(state: &'a State, arguments: &[&str]) -> Appliance<'a> {
    let tiny = tiny();
    let path = tiny.path();
    state.up(&[&["--model", argument(&path), "--name", TINY], arguments].concat())
}

/// Fields of a request for the longest answer, which takes seconds.
fn longest() -> serde_json::Value {
    serde_json::json!({"temperature": 0})
}
