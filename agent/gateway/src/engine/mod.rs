//! The gateway's side of the engine wire: for each engine socket one task, which connects, waits
//! until the model is loaded, then carries requests and answers until the connection is lost, and
//! begins again.

mod answer;
mod begin;
mod connection;
mod session;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub(crate) use answer::{Answer, Event, Origin};
pub(crate) use begin::{Begun, begin, events};
use connection::Opened;
pub(crate) use session::Session;

/// First wait before another try to connect.
const RECONNECT_WAIT_MS_MIN: u64 = 20;
/// Longest wait before another try to connect.
const RECONNECT_WAIT_MS_MAX: u64 = 1_000;

/// An engine that the configuration names. When the last clone is gone, its connection is closed
/// once the last of its answers is over.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    session: watch::Receiver<Option<Arc<Session>>>,
}

impl Engine {
    /// Starts the task that keeps the connection.
    pub(crate) fn connect(socket: PathBuf) -> Self {
        let (publish, session) = watch::channel(None);
        tokio::spawn(keep_connected(socket, publish));
        Self { session }
    }

    /// Waits for a session with the loaded engine.
    pub(crate) async fn connected(&self) {
        // Its task ends only with the last clone, of which this is one.
        let _ = self.session.clone().wait_for(Option::is_some).await;
    }

    /// The session with the loaded engine, if there is one.
    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        self.session.borrow().clone()
    }
}

async fn keep_connected(socket: PathBuf, publish: watch::Sender<Option<Arc<Session>>>) {
    let mut wait_ms = RECONNECT_WAIT_MS_MIN;
    loop {
        let opened = tokio::select! {
            () = publish.closed() => return,
            opened = connection::open(&socket) => opened,
        };
        match opened {
            Ok(opened) => {
                wait_ms = RECONNECT_WAIT_MS_MIN;
                serve(&socket, opened, &publish).await;
            }
            // Said once for a row of failures: an engine that starts may need many tries.
            Err(error) if wait_ms == RECONNECT_WAIT_MS_MIN => {
                let error = anyhow::Error::new(error);
                tracing::warn!(socket = %socket.display(), "cannot reach the engine: {error:#}");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = publish.closed() => return,
            () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
        }
        wait_ms = (wait_ms * 2).min(RECONNECT_WAIT_MS_MAX);
    }
}

async fn serve(socket: &Path, opened: Opened, publish: &watch::Sender<Option<Arc<Session>>>) {
    let Opened { session, connection } = opened;
    let card = &session.model.card;
    tracing::info!(socket = %socket.display(), model = %card.name, engine = card.engine, "the engine is ready");
    publish.send_replace(Some(session));
    let ended = connection.run(publish).await;
    match ended {
        Ok(()) => tracing::info!(socket = %socket.display(), "the engine's connection is closed"),
        Err(error) => {
            let error = anyhow::Error::new(error);
            tracing::warn!(socket = %socket.display(), "the engine is lost: {error:#}");
        }
    }
}

#[cfg(test)]
mod tests;
