//! A child process: nothing of our environment, and the same user.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use command_fds::{CommandFdExt as _, FdMapping};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;

use crate::launch::outcome::Outcome;
use crate::launch::{Spec, Standard};

/// The first inherited socket, after standard error.
const FIRST_SOCKET_FD: i32 = 3;

/// Dropped, it is killed.
pub(super) struct Child {
    inner: tokio::process::Child,
    pub(super) pid: u32,
}

impl Child {
    pub(super) fn start(program: &Path, spec: Spec<'_>, standard: Standard) -> Result<(Self, u32)> {
        let mut command = Command::new(program);
        command
            .args(&spec.arguments)
            .env_clear()
            .envs(spec.environment)
            .stdin(Stdio::from(standard.input))
            .stdout(standard.output.map_or_else(Stdio::null, Stdio::from))
            .stderr(Stdio::from(standard.error))
            // A Ctrl-C in a terminal is for the supervisor's parent alone.
            .process_group(0)
            .kill_on_drop(true);
        if let Some(socket) = spec.socket {
            pass(&mut command, socket)?;
        }
        let inner = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let pid = inner.id().context("the child has no process id")?;
        Ok((Self { inner, pid }, pid))
    }

    /// Waits for the end. May be given up and called again.
    pub(super) async fn wait(&mut self) -> Outcome {
        match self.inner.wait().await {
            Ok(status) => Outcome::of_process(status),
            Err(error) => Outcome::lost(&error),
        }
    }
}

fn pass(command: &mut Command, socket: OwnedFd) -> Result<()> {
    let mapping = FdMapping { parent_fd: socket, child_fd: FIRST_SOCKET_FD };
    command.env("LISTEN_FDS", "1").fd_mappings(vec![mapping]).context("cannot pass the socket")?;
    Ok(())
}

pub(super) fn send(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
}
