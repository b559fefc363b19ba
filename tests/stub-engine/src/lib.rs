//! An engine without a model: it speaks the engine wire and answers by a script. Tests of the
//! gateway run it in their own process; benchmarks run it as a program.

mod answer;
mod connection;
mod play;
mod script;

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use nabi_wire::engine::ToEngine;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use script::{Rule, Script, Step, card};

/// How an engine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A [`Step::Die`] was reached: all connections are closed, as if the process had been killed.
    Died,
}

/// Lets tests steer an engine that runs, and see what it received.
#[derive(Debug)]
pub struct Controls {
    /// Every frame that came, in order, greetings included.
    pub received: mpsc::UnboundedReceiver<ToEngine>,
    held: watch::Sender<u64>,
}

impl Controls {
    /// Lets every answer go on that waits in a [`Step::Hold`].
    pub fn release(&self) {
        self.held.send_modify(|releases| *releases += 1);
    }
}

/// What all connections of one engine share.
#[derive(Debug)]
struct Engine {
    script: Script,
    record: Option<mpsc::UnboundedSender<ToEngine>>,
    held: watch::Receiver<u64>,
    death: mpsc::Sender<()>,
}

/// Serves until the script says to die.
///
/// `record` makes it keep each received frame for [`Controls::received`]; without a reader they
/// pile up, so benchmarks leave it off.
pub fn serve(
    listener: StdListener,
    script: Script,
    record: bool,
) -> io::Result<(Controls, impl Future<Output = io::Result<End>>)> {
    listener.set_nonblocking(true)?;
    let (recorder, received) = mpsc::unbounded_channel();
    let (held, releases) = watch::channel(0);
    let (death, died) = mpsc::channel(1);
    let engine = Engine { script, record: record.then_some(recorder), held: releases, death };
    Ok((Controls { received, held }, run(listener, Arc::new(engine), died)))
}

async fn run(listener: StdListener, engine: Arc<Engine>, mut died: mpsc::Receiver<()>) -> io::Result<End> {
    let listener = UnixListener::from_std(listener)?;
    let loaded_at = tokio::time::Instant::now() + Duration::from_millis(engine.script.loading_ms);
    // Dropped with this function: then every connection closes at once.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = died.recv() => return Ok(End::Died),
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                connections.spawn(connection::serve(stream, Arc::clone(&engine), loaded_at));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
