//! The task that owns a connection and the table of its requests.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Sink, SinkExt, StreamExt};
use nabi_prompt::TemplateError;
use nabi_wire::engine::{ENGINE_WIRE_VERSION, FromEngine, Greeting, Refusal, Stats, ToEngine};
use nabi_wire::frame::{self, FrameError};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Duration, Instant};

use super::answer::{Event, Failure, Pending, READ_STALL_MS_MAX};
use super::session::{Command, Model, Session};

/// Past so many unsent bytes no further request is taken from the queue.
const UNSENT_BYTES_MAX: usize = 1 << 20;
/// Past so many unanswered questions for its figures, the engine is asked no further ones.
const STATS_UNANSWERED_MAX: usize = 16;

/// How often answers are looked for that nobody takes.
const STALL_LOOK_INTERVAL_MS: u64 = READ_STALL_MS_MAX / 4;

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
    /// Questions for its figures that the engine has not answered.
    stats: HashMap<u64, oneshot::Sender<Stats>>,
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
    let connection = Connection { reader, writer, commands, requests: HashMap::new(), stats: HashMap::new() };
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
        let ended = self.carry(publish).await;
        // First, so that a request which is told that it was not sent does not come here again.
        publish.send_replace(None);
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Ask { mut pending, .. } = command {
                pending.fail(Failure::NotSent);
            }
        }
        ended
    }

    async fn carry(&mut self, publish: &watch::Sender<Option<Arc<Session>>>) -> Result<(), ConnectionError> {
        let mut unsent = false;
        let mut retired = false;
        let mut look = tokio::time::interval(Duration::from_millis(STALL_LOOK_INTERVAL_MS));
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
                frame = next(&mut self.reader) => self.answer(frame?),
                _ = look.tick() => unsent |= self.end_stalled(),
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
            Command::Ask { id, request, mut pending } => match self.put(request) {
                Ok(()) => drop(self.requests.insert(id, pending)),
                Err(error) => {
                    pending.fail(Failure::Refused(Refusal::Failed { what: error.to_string() }));
                }
            },
            Command::Credit { id, tokens } => {
                if self.requests.contains_key(&id) {
                    self.put(ToEngine::Credit { id, tokens }).expect("credit is a small frame");
                }
            }
            Command::Abort { id } => self.abort(id),
            Command::Stats { id, answer } => {
                // An engine that does not answer is asked no more.
                if self.stats.len() < STATS_UNANSWERED_MAX {
                    self.stats.insert(id, answer);
                    self.put(ToEngine::Stats { id }).expect("a question is a small frame");
                }
            }
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

    /// Ends the answers that nobody takes; true when there were any.
    fn end_stalled(&mut self) -> bool {
        let now = Instant::now();
        let stalled = |(id, pending): (&u64, &mut Pending)| pending.is_stalled(now).then_some(*id);
        let stalled: Vec<u64> = self.requests.iter_mut().filter_map(stalled).collect();
        for id in &stalled {
            if let Some(pending) = self.requests.get_mut(id) {
                pending.fail(Failure::ReadTooSlowly);
            }
            self.abort(*id);
        }
        !stalled.is_empty()
    }

    /// Passes a frame on to whom it concerns.
    fn answer(&mut self, frame: FromEngine) {
        match frame {
            FromEngine::Delta(delta) => {
                if let Some(pending) = self.requests.get_mut(&delta.id) {
                    pending.pass(Event::Delta(delta));
                }
            }
            FromEngine::Prompt { id, tokens } => {
                if let Some(pending) = self.requests.get_mut(&id) {
                    pending.pass(Event::Prompt(tokens));
                }
            }
            FromEngine::Finish { id, usage } => self.end(id, Event::Finished(usage)),
            FromEngine::Embedded { id, vectors, usage } => self.end(id, Event::Embedded(vectors, usage)),
            FromEngine::Tokens { id, tokens } => self.end(id, Event::Tokens(tokens)),
            FromEngine::Refused { id, refusal } => {
                if let Some(mut pending) = self.requests.remove(&id) {
                    pending.fail(Failure::Refused(refusal));
                }
            }
            FromEngine::Stats { id, stats } => {
                if let Some(answer) = self.stats.remove(&id) {
                    // Who asked may not wait any longer.
                    let _ = answer.send(*stats);
                }
            }
            // Said before.
            FromEngine::Greeting(_) | FromEngine::Loading { .. } | FromEngine::Ready(_) => {}
        }
    }

    fn end(&mut self, id: u64, event: Event) {
        if let Some(mut pending) = self.requests.remove(&id) {
            pending.pass(event);
        }
    }
}
