//! Starting one of our programs, and ending it: as a child process in development, as a transient
//! unit of systemd on the appliance.
//!
//! Both give it the same: its socket by LISTEN_FDS, a pipe as standard input that ends with this
//! process (see `nabi_wire::lifeline`), and a pipe to its log as standard error.

mod child;
mod outcome;
mod unit;

use std::ffi::OsStr;
use std::io::{self, PipeReader, PipeWriter, pipe};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use nabi_domain::ModelName;
use nix::sys::signal::Signal;
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;

use crate::launch::child::Child;
use crate::launch::outcome::Outcome;
use crate::launch::unit::Unit;
use crate::logs::{self, Log};

/// How long a process that was told to end may take beyond its grace before it is killed.
const END_MARGIN_MS: u64 = 8_000;
/// For a process that was killed to be gone.
const KILL_MS_MAX: u64 = 30_000;

/// How processes are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Launcher {
    /// As children of this process, of the same user
    Child,
    /// As transient units of systemd, each of its own user, in a sandbox that the image declares
    Systemd,
}

/// Which of our programs, and for what.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part<'a> {
    Gateway,
    Engine(&'a ModelName),
    Import(&'a ModelName),
    /// Looking at media; numbered.
    Media(u64),
    /// Looking at the machine; numbered.
    Probe(u64),
}

impl Part<'_> {
    fn program(self) -> &'static str {
        match self {
            Self::Gateway => "nabi-gateway",
            Self::Engine(_) => "nabi-engine-llama",
            Self::Import(_) | Self::Media(_) => "nabi-import",
            Self::Probe(_) => "nabi-probe",
        }
    }

    /// Its unit. The image has drop-ins for `nabi-gateway` and for the templates of the others. A
    /// model's name has only characters that a unit's name may have, so nothing is escaped.
    fn unit(self) -> String {
        match self {
            Self::Gateway => "nabi-gateway.service".into(),
            Self::Engine(model) => format!("nabi-engine@{model}.service"),
            Self::Import(model) => format!("nabi-import@{model}.service"),
            // No model's name begins so.
            Self::Media(number) => format!("nabi-import@_media{number}.service"),
            Self::Probe(number) => format!("nabi-probe@{number}.service"),
        }
    }

    /// The name of its log.
    fn log(self) -> String {
        match self {
            Self::Gateway => "gateway".into(),
            Self::Engine(model) => format!("engine-{model}"),
            Self::Import(_) | Self::Media(_) => "import".into(),
            Self::Probe(_) => "probe".into(),
        }
    }
}

/// What to start.
pub(crate) struct Spec<'a> {
    pub(crate) part: Part<'a>,
    pub(crate) arguments: Vec<&'a OsStr>,
    pub(crate) environment: Vec<(&'a str, &'a OsStr)>,
    pub(crate) socket: Option<OwnedFd>,
    /// Whether we read its standard output.
    pub(crate) stdout: bool,
    pub(crate) logs: &'a Path,
}

/// The other ends of our pipes.
struct Standard {
    input: OwnedFd,
    output: Option<OwnedFd>,
    error: OwnedFd,
}

/// Our ends.
struct Pipes {
    lifeline: PipeWriter,
    stdout: Option<Receiver>,
    stderr: Receiver,
}

/// A running process. Dropped, it is killed.
pub(crate) struct Process {
    running: Running,
    pub(crate) pid: u32,
    stdout: Option<Receiver>,
    last_line: JoinHandle<String>,
    _lifeline: PipeWriter,
}

enum Running {
    Child(Child),
    Unit(Box<Unit>),
}

/// How a process ended.
pub(crate) struct End {
    /// It cannot run until something is changed.
    pub(crate) refused: bool,
    /// Why, in its own words where it had some.
    pub(crate) reason: String,
}

impl Launcher {
    /// Starts it. One that ends at once is started too: [`Process::wait`] tells why it ended.
    pub(crate) async fn start(self, spec: Spec<'_>) -> Result<Process> {
        let log = log(&spec);
        let program = program(spec.part.program())?;
        let (pipes, standard) = pipes(spec.stdout).context("cannot make a pipe")?;
        let (running, pid) = match self {
            Self::Child => {
                let (child, pid) = Child::start(&program, spec, standard)?;
                (Running::Child(child), pid)
            }
            Self::Systemd => {
                let (unit, pid) = Unit::start(&unit::connect().await?, &program, spec, standard).await?;
                (Running::Unit(Box::new(unit)), pid)
            }
        };
        Ok(Process::new(running, pid, pipes, log))
    }
}

