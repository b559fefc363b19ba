//! Ctrl-C: running answers end properly, and nothing stays.

use std::fs;

use nabi_tests::appliance::{Ending, State, process, wait_for};
use serde_json::json;

use crate::{TINY, serve_tiny};

/// An answer that takes longer than the way of a signal through all processes.
const ANSWER_TOKENS: u32 = 2000;

/// Interrupts an appliance in the middle of an answer, once or twice, and says how that ended.
fn interrupted(grace_ms: &str, twice: bool) -> Ending {
    let state = State::empty();
    let mut up = serve_tiny(&state, &["--drain-grace-ms", grace_ms]);
    let pids = up.pids();
    let fields = json!({"temperature": 0, "max_tokens": ANSWER_TOKENS});
    let mut stream = up.client().stream(TINY, "hello", fields);
    stream.next_text();
    up.interrupt();
    if twice {
        let log = || fs::read_to_string(state.path("logs/gateway.log")).expect("the gateway's log");
        wait_for("it drains", || log().contains("draining").then_some(()));
        up.interrupt();
    }
    let ending = stream.end();
    assert!(up.end().success(), "{}", up.said());
    assert!(up.said().contains("draining"), "{}", up.said());
    let left: Vec<_> = pids.into_iter().filter(|&pid| process::runs(pid)).collect();
    assert!(left.is_empty(), "processes stay: {left:?}");
    assert!(!state.path("run").exists(), "no socket stays");
    ending
}

#[test]
fn a_running_answer_ends_within_the_grace() {
    let ending = interrupted("60000", false);
    assert_eq!((ending.finish_reason.as_deref(), ending.error), (Some("length"), None));
}

#[test]
fn an_answer_that_the_grace_cuts_says_so() {
    let ending = interrupted("1", false);
    assert_eq!((ending.finish_reason, ending.error.as_deref()), (None, Some("shutting_down")));
}

#[test]
fn a_second_interrupt_ends_the_grace() {
    let ending = interrupted("60000", true);
    assert_eq!((ending.finish_reason, ending.error.as_deref()), (None, Some("shutting_down")));
}
