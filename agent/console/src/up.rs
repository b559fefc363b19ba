//! `nabi up`: everything in the foreground, for development and for a first look.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use nabi_domain::{KeyName, ModelName};
use nabi_wire::action::{Action, KeyAction, KeyScope, ModelAction, ServeSettings};
use nabi_wire::log;
use nabi_wire::reply::{ListedModel, Reply};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::client::Client;
use crate::show::ProgressLine;

const DEMO_KEY_NAME: &str = "demo";
/// How often it is looked whether the supervisor answers.
const POLL_MS: u64 = 20;

#[derive(Args)]
pub(crate) struct Up {
    /// Import this model if it is not in the store, and serve it
    #[arg(long)]
    model: Option<PathBuf>,
    /// The model's name in the store
    #[arg(long, requires = "model")]
    name: Option<ModelName>,
    /// How to serve the model
    #[command(flatten)]
    settings: ServeSettings,
    /// Where to listen for API clients
    #[arg(long, default_value = "127.0.0.1:8443")]
    listen: String,
    /// The kernel pack's folder
    #[arg(long)]
    pack: PathBuf,
    /// How long running answers may go on after Ctrl-C
    #[arg(long, default_value_t = 10_000)]
    drain_grace_ms: u64,
    /// The folder in which sticks and disks appear
    #[arg(long)]
    media: Option<PathBuf>,
    /// Take the machine for another: a recording, or the root folder of one
    #[arg(long)]
    hardware_root: Option<PathBuf>,
    /// NVIDIA's library, if not this machine's
    #[arg(long, hide = true)]
    nvidia_library: Option<PathBuf>,
    /// The folder of the self-test model, as `nabi-make-model self-test` makes it
    #[arg(long)]
    self_test: Option<PathBuf>,
}

/// The supervisor as our child. Its standard input ends with us: then it ends too.
struct Supervisor {
    process: Child,
    /// Taken out of `process`, since waiting for that closes its input.
    _lifeline: Option<ChildStdin>,
    last_words: tokio::task::JoinHandle<String>,
}

impl Up {
    pub(crate) async fn run(self, state: &Path, run: &Path) -> Result<()> {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut supervisor = self.start(state, run)?;
        let (client, pid) = (Client::new(run), supervisor.process.id());
        let outcome = tokio::select! {
            outcome = self.serve(&client, pid, state) => outcome,
            ended = supervisor.ended() => return Err(ended),
            _ = interrupt.recv() => { eprintln!(); Ok(()) }
            _ = terminate.recv() => Ok(()),
        };
        // With a model there is nothing more to do; without one too: both wait for the end.
        if let (Ok(()), true) = (&outcome, supervisor.runs()) {
            eprintln!(
                "draining: running answers end within {} s; Ctrl-C again hurries",
                self.drain_grace_ms / 1000
            );
        }
        supervisor.terminate()?;
        tokio::select! {
            _ = supervisor.process.wait() => return outcome,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        supervisor.terminate()?;
        supervisor.process.wait().await.context("cannot wait for the supervisor")?;
        outcome
    }

    fn start(&self, state: &Path, run: &Path) -> Result<Supervisor> {
        fs::create_dir_all(state).with_context(|| format!("cannot create the folder {}", state.display()))?;
        let own = std::env::current_exe().context("cannot tell where this program is")?;
        let mut command = Command::new(own.with_file_name("nabi-supervisor"));
        command.arg("--state").arg(state).arg("--run").arg(run).arg("--listen").arg(&self.listen);
        command.arg("--pack").arg(&self.pack).arg("--drain-grace-ms").arg(self.drain_grace_ms.to_string());
        let folders = [
            ("--media", &self.media),
            ("--hardware-root", &self.hardware_root),
            ("--nvidia-library", &self.nvidia_library),
            ("--self-test", &self.self_test),
        ];
        for (option, folder) in folders {
            command.args(folder.iter().flat_map(|folder| [option.as_ref(), folder.as_os_str()]));
        }
        // Of its own group, so that Ctrl-C comes to us alone.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().context("cannot start nabi-supervisor")?;
        let stderr = process.stderr.take().context("the supervisor has no standard error")?;
        let last_words = tokio::spawn(async move {
            let (mut lines, mut last) = (BufReader::new(stderr).lines(), String::new());
            while let Ok(Some(line)) = lines.next_line().await {
                last = log::message(&line);
            }
            last
        });
        let lifeline = process.stdin.take();
        Ok(Supervisor { process, _lifeline: lifeline, last_words })
    }

    /// Brings the model to its first token, says how to use it, and waits for ever.
    async fn serve(&self, client: &Client, supervisor: Option<u32>, state: &Path) -> Result<()> {
        while !client.is_up(supervisor).await {
            tokio::time::sleep(Duration::from_millis(POLL_MS)).await;
        }
        let served = match &self.model {
            Some(path) => Some(self.serve_model(client, path).await?),
            None => None,
        };
        let key = demo_key(client, &state.join("demo-key")).await?;
        let Reply::Status(status) = client.act(Action::Status, |_| {}).await? else {
            bail!("the supervisor answers something else");
        };
        let usage = usage(&status.address, &state.join("ca.pem"), &key, served.as_ref());
        let mut out = io::stdout();
        match out.write_all(usage.as_bytes()).and_then(|()| out.flush()) {
            // Who started it has read enough: it serves all the same.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written.context("cannot write to standard output")?,
        }
        std::future::pending().await
    }

    async fn serve_model(&self, client: &Client, path: &Path) -> Result<ModelName> {
        let path = std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))?;
        let name = match &self.name {
            Some(name) => name.clone(),
            None => ModelName::after(&path).with_context(|| {
                format!("{} gives no name for the model: choose one with --name", path.display())
            })?,
        };
        let mut line = ProgressLine::default();
        if !stored(client, &name).await? {
            let import = Action::Model(ModelAction::Import { path, name: Some(name.clone()) });
            client.act(import, |progress| line.show(progress)).await?;
        }
        let serve = Action::Model(ModelAction::Serve { name: name.clone(), settings: self.settings });
        let outcome = client.act(serve, |progress| line.show(progress)).await;
        line.end();
        outcome.map(|_| name)
    }
}

