//! The task that owns a connection and the table of its requests.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Sink, SinkExt, StreamExt};
use nabi_prompt::TemplateError;
use nabi_wire::engine::{ENGINE_WIRE_VERSION, FromEngine, Greeting, Refusal, ToEngine};
use nabi_wire::frame::{self, FrameError};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};

use super::session::{Command, End, Model, Pending, Session};

/// Past so many unsent bytes no further request is taken from the queue.
const UNSENT_BYTES_MAX: usize = 1 << 20;

/// Why there is no session, or no longer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("nothing listens on the socket")]
    Connect(#[source] io::Error),
    #[error("the connection broke")]
    Frame(#[from] FrameError),
    #[error("the engine closed the connection")]
    Closed,
    #[error("the program on the socket is not an engine")]
    NotAnEngine,
    #[error(
        "the engine speaks version {0} of the wire, the gateway {ENGINE_WIRE_VERSION}: restart both after an update"
    )]
    Version(u32),
    #[error("the model's chat template cannot be used")]
    Template(#[from] TemplateError),
}

/// A session, and the connection that carries it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) session: Arc<Session>,
    pub(super) connection: Connection,
}

/// A connection to a loaded engine.
#[derive(Debug)]
pub(super) struct Connection {
    reader: frame::Reader<OwnedReadHalf, FromEngine>,
    writer: frame::Writer<OwnedWriteHalf, ToEngine>,
    commands: mpsc::UnboundedReceiver<Command>,
    /// Requests that the engine has not ended.
    requests: HashMap<u64, Pending>,
}

/// Connects, and waits until the model is loaded, which may take as long as it takes.
pub(super) async fn open(socket: &Path) -> Result<Opened, ConnectionError> {
    let stream = UnixStream::connect(socket).await.map_err(ConnectionError::Connect)?;
    let (reading, writing) = stream.into_split();
    let mut reader = frame::reader(reading);
    let mut writer = frame::writer(writing);
    writer.send(ToEngine::Greeting(Greeting::OURS)).await?;
    match next(&mut reader).await? {
        FromEngine::Greeting(Greeting::OURS) => {}
        FromEngine::Greeting(other) if other.magic == Greeting::OURS.magic => {
            return Err(ConnectionError::Version(other.version));
        }
        _ => return Err(ConnectionError::NotAnEngine),
    }
    let card = loop {
        match next(&mut reader).await? {
            FromEngine::Loading { .. } => {}
            FromEngine::Ready(card) => break *card,
            _ => return Err(ConnectionError::NotAnEngine),
        }
    };
    let (session, commands) = Session::new(Model::new(card)?);
    let connection = Connection { reader, writer, commands, requests: HashMap::new() };
    Ok(Opened { session: Arc::new(session), connection })
}

async fn next(reader: &mut frame::Reader<OwnedReadHalf, FromEngine>) -> Result<FromEngine, ConnectionError> {
    Ok(reader.next().await.ok_or(ConnectionError::Closed)??)
}

impl Connection {
    /// Carries requests until the engine is lost, or the configuration names it no longer and all
    /// its answers are over. What is under way then ends with the channels that are dropped here.
    pub(super) async fn run(
        mut self,
        publish: &watch::Sender<Option<Arc<Session>>>,
    ) -> Result<(), ConnectionError> {
        let mut unsent = false;
        let mut retired = false;
        loop {
            let room = self.writer.write_buffer().len() < UNSENT_BYTES_MAX;
            tokio::select! {
                command = self.commands.recv(), if room => match command {
                    Some(command) => {
                        self.take(command);
                        unsent = true;
                    }
                    None => return Ok(()),
                },
                sent = self.writer.flush(), if unsent => {
                    sent?;
                    unsent = false;
                }
                frame = next(&mut self.reader) => unsent |= self.answer(frame?),
                () = publish.closed(), if !retired => {
                    // The last holders are now the answers under way.
                    publish.send_replace(None);
                    retired = true;
                }
            }
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Generate(generate, mut pending) => {
                let id = generate.id;
                match self.put(ToEngine::Generate(generate)) {
                    Ok(()) => drop(self.requests.insert(id, pending)),
                    Err(error) => pending.end(End::Refused(Refusal::Failed { what: error.to_string() })),
                }
            }
            Command::Abort { id } => self.abort(id),
        }
    }

    /// Puts a frame into the buffer. It fails only for a frame that is too large, and leaves the
    /// buffer as it was.
    fn put(&mut self, frame: ToEngine) -> Result<(), FrameError> {
        Pin::new(&mut self.writer).start_send(frame)
    }

    /// Asks the engine to end a request, unless it has; until then the request keeps its slot.
    fn abort(&mut self, id: u64) {
        if let Some(pending) = self.requests.get_mut(&id) {
            pending.abandon();
            self.put(ToEngine::Abort { id }).expect("an abort is a small frame");
        }
    }

    /// Passes a frame on to whom it concerns; true when there is something to send back.
    fn answer(&mut self, frame: FromEngine) -> bool {
        match frame {
            FromEngine::Delta(delta) => {
                let id = delta.id;
                let Some(pending) = self.requests.get_mut(&id) else { return false };
                let kept_up = pending.delta(delta);
                if !kept_up {
                    pending.end(End::ReadTooSlowly);
                    self.abort(id);
                }
                !kept_up
            }
            FromEngine::Finish { id, reason, usage } => self.end(id, End::Finished { reason, usage }),
            FromEngine::Refused { id, refusal } => self.end(id, End::Refused(refusal)),
            // Not asked for by the gateway, or said before.
            FromEngine::Greeting(_)
            | FromEngine::Loading { .. }
            | FromEngine::Ready(_)
            | FromEngine::Tokens { .. }
            | FromEngine::Stats { .. } => false,
        }
    }

    fn end(&mut self, id: u64, end: End) -> bool {
        if let Some(mut pending) = self.requests.remove(&id) {
            pending.end(end);
        }
        false
    }
}
