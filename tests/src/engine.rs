//! An engine alone, spoken to over its wire.
//!
//! No verdict depends on time: each wait is for what must come, with a deadline that only a hang
//! meets.

mod client;
mod model;

use std::fs::{self, File};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use nabi_wire::config::{EngineConfig, KvFormat, SavedPrefixes};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::programs::{pack, program};

pub use client::{Answer, Client, End, delta_text, greedy};
pub use model::{Golden, GoldenAnswer, GoldenVector, GoldenVectors, Spelling, Tiny, golden};

/// Longest wait for what must come.
const DEADLINE: Duration = Duration::from_secs(60);
/// The first descriptor that LISTEN_FDS speaks of.
const FIRST_SOCKET_FD: i32 = 3;

/// Waits for what must come.
///
/// # Panics
/// When it does not come.
pub async fn within_deadline<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

/// What most tests start an engine with: two short sequences, as it is served by default.
pub fn config(model: &Path) -> EngineConfig {
    EngineConfig {
        name: "tested".parse().expect("a good name"),
        model: model.to_owned(),
        pack: pack(),
        context_tokens: 512,
        sequences_max: 2,
        threads: 1,
        kv: KvFormat::F16,
        queue_requests_max: 16,
        stream_gap_ms_max: 1000,
        saved_prefixes: SavedPrefixes::default(),
        drain_grace_ms: 0,
    }
}

/// The same with keys and values in 32 bits, without flash attention: as the reference computes.
pub fn exact(model: &Path) -> EngineConfig {
    EngineConfig { kv: KvFormat::F32, ..config(model) }
}

/// A running `nabi-engine-llama`; killed when dropped. A test that fails shows its log.
pub struct Engine {
    child: Child,
    folder: TempDir,
}

/// How an engine ended.
#[derive(Debug)]
pub struct Ended {
    /// As the system says.
    pub status: ExitStatus,
    /// Its standard error.
    pub log: String,
}

impl Ended {
    /// Its last words: where it refused to run, the reason.
    pub fn last_line(&self) -> &str {
        self.log.lines().last().unwrap_or_default()
    }
}

impl Engine {
    /// Starts an engine as the supervisor does. It may still end by itself, if it refuses.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(config: &EngineConfig) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listener = UnixListener::bind(folder.path().join("socket")).expect("a new socket");
        let config_file = folder.path().join("config.json");
        fs::write(&config_file, serde_json::to_vec(config).expect("it is JSON")).expect("writable");
        let log = File::create(folder.path().join("log")).expect("writable");
        let mut command = Command::new(program("nabi-engine-llama"));
        command
            .arg("--config")
            .arg(config_file)
            .env("LISTEN_FDS", "1")
            .env("GGML_NO_BACKTRACE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .fd_mappings(vec![FdMapping { parent_fd: listener.into(), child_fd: FIRST_SOCKET_FD }])
            .expect("one descriptor cannot collide");
        let child = command.spawn().expect("the engine is built and starts");
        Self { child, folder }
    }

    /// Starts an engine and waits until it serves.
    pub async fn ready(config: &EngineConfig) -> (Self, Client) {
        let engine = Self::start(config);
        let client = engine.connect().await;
        (engine, client)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// A connection on which nothing was said.
    ///
    /// # Panics
    /// When the engine no longer listens.
    pub async fn stream(&self) -> UnixStream {
        UnixStream::connect(self.socket()).await.expect("the engine listens")
    }

    /// A client, once the model is loaded.
    pub async fn connect(&self) -> Client {
        Client::greet(self.stream().await).await
    }

    /// Waits until so much of the model is loaded, or all of it.
    pub async fn loaded(&self, permille_min: u16) {
        client::loaded(self.stream().await, permille_min).await;
    }

    /// SIGTERM: the engine drains.
    ///
    /// # Panics
    /// When it is gone already.
    pub fn terminate(&self) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).expect("the engine runs");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("the engine runs");
    }

    /// Ends its standard input, as the supervisor's death does.
    pub fn orphan(&mut self) {
        self.child.stdin.take();
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn ended(mut self) -> Ended {
        // Waiting closes the child's standard input, which would end it.
        let lifeline = self.child.stdin.take();
        let status =
            within_deadline("the engine ends", self.child.wait()).await.expect("it can be waited for");
        drop(lifeline);
        Ended { status, log: self.log() }
    }

    fn log(&self) -> String {
        let bytes = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the engine's log:\n{}", self.log());
        }
    }
}

/// A copy of the kernel pack that a test may damage.
///
/// # Panics
/// When it cannot be copied.
pub fn copy_of_pack(to: &Path) -> PathBuf {
    let copy = to.join("pack");
    for folder in ["", "backends"] {
        fs::create_dir_all(copy.join(folder)).expect("writable");
        for entry in fs::read_dir(pack().join(folder)).expect("the pack's folder") {
            let path = entry.expect("readable").path();
            if path.is_file() {
                let name = path.file_name().expect("a file has a name");
                fs::copy(&path, copy.join(folder).join(name)).expect("writable");
            }
        }
    }
    copy
}
