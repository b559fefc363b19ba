//! Processes that are killed: what is lost is said, what was decided is kept.

use nabi_tests::appliance::{State, process, wait_for};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::{TINY, longest, serve_tiny};

fn all_end(pids: &[u32]) {
    let names: Vec<_> = pids.iter().map(|&pid| (pid, process::name(pid))).collect();
    wait_for(&format!("the end of {names:?}"), || pids.iter().all(|&pid| !process::runs(pid)).then_some(()));
}

#[test]
fn a_killed_engine_ends_its_streams_with_an_error_and_starts_again() {
    let state = State::empty();
    let up = serve_tiny(&state, &[]);
    let client = up.client();
    let (gateway, engine, supervisor) = (state.gateway_pid(), state.engine_pid(TINY), up.supervisor_pid());
    let mut stream = client.stream(TINY, "hello", longest());
    stream.next_text();
    // While the supervisor stands still, nothing starts again: what the gateway does alone can be seen.
    process::signal(supervisor, Signal::SIGSTOP);
    process::signal(engine, Signal::SIGKILL);
    assert_eq!(stream.end().error.as_deref(), Some("engine_lost"));
    assert_eq!(client.get("/readyz").status, 503);
    assert_eq!(client.get("/healthz").status, 200);
    assert_eq!(client.say(TINY, "hello", json!({})).error(), (503, "model_not_ready"));
    assert_eq!(client.get("/v1/models").body["data"][0]["id"], TINY);

    process::signal(supervisor, Signal::SIGCONT);
    wait_for("it is ready again", || (client.get("/readyz").status == 200).then_some(()));
    client.say(TINY, "hello", json!({"max_tokens": 3})).text();
    assert_ne!(state.engine_pid(TINY), engine);
    assert_eq!(state.gateway_pid(), gateway, "the gateway went on");
}

#[test]
fn a_killed_gateway_comes_back_with_the_same_keys_and_certificates() {
    let state = State::empty();
    let up = serve_tiny(&state, &[]);
    let client = up.client();
    let (gateway, engine) = (state.gateway_pid(), state.engine_pid(TINY));
    process::signal(gateway, Signal::SIGKILL);
    wait_for("its end", || (!process::runs(gateway)).then_some(()));
    // The socket stays open meanwhile, and who asks is answered late.
    assert_eq!(client.get("/v1/models").body["data"][0]["id"], TINY);
    wait_for("it is ready again", || (client.get("/readyz").status == 200).then_some(()));
    client.say(TINY, "hello", json!({"max_tokens": 3})).text();
    assert_eq!(client.with_key("nabi-wrong").get("/v1/models").error(), (401, "invalid_api_key"));
    assert_ne!(state.gateway_pid(), gateway);
    assert_eq!(state.engine_pid(TINY), engine, "the engine went on");
}

/// Kills one process of an appliance in the middle of an answer: the others end too, and the next
/// start finds all as it was.
fn nothing_is_lost_when(kill: impl FnOnce(u32, u32)) {
    let state = State::empty();
    let mut up = serve_tiny(&state, &[]);
    let added = state.done(&["key", "add", "ministry"]);
    let key = added["key_added"]["key"].as_str().expect("a key").to_owned();
    let (ca, models, keys) =
        (state.done(&["ca"]), state.done(&["model", "list"]), state.done(&["key", "list"]));
    let pids = up.pids();
    assert_eq!(pids.len(), 4, "nabi up, supervisor, gateway, engine");
    let mut stream = up.client().stream(TINY, "hello", longest());
    stream.next_text();
    kill(up.pid(), up.supervisor_pid());
    assert!(!up.end().success());
    all_end(&pids);
    drop(stream);
    drop(up);

    let up = state.up(&[]);
    state.engine_pid(TINY);
    assert_eq!(state.done(&["ca"]), ca);
    assert_eq!(state.done(&["model", "list"]), models);
    assert_eq!(state.done(&["key", "list"]), keys);
    let client = up.client().with_key(&key);
    wait_for("it is ready again", || (client.get("/readyz").status == 200).then_some(()));
    client.say(TINY, "hello", json!({"max_tokens": 3})).text();
}

#[test]
fn a_killed_supervisor_takes_all_along_and_loses_nothing() {
    nothing_is_lost_when(|_, supervisor| process::signal(supervisor, Signal::SIGKILL));
}

#[test]
fn a_killed_nabi_up_takes_all_along_and_loses_nothing() {
    nothing_is_lost_when(|up, _| process::signal(up, Signal::SIGKILL));
}
