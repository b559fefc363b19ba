//! The stub engine and the gateway, as processes of their own.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use command_fds::{CommandFdExt as _, FdMapping};
use nabi_wire::action::KeyScope;
use nabi_wire::config::{GatewayConfig, GatewayLimits, KeyHash, ServedModel};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::http::{self, Target};
use crate::process::Running;

/// Tokens of each stream.
pub(super) const STREAM_TOKENS: usize = 64;
/// The stub's pace after the first token, which comes at once.
const TOKEN_INTERVAL_MS: u64 = 10;
/// A prompt with this text gets one token.
pub(super) const ONE_TOKEN: &str = "one token";
pub(super) const MODEL: &str = "stub";
const KEY: &str = "nabi-bench-key";
/// For both programs to start.
const START_MS_MAX: u64 = 30_000;
const POLL_MS: u64 = 20;
/// Files besides connections.
const OTHER_FILES: u64 = 256;
/// The first descriptor that LISTEN_FDS speaks of.
const FIRST_SOCKET_FD: i32 = 3;

/// The stub engine with its script.
pub(super) struct Stub {
    running: Running,
    socket: PathBuf,
}

fn program(name: &str) -> Result<Command> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    let program = own.with_file_name(name);
    ensure!(program.exists(), "{} is not built: run `make bench-gateway`", program.display());
    Ok(Command::new(program))
}

impl Stub {
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let (socket, script) = (folder.join("stub.sock"), folder.join("stub.json"));
        let mut steps = vec![json!({"text": "word "})];
        for _ in 1..STREAM_TOKENS {
            steps.extend([json!({"wait_ms": TOKEN_INTERVAL_MS}), json!({"text": "word "})]);
        }
        let text = json!({"rules": [
            {"contains": ONE_TOKEN, "steps": [{"text": "word"}]},
            {"contains": "", "steps": steps},
        ]});
        fs::write(&script, text.to_string()).context("cannot write the stub's script")?;
        let mut command = program("nabi-stub-engine")?;
        command.arg("--socket").arg(&socket).arg("--script").arg(&script).stdin(Stdio::null());
        let child = command.spawn().context("cannot start the stub engine")?;
        Ok(Self { running: Running::new(child, Signal::SIGKILL), socket })
    }

    pub(super) fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }
}

/// The gateway, started as the supervisor does.
pub(super) struct Gateway {
    running: Running,
    pub(super) target: Target,
}

impl Gateway {
    pub(super) async fn start(folder: &Path, stub: &Stub) -> Result<Self> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let leaf =
            CertificateParams::new(vec![Ipv4Addr::LOCALHOST.to_string()])?.signed_by(&key, &authority)?;
        let config = GatewayConfig {
            generation: 1,
            certificate_pem: leaf.pem(),
            private_key_pem: key.serialize_pem(),
            keys: vec![KeyHash {
                name: "bench".parse()?,
                sha256: Sha256::digest(KEY).into(),
                scope: KeyScope::Inference,
            }],
            models: vec![ServedModel {
                name: MODEL.parse()?,
                created_unix_s: 0,
                socket: Some(stub.socket().to_owned()),
            }],
            aliases: Vec::new(),
            drain_grace_ms: 0,
            limits: GatewayLimits::default(),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
        let address = listener.local_addr()?;
        let running = spawn(folder, &config, listener)?;
        let tls = Some(http::trusting(authority.der().clone())?);
        let mut gateway =
            Self { running, target: Target { tls, key: Some(KEY.into()), ..Target::plain(address) } };
        gateway.until_ready(folder).await?;
        Ok(gateway)
    }

    pub(super) fn pid(&self) -> u32 {
        self.running.pid()
    }

    async fn until_ready(&mut self, folder: &Path) -> Result<()> {
        let deadline = Instant::now() + Duration::from_millis(START_MS_MAX);
        loop {
            let said = || fs::read_to_string(folder.join("gateway.log")).unwrap_or_default();
            self.running.check("the gateway").with_context(said)?;
            let mut connection = self.target.connect().await?;
            match connection.get("/readyz").await {
                Ok(_) => return Ok(()),
                Err(error) => {
                    ensure!(Instant::now() < deadline, "{error:#} after {START_MS_MAX} ms: {}", said())
                }
            }
            tokio::time::sleep(Duration::from_millis(POLL_MS)).await;
        }
    }
}

fn spawn(folder: &Path, config: &GatewayConfig, listener: TcpListener) -> Result<Running> {
    let config_path = folder.join("gateway.json");
    fs::write(&config_path, serde_json::to_vec(config)?)
        .context("cannot write the gateway's configuration")?;
    let mut command = program("nabi-gateway")?;
    command.arg("--config").arg(&config_path).env_clear().env("LISTEN_FDS", "1");
    // Its standard input is a pipe that ends with us.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(File::create(folder.join("gateway.log"))?);
    let passed = FdMapping { parent_fd: listener.into(), child_fd: FIRST_SOCKET_FD };
    command.fd_mappings(vec![passed]).context("cannot pass the socket")?;
    let child = command.spawn().context("cannot start the gateway")?;
    Ok(Running::new(child, Signal::SIGTERM))
}

/// Lets this process have so many connections open.
pub(super) fn raise_open_files(connections: usize) -> Result<()> {
    let wanted = connections as u64 + OTHER_FILES;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    ensure!(
        hard >= wanted,
        "at most {hard} files may be open here, and {wanted} are needed: raise the hard limit"
    );
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft.max(wanted), hard)?)
}
