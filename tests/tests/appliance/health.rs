//! What a start is judged by: the self-test, the gateway, and the models that were served before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use nabi_makers::{KNOWN_FILE, write_self_test};
use nabi_tests::appliance::{Appliance, State, wait_for};
use serde_json::json;

use crate::{TINY, argument, tiny};

/// The self-test model in a store of its own, as an image has it.
fn self_test(state: &State) -> PathBuf {
    let store = state.path("self-test");
    write_self_test(&store, 1_000_000_000).expect("written");
    store
}

/// Starts an appliance with the self-test, and waits until its model answers.
fn up<'a>(state: &'a State, store: &Path) -> Appliance<'a> {
    let up = state.up(&["--self-test", argument(store)]);
    wait_for("the self-test model answers", || {
        let outcome = state.done(&["self-test"])["self_test"].take();
        outcome["pending"].is_null().then_some(())
    });
    up
}

/// `boot-check` on trial: its exit status, and what it says.
fn boot_check(state: &State, up: &Appliance<'_>) -> Output {
    let gateway = up.address().strip_prefix("https://").expect("an address");
    let sign = state.path("trial");
    fs::write(&sign, "").expect("written");
    let mut check = state.verb_command(&["boot-check", "--gateway", gateway]);
    check.arg("--trial-sign").arg(sign).output().expect("nabi runs")
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

#[test]
fn a_start_that_shows_all_it_must_is_good() {
    let state = State::empty();
    let store = self_test(&state);
    let up = up(&state, &store);
    assert_eq!(state.done(&["self-test"]), json!({"self_test": {"passed": {"tokens": 8}}}));
    assert_eq!(state.status()["alarms"], json!([]));
    let output = boot_check(&state, &up);
    assert!(output.status.success(), "{output:?}");
    assert!(said(&output).ends_with("this start is good\n"), "{}", said(&output));
}

#[test]
fn kernels_that_compute_otherwise_are_noticed() {
    let state = State::empty();
    let store = self_test(&state);
    let known = store.join(KNOWN_FILE);
    let mut answer = nabi_makers::known_answer();
    answer.token_ids[7] += 1;
    fs::write(known, serde_json::to_vec(&answer).expect("JSON")).expect("written");
    let up = up(&state, &store);
    let alarm = wait_for("the alarm", || state.status()["alarms"].get(0).cloned());
    assert!(alarm["self_test"]["reason"].as_str().is_some_and(|why| why.contains("instead of")), "{alarm}");
    let output = boot_check(&state, &up);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said(&output).contains("the self-test model gives"), "{}", said(&output));
}

#[test]
fn a_model_whose_files_are_gone_is_an_alarm_and_the_rest_serves() {
    let state = State::empty();
    let store = self_test(&state);
    let first = up(&state, &store);
    state.done(&["model", "import", argument(&tiny().path()), "--name", TINY]);
    state.done(&["model", "serve", TINY]);
    wait_for("it is noted", || {
        let facts = state.done(&["boot"])["boot"].take();
        facts["models"].as_array()?.iter().any(|model| model["name"] == TINY).then_some(())
    });
    drop(first);
    fs::remove_dir_all(state.path("models").join(TINY)).expect("removed");
    let again = up(&state, &store);
    let output = boot_check(&state, &again);
    assert!(output.status.success(), "{output:?}");
    assert!(said(&output).contains(&format!("{TINY} cannot be served: ")), "{}", said(&output));
    assert_eq!(state.status()["alarms"][0]["model_absent"]["model"], TINY);
    // What is brought again is served again, without a word.
    state.done(&["model", "import", argument(&tiny().path()), "--name", TINY]);
    wait_for("no alarm", || state.status()["alarms"].as_array()?.is_empty().then_some(()));
    state.engine_pid(TINY);
}

#[test]
fn a_machine_that_is_not_set_up_is_judged_by_whether_it_ever_was() {
    let state = State::empty();
    let mut check = state.verb_command(&["boot-check", "--problem", argument(&state.path("problem"))]);
    fs::write(state.path("problem"), "site.toml, line 3\n").expect("written");
    let sign = state.path("trial");
    fs::write(&sign, "").expect("written");
    check.arg("--trial-sign").arg(&sign);
    // A machine that never served is not better off with another version.
    let output = check.output().expect("nabi runs");
    assert!(output.status.success() && said(&output).contains("site.toml, line 3"), "{output:?}");
    fs::write(state.path("ca.pem"), "").expect("written");
    assert_eq!(check.output().expect("nabi runs").status.code(), Some(1));
}
