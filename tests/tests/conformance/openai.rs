//! OpenAI's own packages: against an appliance with a real model; against one with tiny models that
//! call tools and give vectors; and, where exact answers are needed, against the gateway with
//! scripted engines.

use std::path::Path;
use std::process::Command;

use nabi_makers::StandaloneKind;
use nabi_tests::appliance::State;
use nabi_tests::engine::Tiny;
use nabi_tests::gateway::{Gateway, KEY, Stub};
use nabi_tests::programs::demo_model;

use crate::{conformance, passes, provision, python_environment, scripts, text};

const MODEL: &str = "SmolLM2-135M-Instruct";

/// The command that runs one file of tests, by its name without ending.
type Runner = fn(&str) -> Command;

fn python(tests: &str) -> Command {
    let mut command = Command::new(python_environment("openai-python").join("bin/python"));
    command.current_dir(conformance("openai-python")).args(["-m", "unittest", tests]);
    command
}

fn node(tests: &str) -> Command {
    let folder = provision("node-packages.sh", &["openai-node", text(&conformance("openai-node"))]);
    let mut command = Command::new("node");
    command.current_dir(folder).args(["--test", &format!("{tests}.mjs")]);
    command
}

fn talks_to(command: &mut Command, address: &str, ca: &Path, key: &str) {
    command.env("NABI_ADDRESS", address).env("NABI_CA", ca).env("NABI_KEY", key).env("NABI_MODEL", MODEL);
    // Node has no other way to trust a certificate for all that a program does.
    command.env("NODE_EXTRA_CA_CERTS", ca);
}

fn against_an_appliance(runner: Runner) {
    let state = State::empty();
    let up = state.up(&["--model", text(&demo_model()), "--name", MODEL]);
    for tests in ["test_answers", "test_refusals"] {
        let mut command = runner(tests);
        talks_to(&mut command, up.address(), up.ca(), up.key());
        passes(&mut command);
    }
}

/// A chat model that calls tools, and beside it an encoder and a decoder that give vectors.
fn against_several_models(runner: Runner) {
    let state = State::empty();
    let chat = Tiny::standalone(StandaloneKind::Qwen3Chat, None);
    let up = state.up(&["--model", text(&chat.path()), "--name", "chat"]);
    for (name, kind) in [("encoder", StandaloneKind::BertMean), ("decoder", StandaloneKind::Qwen3Embedding)] {
        state.done(&["model", "import", text(&Tiny::standalone(kind, None).path()), "--name", name]);
        state.done(&["model", "serve", name]);
    }
    for tests in ["test_tools", "test_embeddings"] {
        let mut command = runner(tests);
        talks_to(&mut command, up.address(), up.ca(), up.key());
        passes(&mut command);
    }
}

fn against_scripts(runner: Runner) {
    let [chat, embedder, mortal] =
        [scripts::chat(), scripts::embedder(), scripts::mortal()].map(|script| Stub::start(&script));
    let gateway = Gateway::start(&[
        ("chat", Some(chat.socket())),
        ("embedder", Some(embedder.socket())),
        ("mortal", Some(mortal.socket())),
        ("loading", None),
    ]);
    let mut command = runner("test_scripted");
    talks_to(&mut command, gateway.address(), &gateway.ca(), KEY);
    passes(&mut command);
}

#[test]
fn the_python_package_is_served_by_an_appliance() {
    against_an_appliance(python);
}

#[test]
fn the_python_package_is_served_by_several_models() {
    against_several_models(python);
}

#[test]
fn the_python_package_is_served_exact_answers() {
    against_scripts(python);
}

#[test]
fn the_node_package_is_served_by_an_appliance() {
    against_an_appliance(node);
}

#[test]
fn the_node_package_is_served_by_several_models() {
    against_several_models(node);
}

#[test]
fn the_node_package_is_served_exact_answers() {
    against_scripts(node);
}
