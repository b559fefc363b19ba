//! A gateway alone, before engines that a test chooses: stubs, or real ones with settings that an
//! appliance does not have.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use command_fds::{CommandFdExt as _, FdMapping};
use nabi_stub_engine::Script;
use nabi_wire::action::KeyScope;
use nabi_wire::config::{GatewayConfig, GatewayLimits, KeyHash, ServedModel};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::appliance::{Client, wait_for};
use crate::programs::program;

/// The key of its API user.
pub const KEY: &str = "nabi-test-key";
/// The key with which its figures are read.
pub const METRICS_KEY: &str = "nabi-test-metrics-key";
/// The first descriptor that LISTEN_FDS speaks of.
const FIRST_SOCKET_FD: i32 = 3;

/// A running `nabi-stub-engine`; killed when dropped.
pub struct Stub {
    child: Child,
    folder: TempDir,
}

impl Stub {
    /// Starts a stub that answers by a script.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(script: &Script) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("script.json");
        fs::write(&path, serde_json::to_vec(script).expect("it is JSON")).expect("writable");
        let mut command = Command::new(program("nabi-stub-engine"));
        command.arg("--script").arg(path).arg("--socket").arg(folder.path().join("socket"));
        let child = command.stdin(Stdio::null()).spawn().expect("the stub is built and starts");
        let stub = Self { child, folder };
        wait_for("the stub listens", || stub.socket().exists().then_some(()));
        stub
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        // It may have died by its script.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running `nabi-gateway`; killed when dropped.
pub struct Gateway {
    child: Child,
    address: String,
    folder: TempDir,
}

impl Gateway {
    /// Starts a gateway, and waits until all models answer that have a socket.
    ///
    /// # Panics
    /// When they do not.
    pub fn start(models: &[(&str, Option<PathBuf>)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = format!("https://{}", listener.local_addr().expect("an address"));
        let (ca_pem, config) = config(models);
        fs::write(folder.path().join("ca.pem"), ca_pem).expect("writable");
        let child = spawn(folder.path(), &config, listener);
        let gateway = Self { child, address, folder };
        wait_for("the models answer", || gateway.is_ready(models).then_some(()));
        gateway
    }

    fn is_ready(&self, models: &[(&str, Option<PathBuf>)]) -> bool {
        let readiness = self.client().get("/readyz").body;
        let ready = readiness["models"].as_array().expect("a list of models").iter();
        let ready = ready.filter(|model| model["ready"] == true).count();
        ready == models.iter().filter(|(_, socket)| socket.is_some()).count()
    }

    /// As clients name it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The certificate that its clients trust.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// An API user.
    pub fn client(&self) -> Client {
        Client::new(&self.address, &self.ca(), KEY)
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("gateway.log")).unwrap_or_default()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the gateway's log:\n{}", self.log());
        }
    }
}

/// The certificate of a new authority, and a configuration with a leaf that it signed.
fn config(models: &[(&str, Option<PathBuf>)]) -> (String, GatewayConfig) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    // Not that of the leaf, which would pass for its own issuer.
    params.distinguished_name.push(DnType::CommonName, "Nabi tests");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(params, key).expect("a certificate");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![Ipv4Addr::LOCALHOST.to_string()]).expect("a name");
    // Python ≥ 3.13 wants it.
    params.use_authority_key_identifier_extension = true;
    let leaf = params.signed_by(&key, &authority).expect("a certificate");
    let served = |(name, socket): &(&str, Option<PathBuf>)| ServedModel {
        name: name.parse().expect("a name"),
        created_unix_s: 1_750_000_000,
        socket: socket.clone(),
    };
    let config = GatewayConfig {
        generation: 1,
        certificate_pem: leaf.pem(),
        private_key_pem: key.serialize_pem(),
        keys: vec![
            key_hash("user", KEY, KeyScope::Inference),
            key_hash("monitor", METRICS_KEY, KeyScope::Metrics),
        ],
        models: models.iter().map(served).collect(),
        aliases: Vec::new(),
        drain_grace_ms: 0,
        limits: GatewayLimits::default(),
    };
    (authority.pem(), config)
}

fn key_hash(name: &str, text: &str, scope: KeyScope) -> KeyHash {
    KeyHash { name: name.parse().expect("a name"), sha256: Sha256::digest(text).into(), scope }
}

fn spawn(folder: &Path, config: &GatewayConfig, listener: TcpListener) -> Child {
    let config_file = folder.join("gateway.json");
    fs::write(&config_file, serde_json::to_vec(config).expect("it is JSON")).expect("writable");
    let mut command = Command::new(program("nabi-gateway"));
    command
        .arg("--config")
        .arg(config_file)
        .env_clear()
        .env("LISTEN_FDS", "1")
        // It ends with the other end of this pipe.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(File::create(folder.join("gateway.log")).expect("writable"))
        .fd_mappings(vec![FdMapping { parent_fd: listener.into(), child_fd: FIRST_SOCKET_FD }])
        .expect("one descriptor cannot collide");
    command.spawn().expect("the gateway is built and starts")
}
