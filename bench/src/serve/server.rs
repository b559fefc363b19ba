//! Both servers as their users start them, on the same model with the same threads and contexts.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nabi_wire::config::{self, EngineConfig};
use nix::sys::signal::Signal;
use serde_json::{Map, Value, json};

use super::{Arguments, ask};
use crate::http::{self, Target};
use crate::process::{self, Running};

pub(super) const PEER_NAME: &str = "llama-server";
/// For a server to load the model and say so.
const START_MS_MAX: u64 = 120_000;
const POLL_MS: u64 = 50;
/// Threads of llama-server that read requests and write answers, besides those that compute. Each
/// stream takes one: with fewer, streams wait for each other.
const PEER_HTTP_THREADS: u32 = 32;
/// Never chosen, as the API has it.
const NEVER: i32 = -100;

/// What must be the same on both sides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) threads: u32,
    pub(super) sequences: u32,
    pub(super) context_tokens: u32,
}

/// A server that answers.
pub(crate) struct Server {
    pub(super) target: Target,
    pub(super) model: String,
    /// Sent with each request besides.
    pub(crate) fields: Map<String, Value>,
    pub(super) shape: Shape,
    /// All its processes.
    pub(crate) pids: Vec<u32>,
    /// The one that holds the model.
    pub(crate) engine: u32,
    running: Running,
}

/// What Nabi's engine says of the computed prefixes that it keeps in memory.
pub(super) fn nabi_saved_mib(folder: &Path) -> Result<f64> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    let mut command = Command::new(own.with_file_name("nabi"));
    command.arg("--state").arg(folder.join("state")).args(["--json", "status"]);
    let said = command.output().context("cannot ask `nabi status`")?;
    let status: Value = serde_json::from_slice(&said.stdout).context("`nabi status` gives no JSON")?;
    let bytes = status["status"]["engines"][0]["stats"]["saved_memory_bytes"].as_f64();
    Ok(bytes.context("`nabi status` gives no figures of the engine")? / 1_048_576.0)
}

impl Server {
    /// `nabi up`, as built beside this program.
    pub(crate) async fn nabi(
        model: &Path,
        pack: &Path,
        settings: &[(&str, u32)],
        folder: &Path,
    ) -> Result<Self> {
        let own = std::env::current_exe().context("cannot tell where this program is")?;
        let program = own.with_file_name("nabi");
        let state = folder.join("state");
        let mut command = Command::new(&program);
        command.arg("--state").arg(&state).arg("up").arg("--model").arg(model);
        command.args(["--name", "bench", "--listen", "127.0.0.1:0"]).arg("--pack").arg(pack);
        for (flag, value) in settings {
            if has_flag(&program, flag)? {
                command.arg(flag).arg(value.to_string());
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(folder.join("nabi.log"))?);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = child.stdout.take().context("its standard output is a pipe")?;
        let running = Running::new(child, Signal::SIGINT);
        let said = Said::read(BufReader::new(stdout)).with_context(|| {
            let log = fs::read_to_string(folder.join("nabi.log")).unwrap_or_default();
            format!("nabi up does not say how to use it: {log}")
        })?;
        let pids = process::family(running.pid())?;
        let engine = process::find(&pids, "nabi-engine-llama")?;
        let config: EngineConfig = config::read(&engine_config(&state.join("run/engine"))?)?;
        let tls = Some(http::trusting(http::certificate(&said.ca)?)?);
        Ok(Self {
            target: Target { tls, key: Some(said.key), ..Target::plain(said.address) },
            model: "bench".into(),
            fields: Map::new(),
            shape: Shape {
                threads: config.threads,
                sequences: config.sequences_max,
                context_tokens: config.context_tokens,
            },
            pids,
            engine,
            running,
        })
    }

    /// llama.cpp's server with the same shape, and otherwise as it is by default.
    pub(super) async fn llama_server(
        arguments: &Arguments,
        shape: Shape,
        log: &Path,
        more: &[&str],
    ) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
        let address = listener.local_addr()?;
        drop(listener);
        let mut command = llama_server(arguments, shape, address);
        command.args(more);
        let log_file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(log_file.try_clone()?).stderr(log_file);
        let running = Running::new(command.spawn().context("cannot start llama-server")?, Signal::SIGTERM);
        let engine = running.pid();
        let target = Target::plain(address);
        let fields = Map::new();
        let (model, pids) = ("bench".into(), vec![engine]);
        let mut server = Self { target, model, fields, shape, pids, engine, running };
        server.until_healthy(log).await?;
        Ok(server)
    }

