//! A whole appliance, as `nabi up` starts it: met by its operator through verbs, and by API users
//! over HTTPS.

mod client;
pub mod process;

pub use client::{Client, Ending, Reply, Stream};

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::programs::{pack, program};

/// For whatever must happen: no verdict depends on how soon it does.
pub const DEADLINE_S: u64 = 60;
const POLL_MS: u64 = 10;

/// Polls until there is something.
///
/// # Panics
/// When the deadline passes first.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(DEADLINE_S);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE_S} s");
        std::thread::sleep(Duration::from_millis(POLL_MS));
    }
}

/// A state folder. It outlives the appliances that run on it.
pub struct State {
    folder: TempDir,
}

impl State {
    /// An empty one, in a temporary folder.
    ///
    /// # Panics
    /// When there is no room for one.
    pub fn empty() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// The path of something in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `nabi up` with these arguments until it says how to use it.
    ///
    /// # Panics
    /// When it does not.
    pub fn up(&self, arguments: &[&str]) -> Appliance<'_> {
        let stderr = File::create(self.path("up.stderr")).expect("the state is writable");
        let mut up = self.up_command(arguments);
        let mut up =
            up.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().expect("nabi starts");
        let stdout = BufReader::new(up.stdout.take().expect("standard output is a pipe"));
        // From here on it is ended if this test fails.
        let mut appliance = Appliance { state: self, up, usage: Usage::default() };
        let (told, usage) = mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        while appliance.usage.curl.is_empty() {
            let Ok(line) = usage.recv_timeout(Duration::from_secs(DEADLINE_S)) else {
                panic!("nabi up does not say how to use it: {}", appliance.said());
            };
            appliance.usage.read(line);
        }
        appliance
    }

    /// Runs `nabi up` with these arguments, which must fail, and returns what it says.
    ///
    /// # Panics
    /// When it succeeds, goes on, or says how to use it.
    pub fn up_fails(&self, arguments: &[&str]) -> String {
        let nabi = self.up_command(arguments);
        let output = within_deadline(&nabi).output().expect("nabi runs");
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    }

    fn up_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("nabi"));
        command.arg("--state").arg(self.folder.path()).arg("up").args(arguments);
        if !arguments.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.arg("--pack").arg(pack());
        command
    }

    /// A verb, ready to run.
    pub fn verb_command(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(program("nabi"));
        command.arg("--state").arg(self.folder.path()).args(verb).stdin(Stdio::null());
        command
    }

    /// Runs a verb with `--json`: its reply, or what it says instead.
    ///
    /// # Errors
    /// What it wrote to standard error, when it failed.
    ///
    /// # Panics
    /// When it does not end, or its reply is not JSON.
    pub fn verb(&self, verb: &[&str]) -> Result<Value, String> {
        let nabi = self.verb_command(&[verb, &["--json"]].concat());
        let output = within_deadline(&nabi).output().expect("nabi runs");
        if !output.status.success() {
            return Err(String::from_utf8(output.stderr).expect("text"));
        }
        Ok(serde_json::from_slice(&output.stdout).expect("--json prints JSON"))
    }

    /// Runs a verb that must succeed.
    ///
    /// # Panics
    /// When it fails.
    pub fn done(&self, verb: &[&str]) -> Value {
        self.verb(verb).unwrap_or_else(|said| panic!("nabi {}: {said}", verb.join(" ")))
    }

    /// Runs a verb that must fail, and returns what it says.
    ///
    /// # Panics
    /// When it succeeds.
    pub fn fails(&self, verb: &[&str]) -> String {
        match self.verb(verb) {
            Ok(reply) => panic!("nabi {} succeeded: {reply}", verb.join(" ")),
            Err(said) => said,
        }
    }

    /// The reply to `status`.
    pub fn status(&self) -> Value {
        self.done(&["status"])["status"].take()
    }

    /// The process of the gateway, once it is ready.
    pub fn gateway_pid(&self) -> u32 {
        wait_for("the gateway is ready", || ready_pid(&self.status()["gateway"]))
    }

    /// The process that serves a model, once it is ready.
    ///
    /// # Panics
    /// When the model is not served.
    pub fn engine_pid(&self, model: &str) -> u32 {
        wait_for("the engine is ready", || {
            let status = self.status();
            let engines = status["engines"].as_array().expect("a list of engines");
            let engine = engines.iter().find(|engine| engine["model"] == model);
            ready_pid(&engine.unwrap_or_else(|| panic!("{model} is not served: {status}"))["state"])
        })
    }

    /// Names of the stored models.
    pub fn models(&self) -> Vec<String> {
        let reply = self.done(&["model", "list"]);
        let models = reply["models"].as_array().expect("a list of models");
        models.iter().map(|model| text(&model["summary"]["name"])).collect()
    }
}

