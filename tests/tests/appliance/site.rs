//! What an appliance is set up with: models that the site file names, and the self-test's.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use nabi_tests::appliance::{DEADLINE_S, State, process, wait_for};
use nabi_tests::programs::{pack, program};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::{TINY, argument, tiny};

const SELF_TEST: &str = "nabi-self-test";

/// A supervisor as systemd starts it, but for its launcher. Dropped, it ends with its children.
struct Supervisor(Child);

impl Supervisor {
    fn start(state: &State) -> Self {
        Self::spawn(Self::command(state))
    }

    fn command(state: &State) -> Command {
        let path = |name| state.path(name);
        let mut command = Command::new(program("nabi-supervisor"));
        command.arg("--state").arg(path("state")).arg("--run").arg(path("run")).arg("--pack").arg(pack());
        command.arg("--site").arg(path("site.json")).arg("--self-test").arg(path("self-test"));
        command.args(["--listen", "127.0.0.1:0"]).stdin(Stdio::piped()).stderr(Stdio::null());
        command
    }

    fn spawn(mut command: Command) -> Self {
        Self(command.spawn().expect("nabi-supervisor starts"))
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // Its standard input ends with us.
        drop(self.0.stdin.take());
        self.0.wait().expect("it ends");
    }
}

fn verb(state: &State, verb: &[&str]) -> Result<serde_json::Value, String> {
    let mut command = Command::new(program("nabi"));
    command.arg("--state").arg(state.path("state")).arg("--run").arg(state.path("run")).args(verb);
    let output = command.arg("--json").stdin(Stdio::null()).output().expect("nabi runs");
    let said = String::from_utf8(output.stderr).expect("text");
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).expect("--json prints JSON"))
    } else {
        Err(said)
    }
}

/// As the image's build does: the store of the self-test is made by the import itself.
fn make_self_test(store: &Path, source: &Path) {
    fs::create_dir(store).expect("created");
    let mut command = Command::new(program("nabi-import"));
    command.args(["import", "--name", SELF_TEST, "--store"]).arg(store).arg("--source").arg(source);
    let import = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut import = import.spawn().expect("nabi-import starts");
    // Its standard input must not end before it does.
    let lifeline = import.stdin.take();
    assert!(import.wait().expect("it ends").success());
    drop(lifeline);
}

#[test]
fn the_site_files_models_are_served_when_they_come_until_the_operator_says_otherwise() {
    let (state, tiny) = (State::empty(), tiny());
    let source = tiny.path();
    make_self_test(&state.path("self-test"), &source);
    let site = json!({"hostname": "nabi", "language": "en", "serve": [{"name": TINY, "settings": {"sequences": 3}}]});
    fs::write(state.path("site.json"), site.to_string()).expect("written");
    let status = || verb(&state, &["status"]).ok().map(|mut reply| reply["status"].take());
    let self_test_proven = || {
        wait_for("the self-test's engine is ready", || {
            status().filter(|status| status["self_test"]["state"]["ready"].is_object())
        })
    };

    let supervisor = Supervisor::start(&state);
    assert_eq!(self_test_proven()["engines"], json!([]));
    wait_for("the self-test's model alone makes it ready", || (status()?["ready"] == true).then_some(()));
    let import = ["model", "import", argument(&source), "--name"];
    verb(&state, &[&import[..], &[TINY]].concat()).expect("imported");
    let served = status().expect("it answers");
    assert_eq!(
        (&served["engines"][0]["model"], &served["engines"][0]["settings"]["sequences"]),
        (&json!(TINY), &json!(3))
    );
    for refused in [
        &["model", "stop", SELF_TEST][..],
        &["model", "serve", SELF_TEST],
        &[&import[..], &[SELF_TEST]].concat(),
    ] {
        let said = verb(&state, refused).expect_err("not the operator's");
        assert!(said.contains(SELF_TEST), "{said}");
    }
    drop(supervisor);

    // What is served stays so, and what was stopped too.
    let supervisor = Supervisor::start(&state);
    assert_eq!(self_test_proven()["engines"][0]["model"], TINY);
    verb(&state, &["model", "stop", TINY]).expect("stopped");
    drop(supervisor);
    let supervisor = Supervisor::start(&state);
    assert_eq!(self_test_proven()["engines"], json!([]));
    drop(supervisor);

    // What was in the store before the site file came is served at the start.
    fs::remove_file(state.path("state/supervisor/operator.json")).expect("all decisions are forgotten");
    let supervisor = Supervisor::start(&state);
    assert_eq!(self_test_proven()["engines"][0]["model"], TINY);
    drop(supervisor);
}

/// What arrived at a notification socket until `line` did.
fn told(notifications: &UnixDatagram, line: &str) -> String {
    let (mut all, mut text) = (String::new(), [0; 4096]);
    while !all.lines().any(|told| told == line) {
        let length =
            notifications.recv(&mut text).unwrap_or_else(|error| panic!("{line}: {error} after {all}"));
        all += &String::from_utf8_lossy(&text[..length]);
        all.push('\n');
    }
    all
}

#[test]
fn as_a_service_it_takes_its_socket_and_tells_that_it_lives() {
    let state = State::empty();
    let site = json!({"hostname": "nabi", "language": "en", "serve": []});
    fs::write(state.path("site.json"), site.to_string()).expect("written");
    let notifications = UnixDatagram::bind(state.path("notify")).expect("bound");
    notifications.set_read_timeout(Some(Duration::from_secs(DEADLINE_S))).expect("set");
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = format!("https://{}", listener.local_addr().expect("bound"));
    let mut command = Supervisor::command(&state);
    command.env("NOTIFY_SOCKET", state.path("notify")).env("WATCHDOG_USEC", "20000").env("LISTEN_FDS", "1");
    let mapping = FdMapping { parent_fd: listener.into(), child_fd: 3 };
    command.fd_mappings(vec![mapping]).expect("no collision");
    let supervisor = Supervisor::spawn(command);

    told(&notifications, "READY=1");
    let status = verb(&state, &["status"]).expect("it is ready");
    assert_eq!(status["status"]["address"], address);
    for _ in 0..3 {
        told(&notifications, "WATCHDOG=1");
    }
    process::signal(supervisor.0.id(), Signal::SIGTERM);
    told(&notifications, "STOPPING=1");
}
