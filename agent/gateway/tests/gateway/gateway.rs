//! The gateway's process, started as the supervisor starts it.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use command_fds::{CommandFdExt, FdMapping};
use nabi_wire::action::KeyScope;
use nabi_wire::config::{GatewayConfig, GatewayLimits, KeyHash, ServedModel};
use nabi_wire::reply::Alias;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustls::version::TLS13;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::process::{Child, ChildStdin, Command};

use crate::client::{Connection, Reply, Request};
use crate::engine::Engine;
use crate::tls::Authority;
use crate::{LOOK_INTERVAL, within_deadline};

/// The key that [`Request`]s carry.
pub(crate) const KEY: &str = "nabi-test-key";
/// The model that [`Gateway::start`] serves.
pub(crate) const MODEL: &str = "stub";

/// A running gateway.
pub(crate) struct Gateway {
    pub(crate) config: GatewayConfig,
    pub(crate) authority: Authority,
    pub(crate) address: SocketAddr,
    /// The test holds the listening socket, as the supervisor does.
    pub(crate) listener: TcpListener,
    child: Child,
    lifeline: Option<ChildStdin>,
    notified: UnixDatagram,
    folder: TempDir,
}

pub(crate) fn key(name: &str, key: &str) -> KeyHash {
    KeyHash {
        name: name.parse().expect("a name"),
        sha256: Sha256::digest(key).into(),
        scope: KeyScope::Inference,
    }
}

pub(crate) fn alias(name: &str, model: &str) -> Alias {
    Alias { name: name.parse().expect("a name"), model: model.parse().expect("a name") }
}

pub(crate) fn model(name: &str, socket: Option<PathBuf>) -> ServedModel {
    ServedModel { name: name.parse().expect("a name"), created_unix_s: 1_700_000_000, socket }
}

/// A folder for a gateway and its engines.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

impl Gateway {
    /// Starts a gateway before an engine and waits until the model is ready.
    pub(crate) async fn start(script: nabi_stub_engine::Script) -> (Self, Engine) {
        let folder = folder();
        let engine = Engine::start(folder.path(), "engine.sock", script);
        let models = vec![model(MODEL, Some(engine.socket.clone()))];
        let gateway = Self::serving(folder, models, |_| {}).await;
        gateway.until_ready(true).await;
        (gateway, engine)
    }

    /// The same with other limits for clients.
    pub(crate) async fn limited(
        script: nabi_stub_engine::Script,
        change: impl FnOnce(&mut GatewayLimits),
    ) -> (Self, Engine) {
        let folder = folder();
        let engine = Engine::start(folder.path(), "engine.sock", script);
        let models = vec![model(MODEL, Some(engine.socket.clone()))];
        let gateway = Self::serving(folder, models, |config| change(&mut config.limits)).await;
        gateway.until_ready(true).await;
        (gateway, engine)
    }

    /// Starts a gateway with these models, and waits until it says that it is up.
    pub(crate) async fn serving(
        folder: TempDir,
        models: Vec<ServedModel>,
        change: impl FnOnce(&mut GatewayConfig),
    ) -> Self {
        let authority = Authority::new();
        let leaf = authority.leaf();
        let mut config = GatewayConfig {
            generation: 1,
            certificate_pem: leaf.certificate_pem,
            private_key_pem: leaf.private_key_pem,
            keys: vec![key("test", KEY)],
            models,
            aliases: Vec::new(),
            drain_grace_ms: 3_600_000,
            limits: GatewayLimits::default(),
        };
        change(&mut config);
        write_config(folder.path(), &config);
        let notified = UnixDatagram::bind(folder.path().join("notify.sock")).expect("a new socket");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let passed = listener.try_clone().expect("a socket can be held twice");
        let mut child = spawn(folder.path(), passed);
        let lifeline = child.stdin.take();
        let gateway = Self { config, authority, address, listener, child, lifeline, notified, folder };
        gateway.until_notified("READY=1\nX_NABI_GENERATION=1\n").await;
        gateway
    }

    /// Changes the configuration and waits until the gateway uses it.
    pub(crate) async fn reload(&mut self, change: impl FnOnce(&mut GatewayConfig)) {
        let mut config = self.config.clone();
        change(&mut config);
        self.use_config(&mut config).await;
        self.config = config;
    }

    /// The same with the caller's copy of the configuration, while others ask.
    pub(crate) async fn use_config(&self, config: &mut GatewayConfig) {
        config.generation += 1;
        write_config(self.folder.path(), config);
        self.signal(Signal::SIGHUP);
        self.until_notified(&format!("READY=1\nX_NABI_GENERATION={}\n", config.generation)).await;
    }

    /// Overwrites the configuration file with anything.
    pub(crate) fn spoil_config(&self, text: &str) {
        fs::write(self.folder.path().join("gateway.json"), text).expect("writes");
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.pid();
        kill(Pid::from_raw(pid.cast_signed()), signal).expect("signals");
    }

    pub(crate) async fn until_notified(&self, message: &str) {
        let mut bytes = [0; 256];
        let received = within_deadline(message, self.notified.recv(&mut bytes)).await.expect("receives");
        assert_eq!(String::from_utf8_lossy(&bytes[..received]), message);
    }

    /// Waits until `/readyz` says so.
    pub(crate) async fn until_ready(&self, ready: bool) {
        let wanted = if ready { 200 } else { 503 };
        within_deadline("/readyz", async {
            while self.send(Request::get("/readyz")).await.status != wanted {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        })
        .await;
    }

    /// Waits until the log has a line with this text.
    pub(crate) async fn until_logged(&self, text: &str) {
        within_deadline(text, async {
            while !self.log().contains(text) {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        })
        .await;
    }

    /// The memory that it takes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a figure");
        let kib = resident.trim().strip_suffix("kB").expect("in kB").trim();
        kib.parse::<u64>().expect("a number") << 10
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("gateway.log")).expect("a log")
    }

    /// Opens a connection of HTTP/1.1.
    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(self.address, self.authority.client(&[&TLS13])).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn send(&self, request: Request) -> Reply {
        self.connect().await.send(request).await.whole().await
    }

    /// Ends the pipe that tells the gateway that its parent lives.
    pub(crate) fn cut_lifeline(&mut self) {
        self.lifeline = None;
    }

    /// The status with which it ends.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        within_deadline("the gateway ends", self.child.wait()).await.expect("waits").code()
    }
}

fn write_config(folder: &Path, config: &GatewayConfig) {
    let text = serde_json::to_vec(config).expect("serializes");
    fs::write(folder.join("gateway.json"), text).expect("writes");
}

fn spawn(folder: &Path, listener: TcpListener) -> Child {
    let log = File::create(folder.join("gateway.log")).expect("a new file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_nabi-gateway"));
    command
        .arg("--config")
        .arg(folder.join("gateway.json"))
        .env_clear()
        .env("LISTEN_FDS", "1")
        .env("NOTIFY_SOCKET", folder.join("notify.sock"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true);
    let passed = FdMapping { parent_fd: listener.into(), child_fd: 3 };
    command.fd_mappings(vec![passed]).expect("one descriptor");
    command.spawn().expect("the gateway's program starts")
}
