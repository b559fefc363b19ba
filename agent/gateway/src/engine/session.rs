//! A session: a loaded engine on one connection. Requests keep it alive, so that a new
//! configuration never cuts an answer short.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nabi_prompt::{Template, TemplateError};
use nabi_wire::engine::{CONNECTION_REQUESTS_MAX, Delta, FinishReason, Generate, ModelCard, Refusal, Usage};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::error::ApiError;

/// Deltas that may wait for a client that reads slowly; past it the answer is ended.
pub(super) const ANSWER_DELTAS_MAX: usize = 16_384;

/// What an engine told of its model, and what follows from it.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) card: ModelCard,
    /// Absent in a model that only continues text.
    pub(crate) template: Option<Template>,
    /// OpenAI's `system_fingerprint`: the same engine, kernel and model give the same.
    pub(crate) fingerprint: String,
}

impl Model {
    pub(crate) fn new(card: ModelCard) -> Result<Self, TemplateError> {
        let template = card.template.as_ref().map(|template| Template::compile(template, &card.added_tokens));
        let template = template.transpose()?;
        let described = format!(
            "{}\0{}\0{}\0{}\0{}",
            card.name, card.architecture, card.engine, card.kernel, card.context_tokens
        );
        let hash = Sha256::digest(described.as_bytes());
        Ok(Self { template, fingerprint: format!("fp_{}", hex::encode(&hash[..5])), card })
    }
}

/// What the connection's task is told.
#[derive(Debug)]
pub(super) enum Command {
    Generate(Generate, Pending),
    Abort { id: u64 },
}

/// The connection's end of an answer.
#[derive(Debug)]
pub(super) struct Pending {
    /// Absent once nobody waits for the answer.
    listener: Option<Listener>,
    /// Held until the engine is done with the request, not only the client.
    _slot: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Listener {
    deltas: mpsc::Sender<Event>,
    /// A place kept for the end, so that it always arrives.
    end: mpsc::OwnedPermit<Event>,
}

/// One message of an answer.
#[derive(Debug)]
pub(crate) enum Event {
    Delta(Delta),
    End(End),
}

/// How an answer ended.
#[derive(Debug)]
pub(crate) enum End {
    Finished {
        reason: FinishReason,
        usage: Usage,
    },
    Refused(Refusal),
    /// More than [`ANSWER_DELTAS_MAX`] waited.
    ReadTooSlowly,
}

impl Pending {
    /// Passes more text on; false when the client is too far behind.
    pub(super) fn delta(&self, delta: Delta) -> bool {
        let Some(listener) = &self.listener else { return true };
        // Closed means that the client went: its abort is on its way.
        !matches!(listener.deltas.try_send(Event::Delta(delta)), Err(mpsc::error::TrySendError::Full(_)))
    }

    /// Says how the answer ended; what the engine still sends of it goes nowhere.
    pub(super) fn end(&mut self, end: End) {
        if let Some(listener) = self.listener.take() {
            listener.end.send(Event::End(end));
        }
    }

    /// Nobody waits for the answer any more.
    pub(super) fn abandon(&mut self) {
        self.listener = None;
    }
}

/// A loaded engine.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) model: Model,
    /// At most one generate and one abort wait here for each slot.
    commands: mpsc::UnboundedSender<Command>,
    slots: Arc<Semaphore>,
    next_id: AtomicU64,
}

impl Session {
    pub(super) fn new(model: Model) -> (Self, mpsc::UnboundedReceiver<Command>) {
        let (commands, received) = mpsc::unbounded_channel();
        let slots = Arc::new(Semaphore::new(CONNECTION_REQUESTS_MAX));
        (Self { model, commands, slots, next_id: AtomicU64::new(1) }, received)
    }

    /// Sends a request; its id is set here. Dropping the answer before its end aborts it.
    pub(crate) fn generate(self: Arc<Self>, mut generate: Generate) -> Result<Answer, ApiError> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| ApiError::Busy)?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        generate.id = id;
        let (deltas, events) = mpsc::channel(ANSWER_DELTAS_MAX + 1);
        let end = deltas.clone().try_reserve_owned().expect("a new channel has room");
        let pending = Pending { listener: Some(Listener { deltas, end }), _slot: slot };
        self.commands.send(Command::Generate(generate, pending)).map_err(|_| ApiError::EngineLost)?;
        Ok(Answer { id, events, session: self, over: false })
    }
}

/// An answer under way.
#[derive(Debug)]
pub(crate) struct Answer {
    id: u64,
    events: mpsc::Receiver<Event>,
    session: Arc<Session>,
    over: bool,
}

impl Answer {
    /// The next message; nothing more follows an end or an error.
    pub(crate) async fn next(&mut self) -> Result<Event, ApiError> {
        let event = self.events.recv().await;
        self.over |= !matches!(event, Some(Event::Delta(_)));
        event.ok_or(ApiError::EngineLost)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.over {
            // A connection that is gone has ended the request already.
            let _ = self.session.commands.send(Command::Abort { id: self.id });
        }
    }
}