fn log(spec: &Spec<'_>) -> Log {
    Log::new(spec.logs, &spec.part.log())
}

fn pipes(with_stdout: bool) -> io::Result<(Pipes, Standard)> {
    let receiver = |end: PipeReader| Receiver::from_owned_fd(end.into());
    let (input, lifeline) = pipe()?;
    let (stderr, error) = pipe()?;
    let (stdout, output) = match with_stdout {
        true => pipe().map(|(ours, its)| (Some(ours), Some(its)))?,
        false => (None, None),
    };
    let standard = Standard { input: input.into(), output: output.map(OwnedFd::from), error: error.into() };
    let stdout = stdout.map(receiver).transpose()?;
    Ok((Pipes { lifeline, stdout, stderr: receiver(stderr)? }, standard))
}

impl Process {
    fn new(running: Running, pid: u32, pipes: Pipes, log: Log) -> Self {
        let Pipes { lifeline, stdout, stderr } = pipes;
        Self { running, pid, stdout, last_line: tokio::spawn(logs::keep(stderr, log)), _lifeline: lifeline }
    }

    pub(crate) fn take_stdout(&mut self) -> Result<Receiver> {
        self.stdout.take().context("the process's standard output is taken")
    }

    pub(crate) async fn signal(&self, signal: Signal) {
        self.running.target().send(signal).await;
    }

    /// Ends it without asking.
    pub(crate) async fn kill(&mut self) {
        self.running.target().kill().await;
        if tokio::time::timeout(Duration::from_millis(KILL_MS_MAX), self.running.wait()).await.is_err() {
            tracing::error!(pid = self.pid, "stays although it was killed");
        }
    }

    /// Waits for the end. May be given up and called again.
    pub(crate) async fn wait(&mut self) -> End {
        let outcome = self.running.wait().await;
        let last_line = (&mut self.last_line).await.unwrap_or_default();
        end(outcome, last_line)
    }

    /// Asks it to end; kills it when its grace is over. `hurry` ends the grace.
    pub(crate) async fn end(mut self, grace: Duration, hurry: impl Future<Output = ()>) {
        let target = self.running.target();
        target.send(Signal::SIGTERM).await;
        let margin = Duration::from_millis(END_MARGIN_MS);
        let hurried = async {
            hurry.await;
            target.send(Signal::SIGTERM).await;
            tokio::time::sleep(margin).await;
        };
        tokio::select! {
            _ = self.running.wait() => return,
            () = hurried => {}
            () = tokio::time::sleep(grace + margin) => {}
        }
        tracing::warn!(pid = self.pid, "does not end by itself: killing it");
        self.kill().await;
    }
}

/// What signals are sent to, apart from what is waited for.
enum Target {
    Pid(u32),
    Unit(unit::Target),
}

impl Target {
    /// A process that just ended is no error: its end is awaited by whoever owns it.
    async fn send(&self, signal: Signal) {
        match self {
            Self::Pid(pid) => child::send(*pid, signal),
            Self::Unit(target) => target.send(signal).await,
        }
    }

    async fn kill(&self) {
        match self {
            Self::Pid(pid) => child::send(*pid, Signal::SIGKILL),
            Self::Unit(target) => target.kill().await,
        }
    }
}

impl Running {
    fn target(&self) -> Target {
        match self {
            Self::Child(child) => Target::Pid(child.pid),
            Self::Unit(unit) => Target::Unit(unit.target()),
        }
    }

    async fn wait(&mut self) -> Outcome {
        match self {
            Self::Child(child) => child.wait().await,
            Self::Unit(unit) => unit.wait().await,
        }
    }
}

fn end(outcome: Outcome, last_line: String) -> End {
    let Outcome { refused, how } = outcome;
    let reason = match (refused, last_line.as_str()) {
        (_, "") => how,
        (true, line) => line.to_owned(),
        (false, line) => format!("{how}; its last words: {line}"),
    };
    End { refused, reason }
}

/// Our programs lie in one folder.
fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    Ok(own.with_file_name(name))
}

#[cfg(test)]
mod tests;
