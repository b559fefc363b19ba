//! How a model is served: what the operator sets is used, shown, kept, and refused where it cannot be.

use std::fs;

use nabi_tests::appliance::State;
use serde_json::{Value, json};

use crate::{TINY, serve_tiny};

fn card(state: &State) -> (Value, Value) {
    let status = state.status();
    let card = &status["engines"][0]["card"];
    (card["sequences_max"].clone(), card["context_tokens"].clone())
}

#[test]
fn settings_are_used_kept_and_changed_by_serving_again() {
    let state = State::empty();
    let up = serve_tiny(&state, &["--sequences", "2", "--context-tokens", "1024"]);
    assert_eq!(card(&state), (2.into(), 1024.into()));
    let first = state.engine_pid(TINY);
    state.done(&["model", "serve", TINY]);
    state.done(&["model", "serve", TINY, "--sequences", "2"]);
    assert_eq!(state.engine_pid(TINY), first, "nothing is changed");

    let serving = state.done(&["model", "serve", TINY, "--sequences", "3"]);
    assert_eq!(serving["serving"]["card"]["sequences_max"], 3);
    assert_eq!(serving["serving"]["settings"]["context_tokens"], 1024, "what is not set is as it was");
    assert_ne!(state.engine_pid(TINY), first);
    up.client().say(TINY, "hello", json!({"max_tokens": 3})).text();
    drop(up);

    let up = state.up(&[]);
    state.engine_pid(TINY);
    assert_eq!(card(&state), (3.into(), 1024.into()));
    drop(up);
}

#[test]
fn settings_under_which_no_token_comes_give_way_to_those_from_before() {
    let state = State::empty();
    let up = serve_tiny(&state, &["--sequences", "2"]);
    let (file, away) = (state.path("models").join(TINY).join("model.gguf"), state.path("away"));
    fs::rename(&file, &away).expect("taken away");
    for sequences in ["3", "4"] {
        let said = state.fails(&["model", "serve", TINY, "--sequences", sequences]);
        assert!(said.contains("is served as before") && said.contains("model.gguf"), "{said}");
        assert_eq!(state.status()["engines"][0]["settings"]["sequences"], 2);
    }
    fs::rename(&away, &file).expect("brought back");
    state.done(&["model", "serve", TINY]);
    assert_eq!(card(&state).0, 2);
    up.client().say(TINY, "hello", json!({"max_tokens": 3})).text();
}

#[test]
fn settings_that_cannot_be_are_refused_and_change_nothing() {
    let state = State::empty();
    let up = serve_tiny(&state, &[]);
    let before = (card(&state), state.engine_pid(TINY));
    for (setting, value, words) in [
        ("--sequences", "0", "1..=256"),
        ("--sequences", "257", "1..=256"),
        ("--sequences", "many", "--sequences"),
        ("--context-tokens", "5", "--context-tokens"),
        ("--context-tokens", "1000000", "trained for a context of"),
        ("--stream-gap-ms", "0", "--stream-gap-ms"),
    ] {
        let said = state.fails(&["model", "serve", TINY, setting, value]);
        assert!(said.contains(words), "{setting} {value}: {said}");
    }
    assert_eq!((card(&state), state.engine_pid(TINY)), before);
    up.client().say(TINY, "hello", json!({"max_tokens": 3})).text();
}
