//! Processes as units, by a systemd that is simulated. `make test-image-full` runs the same tests in
//! the machine too, by its own systemd: one at a time, since they share a unit's name.

mod systemd;

use std::os::unix::net::UnixListener;
use std::sync::MutexGuard;

use systemd_zbus::{ManagerProxy, Mode};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use zbus::Connection;
use zbus::zvariant::Value;

use super::*;
use systemd::{Record, Systemd};

/// For whatever must happen: no verdict depends on how soon it does.
const DEADLINE_S: u64 = 60;

/// The environment variable that says `real` in the machine.
const WHICH_SYSTEMD: &str = "NABI_TEST_SYSTEMD";

/// A test's systemd, and where logs go.
struct Bench {
    /// Absent where the systemd is real.
    simulation: Option<Simulation>,
    folder: TempDir,
}

struct Simulation {
    systemd: Systemd,
    connection: Connection,
    _its_end: Connection,
}

impl Bench {
    async fn new() -> Self {
        let simulation = match std::env::var_os(WHICH_SYSTEMD) {
            Some(which) => {
                assert_eq!(which, "real", "{WHICH_SYSTEMD}");
                None
            }
            None => {
                let (systemd, connection, its_end) = Systemd::start().await;
                Some(Simulation { systemd, connection, _its_end: its_end })
            }
        };
        Self { simulation, folder: tempfile::tempdir().expect("temporary folder") }
    }

    /// For one unit, as [`unit::connect`]: a real systemd lets nobody subscribe twice.
    async fn connect(&self) -> Connection {
        match &self.simulation {
            Some(simulation) => simulation.connection.clone(),
            None => unit::connect().await.expect("the system's bus"),
        }
    }

    /// What it was told; a real one does not say.
    fn record(&self) -> Option<MutexGuard<'_, Record>> {
        self.simulation.as_ref().map(|simulation| simulation.systemd.record())
    }

    /// Starts a shell as the gateway's unit.
    async fn run(&self, script: &str) -> Result<Process> {
        self.start(Path::new("/bin/sh"), &["-c", script], None).await
    }

    async fn start(&self, program: &Path, arguments: &[&str], socket: Option<OwnedFd>) -> Result<Process> {
        let spec = Spec {
            part: Part::Gateway,
            arguments: arguments.iter().map(OsStr::new).collect(),
            environment: vec![("COLOUR", "blue".as_ref())],
            socket,
            stdout: true,
            logs: self.folder.path(),
        };
        let log = log(&spec);
        let (pipes, standard) = pipes(spec.stdout)?;
        let (unit, pid) = Unit::start(&self.connect().await, program, spec, standard).await?;
        Ok(Process::new(Running::Unit(Box::new(unit)), pid, pipes, log))
    }
}

/// Waits for the first line on its standard output.
async fn first_line(process: &mut Process) -> String {
    let mut lines = BufReader::new(process.take_stdout().expect("a pipe")).lines();
    lines.next_line().await.expect("read").expect("a line")
}

