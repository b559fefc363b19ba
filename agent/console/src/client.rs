//! One action over the admin socket.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use nabi_wire::action::{Action, ModelAction};
use nabi_wire::frame;
use nabi_wire::lifeline::PROBLEM_FILE;
use nabi_wire::reply::{Answer, Progress, Reply};
use tokio::net::UnixStream;

use crate::file;

/// The supervisor, as its operator sees it.
pub(crate) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(crate) fn new(run: &Path) -> Self {
        Self { socket: run.join("admin.sock") }
    }

    /// Whether the supervisor with this process id answers, and not another one on the same state.
    pub(crate) async fn is_up(&self, pid: Option<u32>) -> bool {
        let peer = UnixStream::connect(&self.socket).await.and_then(|stream| stream.peer_cred());
        peer.is_ok_and(|peer| peer.pid().map(i32::cast_unsigned) == pid)
    }

    /// Sends the action and waits for its reply. Dropped, it interrupts the action.
    pub(crate) async fn act(&self, action: Action, mut progress: impl FnMut(&Progress)) -> Result<Reply> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(error))?;
        let (read, write) = stream.into_split();
        let mut answers = frame::reader::<_, Answer>(read);
        let mut actions = frame::writer::<_, Action>(write);
        actions.send(action).await.context("cannot send the action to the supervisor")?;
        loop {
            match answers.next().await.context("the supervisor went down before it answered")?? {
                Answer::Progress(now) => progress(&now),
                Answer::Done(reply) => return Ok(reply),
                Answer::Failed { message } => bail!(message),
            }
        }
    }

    fn unreachable(&self, error: io::Error) -> anyhow::Error {
        let problem = file::read(&self.socket.with_file_name(PROBLEM_FILE));
        let is_down = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
        if let Some(problem) = problem.filter(|_| is_down) {
            return anyhow::anyhow!("the supervisor cannot run: {}", problem.trim_end());
        }
        let socket = self.socket.display();
        let advice = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                format!(
                    "no supervisor answers at {socket}: start it with `nabi up`, or name its folder with --state"
                )
            }
            io::ErrorKind::PermissionDenied => format!("{socket} is not yours: act as the operator's user"),
            _ => format!("cannot connect to {socket}"),
        };
        anyhow::Error::new(error).context(advice)
    }
}

/// Paths mean what they mean here, not where the supervisor runs.
pub(crate) fn absolute(action: Action) -> Result<Action> {
    Ok(match action {
        Action::Model(ModelAction::Import { path, name }) => {
            let path =
                std::path::absolute(&path).with_context(|| format!("{} is no path", path.display()))?;
            Action::Model(ModelAction::Import { path, name })
        }
        action => action,
    })
}