/// The same command, killed when it hangs.
fn within_deadline(command: &Command) -> Command {
    let mut limited = Command::new("timeout");
    limited.args(["--signal=KILL", &DEADLINE_S.to_string()]).arg(command.get_program());
    limited.args(command.get_args()).stdin(Stdio::null());
    limited
}

fn ready_pid(state: &Value) -> Option<u32> {
    state["ready"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
}

/// A JSON string.
///
/// # Panics
/// When it is something else.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// What `nabi up` prints.
#[derive(Default)]
struct Usage {
    address: String,
    ca: PathBuf,
    key: String,
    curl: String,
}

impl Usage {
    fn read(&mut self, line: String) {
        if let Some(address) = line.strip_prefix("Nabi serves at ") {
            self.address = address.to_owned();
        } else if let Some(ca) = line.strip_prefix("CA certificate: ") {
            self.ca = ca.into();
        } else if let Some(key) = line.strip_prefix("API key: ") {
            self.key = key.to_owned();
        } else if line.starts_with("curl ") {
            self.curl = line;
        }
    }
}

/// A running appliance. Dropped, it is interrupted as by Ctrl-C.
pub struct Appliance<'a> {
    state: &'a State,
    up: Child,
    usage: Usage,
}

impl Appliance<'_> {
    /// As printed.
    pub fn address(&self) -> &str {
        &self.usage.address
    }

    /// The path of the CA's certificate, as printed.
    pub fn ca(&self) -> &Path {
        &self.usage.ca
    }

    /// The demo key, as printed.
    pub fn key(&self) -> &str {
        &self.usage.key
    }

    /// The line to try, as printed.
    pub fn curl(&self) -> &str {
        &self.usage.curl
    }

    /// An API user with the demo key, who trusts the CA alone.
    pub fn client(&self) -> Client {
        Client::new(&self.usage.address, &self.usage.ca, &self.usage.key)
    }

    /// The process `nabi up`.
    pub fn pid(&self) -> u32 {
        self.up.id()
    }

    /// The supervisor: the only child of `nabi up`.
    ///
    /// # Panics
    /// When there is another number of children.
    pub fn supervisor_pid(&self) -> u32 {
        match process::children(self.pid())[..] {
            [supervisor] => supervisor,
            ref others => panic!("nabi up has the children {others:?}"),
        }
    }

    /// Every process of it, from `nabi up` down.
    pub fn pids(&self) -> Vec<u32> {
        process::family(self.pid())
    }

    /// As Ctrl-C does.
    pub fn interrupt(&self) {
        process::signal(self.pid(), Signal::SIGINT);
    }

    /// Waits for the end of `nabi up`.
    ///
    /// # Panics
    /// When it goes on.
    pub fn end(&mut self) -> ExitStatus {
        wait_for("the end of nabi up", || self.up.try_wait().expect("waits"))
    }

    /// What `nabi up` wrote to standard error.
    pub fn said(&self) -> String {
        fs::read_to_string(self.state.path("up.stderr")).unwrap_or_default()
    }
}

impl Drop for Appliance<'_> {
    fn drop(&mut self) {
        if matches!(self.up.try_wait(), Ok(Some(_))) {
            return;
        }
        self.interrupt();
        let deadline = Instant::now() + Duration::from_secs(DEADLINE_S);
        while matches!(self.up.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                // Its children end with it.
                let _ = self.up.kill();
                let _ = self.up.wait();
            }
            std::thread::sleep(Duration::from_millis(POLL_MS));
        }
    }
}
