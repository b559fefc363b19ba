//! `nabi up`: the first look, the second start, and starts that cannot be.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nabi_tests::appliance::State;
use nabi_tests::programs::demo_model;
use serde_json::{Value, json};

use crate::{TINY, argument, serve_tiny, tiny};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode()
        & 0o777
}

#[test]
fn the_printed_line_works_as_it_stands() {
    let state = State::empty();
    let up = state.up(&["--model", argument(&demo_model()), "--name", "SmolLM2"]);
    let output = Command::new("sh").args(["-c", up.curl()]).output().expect("sh runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", up.curl());
    let reply: Value = serde_json::from_slice(&output.stdout).expect("the answer is JSON");
    let text = reply["choices"][0]["message"]["content"].as_str().expect("an answer").to_lowercase();
    assert!(text.contains("butterfl"), "a real model speaks of what it was asked: {text}");
}

#[test]
fn secrets_are_for_their_owner_alone() {
    let state = State::empty();
    let up = serve_tiny(&state, &[]);
    for (private, expected) in [
        ("demo-key", 0o600),
        ("supervisor", 0o700),
        ("supervisor/ca-key.pem", 0o600),
        ("supervisor/operator.json", 0o600),
        ("run", 0o700),
        ("run/gateway", 0o700),
        ("run/gateway/gateway.json", 0o640),
    ] {
        assert_eq!(mode(&state.path(private)), expected, "{private}");
    }
    let key = fs::read_to_string(state.path("demo-key")).expect("the demo key");
    assert_eq!(key.trim_end(), up.key());
    assert_eq!(up.ca(), state.path("ca.pem"));
}

#[test]
fn a_second_start_imports_nothing() {
    let state = State::empty();
    let tiny = tiny();
    let path = tiny.path();
    let arguments = ["--model", argument(&path), "--name", TINY];
    let first = state.up(&arguments);
    let (key, ca) = (first.key().to_owned(), fs::read(first.ca()).expect("the CA"));
    drop(first);
    // Without its source it cannot be imported.
    fs::remove_file(&path).expect("the source goes");
    let second = state.up(&arguments);
    assert_eq!((second.key(), fs::read(second.ca()).expect("the CA")), (key.as_str(), ca));
    second.client().say(TINY, "hello", json!({"max_tokens": 3})).text();
}

#[test]
fn why_the_supervisor_does_not_run_is_what_verbs_say() {
    let state = State::empty();
    drop(state.up(&[]));
    let ca = state.path("ca.pem");
    let whole = fs::read(&ca).expect("the CA");
    fs::write(&ca, "no certificate").expect("written");
    let reason = "the certificate authority is damaged";
    let said = state.up_fails(&[]);
    assert!(said.contains(reason), "{said}");
    let said = state.fails(&["status"]);
    assert!(said.contains("the supervisor cannot run: ") && said.contains(reason), "{said}");
    fs::write(&ca, whole).expect("written");
    let _up = state.up(&[]);
    state.status();
}

#[test]
fn a_port_in_use_is_named_with_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("its address").to_string();
    let state = State::empty();
    let said = state.up_fails(&["--listen", &address]);
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
    drop(taken);
    let up = state.up(&["--listen", &address]);
    assert_eq!(up.address(), format!("https://{address}"));
}

#[test]
fn a_reply_that_nobody_reads_is_an_error_and_no_panic() {
    let state = State::empty();
    let _up = state.up(&[]);
    let mut nabi = state
        .verb_command(&["status"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("nabi runs");
    drop(nabi.stdout.take());
    let output = nabi.wait_with_output().expect("nabi ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("nabi: cannot write to standard output: "), "{said}");
}

#[test]
fn a_second_appliance_on_the_same_state_is_refused_and_touches_nothing() {
    let state = State::empty();
    let up = serve_tiny(&state, &[]);
    let before = state.status();
    let tiny = tiny();
    let path = tiny.path();
    for arguments in [&["--model", argument(&path), "--name", "intruder"][..], &[]] {
        let said = state.up_fails(arguments);
        assert!(said.contains("another Nabi runs") && said.contains("--state"), "{said}");
    }
    assert_eq!(state.models(), [TINY]);
    let after = state.status();
    for part in ["gateway", "ready"] {
        assert_eq!(before[part], after[part]);
    }
    up.client().say(TINY, "hello", json!({"max_tokens": 3})).text();
}
