//! A whole appliance, as `nabi up` starts it: met by its operator through verbs, and by API users
//! over HTTPS.

mod client;
pub mod process;
mod state;

pub use client::{Client, Ending, Reply, Stream};
pub use state::State;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

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

impl<'a> Appliance<'a> {
    /// Starts `nabi up`, and waits until it says how to use it.
    fn start(state: &'a State, mut up: Command) -> Self {
        let stderr = File::create(state.path("up.stderr")).expect("the state is writable");
        let up = up.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn();
        // From here on it is ended if this test fails.
        let mut appliance = Self { state, up: up.expect("nabi starts"), usage: Usage::default() };
        let stdout = BufReader::new(appliance.up.stdout.take().expect("standard output is a pipe"));
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
        // A test that failed may have left some that stand still.
        let pids = self.pids();
        pids.iter().for_each(|&pid| process::signal_if_it_runs(pid, Signal::SIGCONT));
        process::signal_if_it_runs(self.pid(), Signal::SIGINT);
        let deadline = Instant::now() + Duration::from_secs(DEADLINE_S);
        while matches!(self.up.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(POLL_MS));
        }
        pids.iter().for_each(|&pid| process::signal_if_it_runs(pid, Signal::SIGKILL));
        let _ = self.up.wait();
    }
}
