//! The operator over SSH, as sshd starts `nabi` for each session: the account's shell with a forced
//! command, and what the client asked for in `SSH_ORIGINAL_COMMAND`.

use std::fs;
use std::process::{Command, Output, Stdio};

use nabi_tests::appliance::{State, process, wait_for};
use nabi_tests::programs::program;
use serde_json::Value;

use crate::import::write_large;
use crate::{TINY, argument, serve_tiny, tiny};

/// A session of a client that asks for this, or for nothing.
fn session(state: &State, line: Option<&str>) -> Output {
    session_command(state, line).output().expect("nabi runs")
}

fn session_command(state: &State, line: Option<&str>) -> Command {
    let nabi = program("nabi");
    let forced = format!(
        "{} --state {} ssh --media {}",
        nabi.display(),
        state.path("").display(),
        state.path("media").display()
    );
    let mut shell = Command::new(nabi);
    shell.args(["-c", &forced]).env_clear().stdin(Stdio::null());
    shell.envs(line.map(|line| ("SSH_ORIGINAL_COMMAND", line)));
    shell
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

#[test]
fn verbs_work_over_ssh_as_they_do_here() {
    let state = State::empty();
    let up = serve_tiny(&state, &[]);
    let done = |line| {
        let output = session(&state, line);
        assert!(output.status.success(), "{line:?}: {output:?}");
        text(output.stdout)
    };
    let status: Value = serde_json::from_str(&done(Some("status --json"))).expect("JSON");
    assert_eq!(status["status"]["address"], up.address());
    assert_eq!(done(Some("ca")), fs::read_to_string(up.ca()).expect("the CA"), "and nothing else");
    assert!(done(Some("key add ministry")).starts_with("nabi-"));
    let overview = done(None);
    assert!(overview.contains(&format!("{TINY}: ready")) && overview.contains("self-test"), "{overview}");
}

#[test]
fn models_come_over_ssh_from_attached_media_alone() {
    let state = State::empty();
    let _up = state.up(&[]);
    let stick = state.path("media/STICK");
    fs::create_dir_all(&stick).expect("a stick");
    let tiny = tiny();
    fs::copy(tiny.path(), stick.join("tiny.gguf")).expect("copied");
    let elsewhere = session(&state, Some(&format!("model import {}", argument(&tiny.path()))));
    assert_eq!(elsewhere.status.code(), Some(2));
    assert!(text(elsewhere.stderr).contains("lies on no stick"));
    assert!(state.models().is_empty());
    let imported = session(&state, Some(&format!("model import STICK/tiny.gguf --name {TINY}")));
    assert!(imported.status.success(), "{imported:?}");
    assert_eq!(state.models(), [TINY]);
}

/// sshd sends no signal to a session without a terminal: its pipes are closed.
#[test]
fn what_nobody_reads_any_more_is_interrupted() {
    let state = State::empty();
    let up = state.up(&[]);
    fs::create_dir_all(state.path("media/STICK")).expect("a stick");
    write_large(&state.path("media/STICK/large.gguf"));
    let mut import = session_command(&state, Some("model import STICK/large.gguf"));
    let mut import = import.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("nabi runs");
    let worker = wait_for("the import runs", || {
        let mut children = process::children(up.supervisor_pid()).into_iter();
        children.find(|&child| process::name(child) == "nabi-import")
    });
    drop(import.stdout.take());
    assert_eq!(import.wait().expect("it ends").code(), Some(70));
    wait_for("the import ends", || (!process::runs(worker)).then_some(()));
    assert!(state.models().is_empty(), "it was interrupted");
}

#[test]
fn nothing_else_can_be_had_over_ssh() {
    let state = State::empty();
    for line in ["up", "sh -i", "/usr/lib/openssh/sftp-server", "scp -t .", "--state /x status", "a\nb"] {
        let output = session(&state, Some(line));
        assert_eq!(output.status.code(), Some(2), "{line}");
        let said = text(output.stderr);
        assert!(said.starts_with("nabi: ") && said.lines().count() == 1, "{line}: {said}");
        assert!(output.stdout.is_empty());
    }
    // Nobody answers yet: the verb is one, and fails.
    assert_eq!(session(&state, Some("status")).status.code(), Some(1));
}

#[test]
fn as_a_login_shell_it_runs_nothing_but_sessions() {
    let nabi = || Command::new(program("nabi"));
    for command in ["nabi status", "nabi up --pack /x", "sh -c id", "", "'"] {
        let output = nabi().args(["-c", command]).output().expect("nabi runs");
        assert!(!output.status.success() && output.stdout.is_empty(), "{command}: {output:?}");
    }
}