fn runs(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[tokio::test]
async fn a_unit_gets_what_a_child_gets() {
    let bench = Bench::new().await;
    let socket = UnixListener::bind(bench.folder.path().join("socket")).expect("bound");
    let script = "test -S /proc/self/fd/3 && echo $COLOUR $LISTEN_FDS \"$0\"; cat && echo alone >&2; exit 70";
    // Nothing in an argument is replaced.
    let arguments = ["-c", script, "${COLOUR} $$ %n"];
    let started = bench.start(Path::new("/bin/sh"), &arguments, Some(socket.into())).await;
    let mut process = started.expect("started");
    assert!(runs(process.pid));
    assert_eq!(first_line(&mut process).await, "blue 1 ${COLOUR} $$ %n");
    let expected = [
        "Type",
        "ExecStartEx",
        "Environment",
        "StandardInputFileDescriptor",
        "StandardErrorFileDescriptor",
        "AddRef",
        "CollectMode",
        "StandardOutputFileDescriptor",
        "ExtraFileDescriptors",
    ];
    if let Some(record) = bench.record() {
        assert_eq!(record.properties, expected);
    }
    // Its standard input ends with our end of the lifeline.
    process._lifeline = pipe().expect("another pipe").1;
    let end = process.wait().await;
    assert_eq!(end.reason, "ended with exit status: 70; its last words: alone");
}

#[tokio::test]
async fn the_end_is_told_with_the_last_words() {
    let bench = Bench::new().await;
    for (script, refused, reason) in [
        ("echo the pack is missing >&2; exit 78", true, "the pack is missing"),
        ("echo oops >&2; exit 1", false, "ended with exit status: 1; its last words: oops"),
        ("exit 0", false, "ended with exit status: 0"),
        ("kill -9 $$", false, "ended with signal: 9 (SIGKILL)"),
    ] {
        // One after the other: each name is free again.
        let end = bench.run(script).await.expect("started").wait().await;
        assert_eq!((end.refused, end.reason.as_str()), (refused, reason), "{script}");
    }
}

#[tokio::test]
async fn a_program_that_is_missing_is_an_end_with_a_reason() {
    let bench = Bench::new().await;
    let process = bench.start(Path::new("/missing"), &[], None).await;
    let end = process.expect("started, as far as systemd is concerned").wait().await;
    assert!(!end.refused && end.reason.contains("its program could not be executed"), "{}", end.reason);
}

#[tokio::test]
async fn it_is_asked_to_end_and_then_killed() {
    let bench = Bench::new().await;
    let term = ("main".to_owned(), 15);
    let mut willing =
        bench.run("trap 'exit 0' TERM; echo; while :; do sleep 0.01; done").await.expect("started");
    first_line(&mut willing).await;
    let pid = willing.pid;
    willing.end(Duration::from_secs(3600), std::future::pending()).await;
    assert!(!runs(pid));
    if let Some(record) = bench.record() {
        assert_eq!(record.signals, std::slice::from_ref(&term));
    }

    let mut stubborn = bench.run("trap '' TERM; echo; while :; do sleep 0.01; done").await.expect("started");
    first_line(&mut stubborn).await;
    let pid = stubborn.pid;
    if bench.simulation.is_some() {
        // From here on, waiting takes no time: neither for us nor until a real one is taken for stuck.
        tokio::time::pause();
    }
    stubborn.end(Duration::from_secs(3600), async {}).await;
    match bench.record() {
        Some(record) => assert_eq!(record.signals, [term.clone(), term.clone(), term, ("all".to_owned(), 9)]),
        None => assert!(!runs(pid)),
    }
}

#[tokio::test]
async fn one_that_nobody_wants_any_more_is_killed() {
    let bench = Bench::new().await;
    let mut process = bench.run("trap '' TERM; echo; while :; do sleep 0.01; done").await.expect("started");
    first_line(&mut process).await;
    let Process { running: Running::Unit(unit), _lifeline, .. } = process else { panic!("a unit") };
    drop(unit);
    // It is gone when its name is free.
    let next = async {
        loop {
            match bench.run("exit 0").await {
                Ok(next) => return next,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let next = tokio::time::timeout(Duration::from_secs(DEADLINE_S), next).await;
    next.expect("its name is free").wait().await;
    if let Some(record) = bench.record() {
        let all = ("all".to_owned(), 9);
        assert!(record.signals.iter().all(|sent| *sent == all));
    }
}

#[tokio::test]
async fn what_an_earlier_life_left_is_ended_and_what_is_ours_stays() {
    let bench = Bench::new().await;
    let manager = ManagerProxy::new(&bench.connect().await).await.expect("a proxy");
    let command = ("/bin/sleep", vec!["sleep", "1000"], vec!["no-env-expand"]);
    let sleep =
        [("ExecStartEx", Value::from(vec![command])), ("CollectMode", Value::from("inactive-or-failed"))];
    let left = manager.start_transient_unit("nabi-gateway.service", Mode::Fail, &sleep, &[]).await;
    left.expect("of an earlier supervisor");
    let mut ours = bench.run("echo ours; cat; exit 3").await.expect("started");
    assert_eq!(first_line(&mut ours).await, "ours");

    let second = bench.run("exit 0").await.err().expect("there is one already");
    assert!(format!("{second:#}").contains("it runs already"), "{second:#}");
    let Process { mut running, _lifeline, .. } = ours;
    drop(_lifeline);
    assert_eq!(running.wait().await.how, "ended with exit status: 3");
}

#[test]
fn the_longest_name_fits_into_a_unit() {
    let longest = "m".repeat(64).parse().expect("a name");
    assert!([Part::Engine(&longest), Part::Import(&longest)].iter().all(|part| part.unit().len() <= 255));
}
