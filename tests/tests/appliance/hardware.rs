//! What the machine has: here recorded and constructed ones, of agent/hardware/tests/machines.

use std::fs;
use std::path::{Path, PathBuf};

use nabi_tests::appliance::{Appliance, State, process, text, wait_for};
use nabi_tests::programs::program;
use serde_json::{Value, json};

use crate::argument;

fn machine(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/hardware/tests/machines").join(name)
}

/// Of a machine there.
fn expected(name: &str) -> Value {
    let text = fs::read(machine(name)).expect("it can be read");
    serde_json::from_slice(&text).expect("JSON")
}

fn printed(state: &State, verb: &[&str]) -> String {
    let output = state.verb_command(verb).output().expect("nabi runs");
    String::from_utf8(output.stdout).expect("text")
}

fn is_gone(up: &Appliance<'_>, name: &str) {
    wait_for("who hung is gone", || up.pids().iter().all(|&pid| process::name(pid) != name).then_some(()));
}

#[test]
fn a_recorded_machine_is_shown_and_its_recording_is_the_same_machine() {
    let state = State::empty();
    let up = state.up(&["--hardware-root", argument(&machine("amd-mi300x-eight.tree"))]);
    assert_eq!(state.done(&["hardware"])["hardware"], expected("amd-mi300x-eight.json"));
    let shown = printed(&state, &["hardware"]);
    assert_eq!(shown.matches("has its driver amdgpu").count(), 8, "{shown}");

    let again = state.path("again.tree");
    fs::write(&again, printed(&state, &["hardware", "--record"])).expect("written");
    drop(up);
    let other = State::empty();
    let _up = other.up(&["--hardware-root", argument(&again)]);
    assert_eq!(other.done(&["hardware"])["hardware"], expected("amd-mi300x-eight.json"));
}

#[test]
fn this_machine_is_shown() {
    let state = State::empty();
    let _up = state.up(&[]);
    let machine = state.done(&["hardware"]);
    assert!(machine["hardware"]["cpu"]["threads"].as_u64() > Some(0), "{machine}");
    assert!(machine["hardware"]["memory"]["total_bytes"].as_u64() > Some(0), "{machine}");
}

#[test]
fn a_machine_that_cannot_be_read_says_why_and_all_else_goes_on() {
    let state = State::empty();
    let _up = state.up(&["--hardware-root", argument(&state.path("nowhere"))]);
    let said = state.fails(&["hardware"]);
    assert!(said.contains("cannot read the machine below") && said.contains("nowhere"), "{said}");
    state.status();
}

#[test]
fn a_look_that_hangs_or_crashes_is_told_and_gone() {
    for (script, words) in [
        ("#!/bin/sh\nexec sleep infinity\n", "a device hangs"),
        ("#!/bin/sh\nkill -SEGV $$\n", "SIGSEGV"),
        ("#!/bin/sh\nhead -c 64 /dev/zero\n", "another version"),
    ] {
        let state = State::with_script("nabi-probe", script);
        let up = state.up(&[]);
        let said = state.fails(&["hardware"]);
        assert!(said.contains(words), "{said}");
        is_gone(&up, "sleep");
        state.status();
    }
}

/// Starts a machine with eight cards, whose library is the stand-in of `tests/stub-nvml`.
fn with_library<'a>(state: &'a State, answers: &Value) -> Appliance<'a> {
    let library = state.path("libnvidia-ml.so.1");
    fs::copy(program("libnabi_stub_nvml.so"), &library).expect("copied");
    fs::write(state.path("stub-nvml.json"), answers.to_string()).expect("written");
    let machine = machine("nvidia-eight.tree");
    state.up(&["--hardware-root", argument(&machine), "--nvidia-library", argument(&library)])
}

fn cards() -> Vec<String> {
    let machine = expected("nvidia-eight.json");
    let accelerators = machine["accelerators"].as_array().expect("a list").iter();
    accelerators.map(|card| text(&card["address"])).collect()
}