/// A model of this name is not imported again: for the same content that would only take time.
async fn stored(client: &Client, name: &ModelName) -> Result<bool> {
    match client.act(Action::Model(ModelAction::List), |_| {}).await? {
        Reply::Models { stored, .. } => {
            Ok(stored.iter().any(|ListedModel { summary, .. }| summary.name == *name))
        }
        _ => bail!("the supervisor answers something else"),
    }
}

/// The key in the file, or a new one.
async fn demo_key(client: &Client, path: &Path) -> Result<String> {
    match fs::read_to_string(path) {
        Ok(key) => return Ok(key.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
    let name: KeyName = DEMO_KEY_NAME.parse().context("the demo key's name")?;
    if let Reply::Keys(keys) = client.act(Action::Key(KeyAction::List), |_| {}).await?
        && keys.iter().any(|key| key.name == name)
    {
        // Its file is gone, so nobody can use it.
        client.act(Action::Key(KeyAction::Revoke { name: name.clone() }), |_| {}).await?;
    }
    let add = Action::Key(KeyAction::Add { name, scope: KeyScope::Inference });
    let Reply::KeyAdded { key, .. } = client.act(add, |_| {}).await? else {
        bail!("the supervisor answers something else");
    };
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(format!("{key}\n").as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(key)
}

/// What a newcomer needs: every line works as it stands.
fn usage(address: &str, ca: &Path, key: &str, model: Option<&ModelName>) -> String {
    let ca = std::path::absolute(ca).unwrap_or_else(|_| ca.to_owned());
    let ca = ca.display();
    let address = address.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]");
    let request = match model {
        Some(model) => format!(
            "curl --cacert '{ca}' {address}/v1/chat/completions -H 'Authorization: Bearer {key}' \
             -H 'Content-Type: application/json' -d '{{\"model\":\"{model}\",\"messages\":\
             [{{\"role\":\"user\",\"content\":\"What is a butterfly?\"}}],\"max_tokens\":64}}'"
        ),
        None => format!("curl --cacert '{ca}' {address}/v1/models -H 'Authorization: Bearer {key}'"),
    };
    format!("\nNabi serves at {address}\nCA certificate: {ca}\nAPI key: {key}\nTry:\n\n{request}\n\n")
}

impl Supervisor {
    fn runs(&self) -> bool {
        self.process.id().is_some()
    }

    /// Its end, with its reason.
    async fn ended(&mut self) -> anyhow::Error {
        let status = self.process.wait().await;
        match (&mut self.last_words).await {
            Ok(words) if !words.is_empty() => anyhow::anyhow!(words),
            _ => anyhow::anyhow!("the supervisor ended: {status:?}"),
        }
    }

    fn terminate(&self) -> Result<()> {
        use nix::errno::Errno;
        use nix::sys::signal::{Signal, kill};
        let Some(pid) = self.process.id() else { return Ok(()) };
        match kill(nix::unistd::Pid::from_raw(pid.cast_signed()), Signal::SIGTERM) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error).context("cannot end the supervisor"),
        }
    }
}
