//! Aliases: two versions side by side, and a swap that nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nabi_tests::appliance::{Client, State, wait_for};
use nabi_tests::programs::demo_model;
use serde_json::json;

use crate::{TINY, argument, serve_tiny};

/// Requests that must be answered between two swaps.
const REQUESTS_EACH_SWAP: u64 = 4;

#[test]
fn an_alias_leads_to_what_is_served_and_nothing_else() {
    let state = State::empty();
    let up = serve_tiny(&state, &[]);
    let client = up.client();
    assert_eq!(state.done(&["alias", "list"])["aliases"], json!([]));
    assert!(state.fails(&["alias", "set", "chat", "nothing"]).contains("nabi model serve nothing"));
    assert!(state.fails(&["alias", "set", TINY, TINY]).contains("must not hide"));

    let set = state.done(&["alias", "set", "chat", TINY]);
    assert_eq!(set["alias_set"], json!({"alias": {"name": "chat", "model": TINY}, "before": null}));
    let reply = client.say("chat", "hello", json!({"max_tokens": 3}));
    assert_eq!((reply.status, &reply.body["model"]), (200, &TINY.into()), "{}", reply.body);
    let listed = client.get("/v1/models").body;
    assert_eq!((&listed["data"][0]["id"], &listed["data"][1]["id"]), (&TINY.into(), &"chat".into()));
    assert_eq!(state.status()["aliases"], json!([{"name": "chat", "model": TINY}]));

    let said = state.fails(&["model", "stop", TINY]);
    assert!(said.contains("nabi alias set chat MODEL") && said.contains("nabi alias remove chat"), "{said}");
    state.done(&["model", "import", argument(&demo_model()), "--name", "chat"]);
    assert!(state.fails(&["model", "serve", "chat"]).contains("nabi alias remove chat"));

    assert_eq!(state.done(&["alias", "remove", "chat"])["alias_removed"], "chat");
    assert_eq!(client.say("chat", "hello", json!({})).error(), (404, "model_not_found"));
    assert!(state.fails(&["alias", "remove", "chat"]).contains("nabi alias list"));
    state.done(&["model", "stop", TINY]);
}

#[test]
fn an_alias_outlives_a_restart() {
    let state = State::empty();
    let up = serve_tiny(&state, &[]);
    state.done(&["alias", "set", "chat", TINY]);
    drop(up);
    let up = state.up(&[]);
    state.engine_pid(TINY);
    let client = up.client();
    wait_for("it is ready again", || (client.get("/readyz").status == 200).then_some(()));
    client.say("chat", "hello", json!({"max_tokens": 3})).text();
}

/// Asks without rest until told to stop.
fn ask_for_ever(client: &Client, answered: &AtomicU64, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        client.say("chat", "What is a butterfly?", json!({"max_tokens": 8, "temperature": 0})).text();
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn while_versions_are_swapped_and_stopped_every_request_is_answered() {
    let state = State::empty();
    let up = state.up(&[]);
    for name in ["v1", "v2"] {
        state.done(&["model", "import", argument(&demo_model()), "--name", name]);
    }
    state.done(&["model", "serve", "v1"]);
    state.done(&["alias", "set", "chat", "v1"]);
    let (answered, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let askers: Vec<_> = (0..3)
        .map(|_| {
            let (client, answered, stop) = (up.client(), Arc::clone(&answered), Arc::clone(&stop));
            std::thread::spawn(move || ask_for_ever(&client, &answered, &stop))
        })
        .collect();
    let more_answers = || {
        let enough = answered.load(Ordering::Relaxed) + REQUESTS_EACH_SWAP;
        wait_for("requests are answered", || {
            assert!(!askers.iter().any(std::thread::JoinHandle::is_finished), "a request was not answered");
            (answered.load(Ordering::Relaxed) >= enough).then_some(())
        });
    };
    for (old, new) in [("v1", "v2"), ("v2", "v1"), ("v1", "v2")] {
        state.done(&["model", "serve", new]);
        more_answers();
        assert_eq!(state.done(&["alias", "set", "chat", new])["alias_set"]["before"], old);
        // At once, while answers of the old one are under way.
        state.done(&["model", "stop", old]);
        more_answers();
    }
    stop.store(true, Ordering::Relaxed);
    for asker in askers {
        asker.join().expect("every request was answered");
    }
}