#[test]
fn nvidias_library_tells_what_no_file_does_of_each_card() {
    let at = cards();
    let to = format!("0000{}", at[1].to_uppercase());
    let answers = json!({"start": "succeeds", "cards": [
        {
            "address": at[0], "name": "NVIDIA H200", "memory_bytes": 150_000_000_000_u64,
            "compute_capability": [9, 0], "ecc_errors": 3, "parts": [], "recovery": 0,
            "nvlinks": ["00000000:99:00.0", null, to],
        },
        {"address": at[1], "parts": [null, {"uuid": "MIG-1", "memory_bytes": 5}], "recovery": 4},
        {"address": at[2], "fails": 15},
        {"address": at[3], "recovery": 1},
        {"address": at[4]},
    ]});
    let state = State::empty();
    let _up = with_library(&state, &answers);
    let machine = state.done(&["hardware"]);
    let card = |number: usize| machine["hardware"]["accelerators"][number].clone();
    let reason = |number: usize| text(&card(number)["driver"]["failed"]["reason"]);
    assert_eq!(card(0)["name"], "NVIDIA H200");
    assert_eq!((&card(0)["memory_bytes"], &card(0)["chip"]), (&json!(150_000_000_000_u64), &json!("sm_90")));
    assert_eq!(card(0)["links"], json!([{"kind": "nvlink", "to": at[1]}]));
    let about = json!({
        "ecc": {"is_on": true, "uncorrected_errors": 3}, "mig": {"is_on": false, "parts": []},
        "nvlinks": 2, "wanted": null,
    });
    assert_eq!(card(0)["nvidia"], about);
    let parts = json!({"is_on": true, "parts": [{"uuid": "MIG-1", "memory_bytes": 5}]});
    assert_eq!(card(1)["nvidia"]["mig"], parts);
    assert!(card(1)["driver"]["works"].is_object() && card(1)["nvidia"]["wanted"].is_string(), "{}", card(1));
    assert!(reason(2).contains("fell off the bus"), "{}", reason(2));
    assert!(reason(3).contains("wants this card reset"), "{}", reason(3));
    assert!(card(4)["driver"]["works"].is_object(), "{}", card(4));
    assert!(!reason(5).is_empty(), "the library does not know it");
    assert_eq!(machine["hardware"]["problems"], json!([]));
}

#[test]
fn a_library_that_fails_crashes_or_hangs_leaves_what_is_known() {
    let at = cards();
    let first = json!({"address": at[0], "name": "known", "compute_capability": [9, 0]});
    let hangs = json!({"address": at[1], "hangs": true});
    for (answers, words, known) in [
        (json!({"start": {"fails": 18}}), "two versions", false),
        (json!({"start": "crashes"}), "SIGABRT", false),
        (json!({"start": "succeeds", "cards": [first, hangs]}), "a device hangs", true),
    ] {
        let state = State::empty();
        let up = with_library(&state, &answers);
        let machine = state.done(&["hardware"]);
        let problem = text(&machine["hardware"]["problems"][0]["reason"]);
        assert!(problem.contains(words), "{problem}");
        assert!(problem.contains(&at[usize::from(known)]), "{problem} does not name the card");
        let cards = machine["hardware"]["accelerators"].as_array().expect("a list");
        assert!(
            cards.len() == 8 && cards.iter().all(|card| card["driver"]["works"].is_object()),
            "{machine}"
        );
        assert_eq!(cards[0]["name"] == "known", known, "{machine}");
        is_gone(&up, "nabi-probe");
        // The next one is not kept from looking.
        if known {
            fs::write(state.path("stub-nvml.json"), json!({"start": "succeeds"}).to_string())
                .expect("written");
            assert_eq!(state.done(&["hardware"])["hardware"]["problems"], json!([]));
        }
    }
}
