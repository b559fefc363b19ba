//! Keys and the CA: what the operator decides counts at the next request.

use std::fs;

use nabi_tests::appliance::{State, process, text, wait_for};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Keys for asking models.
fn keys(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"name": name, "scope": "inference"})).collect()
}

#[test]
fn a_key_for_metrics_reads_them_and_nothing_else() {
    let state = State::empty();
    let up = state.up(&[]);
    let added = state.done(&["key", "add", "watch", "--scope", "metrics"]);
    assert_eq!(added["key_added"]["scope"], "metrics");
    let listed = state.done(&["key", "list"]);
    assert_eq!(listed["keys"][1], json!({"name": "watch", "scope": "metrics"}));
    let watch = up.client().with_key(&text(&added["key_added"]["key"]));
    assert_eq!(watch.get("/metrics").status, 200);
    assert_eq!(watch.get("/v1/models").error(), (403, "key_scope"));
    assert_eq!(up.client().get("/metrics").error(), (403, "key_scope"));
}

#[test]
fn a_key_is_accepted_and_refused_at_once() {
    let state = State::empty();
    let up = state.up(&[]);
    let models = |key: &str| up.client().with_key(key).get("/v1/models");
    assert_eq!(state.done(&["key", "list"])["keys"], keys(&["demo"]));

    for round in 0..5 {
        let added = state.done(&["key", "add", "ministry"]);
        let key = text(&added["key_added"]["key"]);
        assert_eq!(models(&key).status, 200, "round {round}");
        assert_eq!(state.done(&["key", "list"])["keys"], keys(&["demo", "ministry"]));
        assert!(state.fails(&["key", "add", "ministry"]).contains("revoke it first"));

        assert_eq!(state.done(&["key", "revoke", "ministry"])["revoked"], "ministry");
        assert_eq!(models(&key).error(), (401, "invalid_api_key"), "round {round}");
    }
    assert!(state.fails(&["key", "revoke", "ministry"]).contains("nabi key list"));
    assert_eq!(models(up.key()).status, 200, "the other key is untouched");
}

#[test]
fn a_revocation_is_not_called_done_before_the_gateway_took_it() {
    let state = State::empty();
    let up = state.up(&[]);
    let key = text(&state.done(&["key", "add", "ministry"])["key_added"]["key"]);
    let gateway = state.gateway_pid();
    process::signal(gateway, Signal::SIGSTOP);
    let said = state.fails(&["key", "revoke", "ministry"]);
    assert!(said.contains("the change is kept") && said.contains("nabi logs gateway"), "{said}");
    assert_eq!(state.done(&["key", "list"])["keys"], keys(&["demo"]));
    process::signal(gateway, Signal::SIGCONT);
    let client = up.client().with_key(&key);
    wait_for("it is refused", || (client.get("/v1/models").status == 401).then_some(()));
}

#[test]
fn the_ca_verb_prints_the_certificate_that_clients_trust() {
    let state = State::empty();
    let up = state.up(&[]);
    let ca = state.done(&["ca"]);
    let file = fs::read_to_string(up.ca()).expect("the CA");
    assert_eq!(text(&ca["ca"]["certificate_pem"]), file);
    assert_eq!(text(&ca["ca"]["sha256"]).len(), 64);
    assert_eq!(up.client().get("/healthz").status, 200, "and its leaf is accepted");
}

#[test]
fn an_appliance_without_models_says_so() {
    let state = State::empty();
    let up = state.up(&[]);
    let status = state.status();
    assert_eq!((&status["ready"], &status["engines"]), (&false.into(), &json!([])));
    assert_eq!(status["address"], up.address());
    assert_eq!(up.client().get("/v1/models").body["data"], json!([]));
    assert_eq!(up.client().say("none", "hello", json!({})).error(), (404, "model_not_found"));
    let version = state.done(&["version"]);
    assert!(text(&version["version"]["pack"]).contains("llama-cpp"), "{version}");
    let logs = state.done(&["logs", "gateway", "-n", "5"]);
    assert_eq!(logs["logs"][0]["process"], "gateway");
    assert!(state.fails(&["logs", "nobody"]).contains("supervisor, gateway, import"));
    drop(up);
    assert!(state.fails(&["status"]).contains("nabi up"), "nobody answers any more");
}
