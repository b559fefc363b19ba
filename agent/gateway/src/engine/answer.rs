//! An answer under way: what the engine says of one request, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nabi_wire::engine::{CREDIT_UNBOUNDED, Delta, FinishReason, Refusal, ScoredToken, TokenText, Usage};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Duration, Instant};

use super::session::{Command, Session};
use crate::error::ApiError;

/// A client that takes nothing for so long of what waits for it is gone.
pub(crate) const READ_STALL_MS_MAX: u64 = 30_000;

/// One message of an answer.
#[derive(Debug)]
pub(crate) enum Event {
    /// The prompt's tokens with their log-probabilities, or more of them.
    Prompt(Vec<ScoredToken>),
    /// More of a choice.
    Delta(Delta),
    /// All choices have ended; nothing follows.
    Finished(Usage),
    /// Vectors for texts; nothing follows.
    Embedded(Vec<Vec<f32>>, Usage),
    /// The tokens of a prompt; nothing follows.
    Tokens(Vec<TokenText>),
}

impl Event {
    /// Whether nothing follows it.
    pub(super) fn is_last(&self) -> bool {
        !matches!(self, Self::Prompt(_) | Self::Delta(_))
    }
}

/// Why there is no further event.
#[derive(Debug)]
pub(super) enum Failure {
    Refused(Refusal),
    /// See [`READ_STALL_MS_MAX`].
    ReadTooSlowly,
    /// The connection was lost before the request went out.
    NotSent,
}

/// The fields of a request that an engine's refusal may concern.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) prompt: &'static str,
    /// Where a grammar was asked for.
    pub(crate) grammar: Option<&'static str>,
}

impl Origin {
    /// The error that a caller sees.
    fn refused(self, refusal: Refusal) -> ApiError {
        let param = match &refusal {
            Refusal::PromptTooLong { .. } | Refusal::PromptEmpty | Refusal::TokenUnknown { .. } => {
                Some(self.prompt.to_owned())
            }
            Refusal::OutOfRange { field, .. } => Some(field.clone()),
            Refusal::Grammar { .. } => self.grammar.map(str::to_owned),
            Refusal::Unable { .. } => Some("model".to_owned()),
            _ => None,
        };
        ApiError::Refused { refusal, param }
    }
}

/// The error that the end of a choice is for the whole answer, if it is one.
fn failure(end: FinishReason) -> Option<ApiError> {
    match end {
        FinishReason::Stop | FinishReason::Length => None,
        FinishReason::Draining => Some(ApiError::Refused { refusal: Refusal::Draining, param: None }),
        FinishReason::TimeOver => Some(ApiError::TimeOver),
        // Not by this gateway, which listens no longer to what it aborts.
        FinishReason::Aborted => Some(ApiError::EngineLost),
    }
}

/// The connection's end of an answer. What is passed on waits without a bound here: the engine
/// sends no more than it has credit for.
#[derive(Debug)]
pub(super) struct Pending {
    /// Absent once nobody waits for the answer.
    listener: Option<Listener>,
    /// Held until the engine is done with the request, not only the client.
    _slot: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Listener {
    events: mpsc::UnboundedSender<Result<Event, Failure>>,
    /// How many were passed on, and how many of them were taken.
    passed: u64,
    taken: Arc<AtomicU64>,
    /// What was taken when it was last looked at, and since when that has not changed.
    seen: u64,
    since: Instant,
}

impl Pending {
    /// Passes an event on.
    pub(super) fn pass(&mut self, event: Event) {
        if let Some(listener) = &mut self.listener {
            listener.passed += 1;
            // Closed means that the client went: its abort is on its way.
            let _ = listener.events.send(Ok(event));
        }
    }

    /// Says why nothing follows; what the engine still sends goes nowhere.
    pub(super) fn fail(&mut self, failure: Failure) {
        if let Some(listener) = self.listener.take() {
            let _ = listener.events.send(Err(failure));
        }
    }

    /// Nobody waits for the answer any more.
    pub(super) fn abandon(&mut self) {
        self.listener = None;
    }

    /// Whether the client takes nothing of what waits for it, and has not for too long.
    pub(super) fn is_stalled(&mut self, now: Instant) -> bool {
        let Some(listener) = &mut self.listener else { return false };
        let taken = listener.taken.load(Ordering::Relaxed);
        if taken != listener.seen || taken == listener.passed {
            (listener.seen, listener.since) = (taken, now);
        }
        now.duration_since(listener.since) >= Duration::from_millis(READ_STALL_MS_MAX)
    }
}

/// Both ends of an answer that may be under way once the engine has been told.
pub(super) fn channel(
    id: u64,
    session: Arc<Session>,
    slot: OwnedSemaphorePermit,
    origin: Origin,
    credit_tokens: u32,
) -> (Pending, Answer) {
    let (events, received) = mpsc::unbounded_channel();
    let taken = Arc::new(AtomicU64::new(0));
    let since = Instant::now();
    let listener = Listener { events, passed: 0, taken: Arc::clone(&taken), seen: 0, since };
    let pending = Pending { listener: Some(listener), _slot: slot };
    let answer = Answer {
        id,
        events: received,
        taken,
        session,
        origin,
        credit_tokens,
        used_tokens: 0,
        is_over: false,
    };
    (pending, answer)
}

/// An answer under way. Dropping it before its end aborts the request.
#[derive(Debug)]
pub(crate) struct Answer {
    id: u64,
    events: mpsc::UnboundedReceiver<Result<Event, Failure>>,
    taken: Arc<AtomicU64>,
    session: Arc<Session>,
    origin: Origin,
    /// What the engine may send ahead.
    credit_tokens: u32,
    /// Tokens taken that it has not been told of.
    used_tokens: u32,
    is_over: bool,
}

impl Answer {
    /// The next event; nothing follows the last one, or an error.
    pub(crate) async fn next(&mut self) -> Result<Event, ApiError> {
        let event = self.events.recv().await;
        self.take(event)
    }

    /// The next event, if it is there already.
    pub(crate) fn ready(&mut self) -> Option<Result<Event, ApiError>> {
        match self.events.try_recv() {
            Ok(event) => Some(self.take(Some(event))),
            Err(_) => None,
        }
    }

    fn take(&mut self, event: Option<Result<Event, Failure>>) -> Result<Event, ApiError> {
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.is_over = !matches!(&event, Some(Ok(event)) if !event.is_last());
        match event {
            Some(Ok(event)) => {
                if let Event::Delta(delta) = &event {
                    self.give_back(delta.token_ids.len());
                    if let Some(error) = delta.end.and_then(failure) {
                        return Err(error);
                    }
                }
                Ok(event)
            }
            Some(Err(Failure::Refused(refusal))) => Err(self.origin.refused(refusal)),
            Some(Err(Failure::ReadTooSlowly)) => Err(ApiError::ReadTooSlowly),
            Some(Err(Failure::NotSent)) => Err(ApiError::NotSent),
            None => Err(ApiError::EngineLost),
        }
    }

    /// Lets the engine send as much more as was taken; not for each token, since half of the credit
    /// is enough for it to go on.
    fn give_back(&mut self, tokens: usize) {
        if self.credit_tokens == CREDIT_UNBOUNDED {
            return;
        }
        self.used_tokens = self.used_tokens.saturating_add(u32::try_from(tokens).unwrap_or(u32::MAX));
        if self.used_tokens >= self.credit_tokens.div_ceil(2) {
            self.session.tell(Command::Credit { id: self.id, tokens: self.used_tokens });
            self.used_tokens = 0;
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.is_over {
            self.session.tell(Command::Abort { id: self.id });
        }
    }
}
