//! A session: a loaded engine on one connection. Requests keep it alive, so that a new
//! configuration never cuts an answer short.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nabi_domain::Piece;
use nabi_prompt::{Template, TemplateError};
use nabi_wire::engine::{
    CONNECTION_REQUESTS_MAX, CREDIT_UNBOUNDED, Embed, Generate, ModelCard, Stats, ToEngine,
};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::answer::{self, Answer, Origin, Pending};
use crate::error::ApiError;

/// What an engine told of its model, and what follows from it.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) card: ModelCard,
    /// Absent in a model that only continues text.
    pub(crate) template: Option<Template>,
    /// The added tokens that are text with a meaning, by their ids.
    shown: HashMap<u32, String>,
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
        let fingerprint = format!("fp_{}", hex::encode(&hash[..5]));
        let shown = card.added_tokens.iter().filter(|token| !token.special);
        let shown = shown.map(|token| (token.id, token.literal.clone())).collect();
        Ok(Self { template, shown, fingerprint, card })
    }

    /// What a piece of an answer adds to its text: control tokens nothing.
    pub(crate) fn text<'a>(&'a self, piece: &'a Piece) -> &'a str {
        match piece {
            Piece::Text(text) => text,
            Piece::Token(token) => self.shown.get(token).map_or("", String::as_str),
        }
    }

    /// Whether a token is a control token, which adds nothing to an answer's text.
    pub(crate) fn is_control(&self, token: u32) -> bool {
        self.card.added_tokens.iter().any(|added| added.id == token && added.special)
    }
}

/// What the connection's task is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Send this request, whose answer goes there.
    Ask { id: u64, request: ToEngine, pending: Pending },
    /// The client has taken so many tokens.
    Credit { id: u64, tokens: u32 },
    /// Nobody waits for the answer any more.
    Abort { id: u64 },
    /// How is the engine doing?
    Stats { id: u64, answer: oneshot::Sender<Stats> },
}

/// A loaded engine.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) model: Model,
    /// At most one request and one abort wait here for each slot, and credit for what was sent.
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

    /// Continues a prompt; the request's id is set here.
    pub(crate) fn generate(
        self: &Arc<Self>,
        mut generate: Generate,
        origin: Origin,
    ) -> Result<Answer, ApiError> {
        let credit = generate.credit_tokens;
        self.ask(origin, credit, |id| {
            generate.id = id;
            ToEngine::Generate(Box::new(generate))
        })
    }

    /// Gives vectors for texts; the request's id is set here.
    pub(crate) fn embed(self: &Arc<Self>, mut embed: Embed, origin: Origin) -> Result<Answer, ApiError> {
        self.ask(origin, CREDIT_UNBOUNDED, |id| {
            embed.id = id;
            ToEngine::Embed(Box::new(embed))
        })
    }

    /// Asks for a prompt's tokens.
    pub(crate) fn tokenize(self: &Arc<Self>, pieces: Vec<Piece>, origin: Origin) -> Result<Answer, ApiError> {
        self.ask(origin, CREDIT_UNBOUNDED, |id| ToEngine::Tokenize { id, pieces })
    }

    /// How the engine is doing; none when it is lost before it tells.
    pub(crate) async fn stats(&self) -> Option<Stats> {
        let (answer, answered) = oneshot::channel();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.commands.send(Command::Stats { id, answer }).ok()?;
        answered.await.ok()
    }

    fn ask(
        self: &Arc<Self>,
        origin: Origin,
        credit_tokens: u32,
        request: impl FnOnce(u64) -> ToEngine,
    ) -> Result<Answer, ApiError> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| ApiError::Busy)?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (pending, answer) = answer::channel(id, Arc::clone(self), slot, origin, credit_tokens);
        let command = Command::Ask { id, request: request(id), pending };
        self.commands.send(command).map_err(|_| ApiError::NotSent)?;
        Ok(answer)
    }

    /// A connection that is gone has ended its requests already.
    pub(super) fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
    }
}
