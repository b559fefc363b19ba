//! Starting a process of ours, and ending it.
//!
//! A child gets nothing of the environment, its sockets by LISTEN_FDS, and a pipe as standard
//! input that ends with this process (see `nabi_wire::lifeline`).

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use command_fds::{CommandFdExt as _, FdMapping};
use nabi_wire::lifeline::REFUSED;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use crate::logs::{self, Log};

/// The first inherited socket, after standard error.
const FIRST_SOCKET_FD: i32 = 3;
/// How long a process that was told to end may take beyond its grace before it is killed.
const END_MARGIN_MS: u64 = 8_000;

/// What to start.
pub(crate) struct Spec<'a> {
    /// One of our programs: the file lies beside this one.
    pub(crate) program: &'a str,
    pub(crate) arguments: Vec<&'a OsStr>,
    pub(crate) environment: Vec<(&'a str, &'a OsStr)>,
    pub(crate) socket: Option<OwnedFd>,
    /// Whether we read its standard output.
    pub(crate) stdout: bool,
    pub(crate) logs: &'a Path,
    /// The name of its log.
    pub(crate) process: &'a str,
}

/// A running process. Dropped, it is killed.
pub(crate) struct Child {
    inner: tokio::process::Child,
    pub(crate) pid: u32,
    last_line: JoinHandle<String>,
    _lifeline: Option<ChildStdin>,
}

/// How a process ended.
pub(crate) struct End {
    /// It cannot run until something is changed.
    pub(crate) refused: bool,
    /// Why, in its own words where it had some.
    pub(crate) reason: String,
}

impl Child {
    pub(crate) fn start(spec: Spec<'_>) -> Result<Self> {
        let program = program(spec.program)?;
        let log = Log::open(spec.logs, spec.process);
        let log = log.with_context(|| format!("cannot open the log of {}", spec.process))?;
        let mut command = Command::new(&program);
        command
            .args(&spec.arguments)
            .env_clear()
            .envs(spec.environment)
            .stdin(Stdio::piped())
            .stdout(if spec.stdout { Stdio::piped() } else { Stdio::null() })
            .stderr(Stdio::piped())
            // A Ctrl-C in a terminal is for the supervisor's parent alone.
            .process_group(0)
            .kill_on_drop(true);
        if let Some(socket) = spec.socket {
            let mapping = FdMapping { parent_fd: socket, child_fd: FIRST_SOCKET_FD };
            command.env("LISTEN_FDS", "1").fd_mappings(vec![mapping]).context("cannot pass the socket")?;
        }
        let mut inner = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let stderr = inner.stderr.take().context("the child has no standard error")?;
        let pid = inner.id().context("the child has no process id")?;
        let lifeline = inner.stdin.take();
        Ok(Self { inner, pid, last_line: tokio::spawn(logs::keep(stderr, log)), _lifeline: lifeline })
    }

    pub(crate) fn take_stdout(&mut self) -> Result<ChildStdout> {
        self.inner.stdout.take().context("the child's standard output is taken")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.pid, signal);
    }

    /// Waits for the end. May be given up and called again.
    pub(crate) async fn wait(&mut self) -> End {
        let status = self.inner.wait().await;
        let last_line = (&mut self.last_line).await.unwrap_or_default();
        match status {
            Ok(status) => end(status, last_line),
            Err(error) => End { refused: false, reason: format!("cannot be waited for: {error}") },
        }
    }

    /// Asks it to end; kills it when its grace is over. `hurry` ends the grace.
    pub(crate) async fn end(mut self, grace: Duration, hurry: impl Future<Output = ()>) {
        self.signal(Signal::SIGTERM);
        let patience = grace + Duration::from_millis(END_MARGIN_MS);
        let pid = self.pid;
        let hurried = async move {
            hurry.await;
            send(pid, Signal::SIGTERM);
            tokio::time::sleep(Duration::from_millis(END_MARGIN_MS)).await;
        };
        tokio::select! {
            _ = self.inner.wait() => return,
            () = hurried => {}
            () = tokio::time::sleep(patience) => {}
        }
        tracing::warn!(pid = self.pid, "does not end by itself: killing it");
        let _ = self.inner.kill().await;
    }
}

/// A process that just ended is no error: its end is awaited by whoever owns it.
fn send(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
}

fn end(status: ExitStatus, last_line: String) -> End {
    let refused = status.code() == Some(i32::from(REFUSED));
    let reason = match (refused, last_line.as_str()) {
        (true, line) => line.to_owned(),
        (false, "") => format!("ended with {status}"),
        (false, line) => format!("ended with {status}; its last words: {line}"),
    };
    End { refused, reason }
}

/// Our programs lie in one folder.
fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    Ok(own.with_file_name(name))
}