    async fn until_healthy(&mut self, log: &Path) -> Result<()> {
        let deadline = Instant::now() + Duration::from_millis(START_MS_MAX);
        loop {
            if let Ok(mut connection) = self.target.connect().await
                && connection.get("/health").await.is_ok()
            {
                return Ok(());
            }
            let said = || fs::read_to_string(log).unwrap_or_default();
            self.running.check(PEER_NAME).with_context(said)?;
            if Instant::now() > deadline {
                bail!("llama-server does not answer within {START_MS_MAX} ms: {}", said());
            }
            tokio::time::sleep(Duration::from_millis(POLL_MS)).await;
        }
    }

    /// Ids of the tokens that end an answer, which llama-server tells.
    pub(super) async fn end_tokens(&self) -> Result<Vec<u64>> {
        let mut connection = self.target.connect().await?;
        let props: Value = serde_json::from_slice(&connection.get("/props").await?)?;
        let text = props["eos_token"].as_str().context("llama-server tells no eos_token")?;
        let body = json!({ "content": text }).to_string();
        let answer: Value = serde_json::from_slice(&connection.post("/tokenize", body.into()).await?)?;
        let tokens = answer["tokens"].as_array().context("llama-server tells no tokens")?;
        Ok(tokens.iter().filter_map(Value::as_u64).collect())
    }

    /// Whether it takes these fields besides.
    pub(super) async fn takes(&self, fields: &Map<String, Value>) -> Result<bool> {
        let probe = Self::body(&self.model, fields, "Hello", "Hello", 1)?;
        match self.target.connect().await?.post(ask::PATH, probe).await {
            Ok(_) => Ok(true),
            Err(error) => {
                eprintln!("a server refuses {fields:?}: {error:#}");
                Ok(false)
            }
        }
    }
}

/// Fields with which answers are as long as asked for.
pub(crate) fn never_ending(ends: &[u64]) -> Map<String, Value> {
    let bias: Map<String, Value> = ends.iter().map(|token| (token.to_string(), NEVER.into())).collect();
    Map::from_iter([("logit_bias".to_owned(), bias.into())])
}

/// What the supervisor told the engine: the peer is told the same.
fn engine_config(run: &Path) -> Result<PathBuf> {
    for entry in fs::read_dir(run).with_context(|| format!("cannot list {}", run.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with('e') && name.ends_with(".json") {
            return Ok(path);
        }
    }
    bail!("{} holds no engine's configuration", run.display())
}

fn llama_server(arguments: &Arguments, shape: Shape, address: SocketAddr) -> Command {
    let Shape { threads, sequences, context_tokens } = shape;
    let mut command = Command::new(&arguments.llama_server);
    command.arg("--model").arg(&arguments.model).args(["--alias", "bench", "--offline", "--no-webui"]);
    command.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]);
    command.args(["--threads", &threads.to_string(), "--threads-batch", &threads.to_string()]);
    command.args(["--threads-http", &PEER_HTTP_THREADS.to_string(), "--parallel", &sequences.to_string()]);
    command.args(["--ctx-size", &(sequences * context_tokens).to_string(), "--no-kv-unified"]);
    // As the engine's: flash attention, keys and values in 16 bits. Prompts that begin alike are found
    // in a slot; copies of idle slots in RAM would cost time and bring nothing here.
    command.args([
        "--flash-attn",
        "on",
        "--cache-type-k",
        "f16",
        "--cache-type-v",
        "f16",
        "--cache-ram",
        "0",
    ]);
    command
}

fn has_flag(program: &Path, flag: &str) -> Result<bool> {
    let help = Command::new(program).args(["up", "--help"]).output();
    let help = help.with_context(|| format!("cannot run {}: build it first", program.display()))?;
    Ok(String::from_utf8_lossy(&help.stdout).contains(flag))
}

/// What `nabi up` prints.
struct Said {
    address: SocketAddr,
    ca: PathBuf,
    key: String,
}

impl Said {
    fn read(lines: impl BufRead) -> Result<Self> {
        let (mut address, mut ca, mut key) = (None, None, None);
        for line in lines.lines() {
            let line = line?;
            if let Some(value) = line.strip_prefix("Nabi serves at https://") {
                address = Some(value.parse().with_context(|| format!("{value} is no address"))?);
            } else if let Some(value) = line.strip_prefix("CA certificate: ") {
                ca = Some(value.into());
            } else if let Some(value) = line.strip_prefix("API key: ") {
                key = Some(value.to_owned());
            }
            if let (Some(address), Some(ca), Some(key)) = (&address, &ca, &key) {
                return Ok(Self { address: *address, ca: PathBuf::clone(ca), key: key.clone() });
            }
        }
        bail!("it ended")
    }
}
