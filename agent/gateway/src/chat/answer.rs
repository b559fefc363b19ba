//! What an engine says, as OpenAI's API says it.

use jiff::Timestamp;
use nabi_domain::ModelName;
use nabi_wire::engine::{FinishReason, Refusal};
use serde::Serialize;

use crate::engine::{Answer, End, Event, Session};
use crate::error::ApiError;
use crate::random;
use crate::record::Record;
use crate::shutdown::Shutdown;

/// A part of an answer that clients see.
#[derive(Debug)]
pub(super) enum Part {
    Text(String),
    Finished { reason: &'static str, usage: Usage },
}

/// Waits for the next part, but not past the end of the drain.
pub(super) async fn next(
    answer: &mut Answer,
    shutdown: &Shutdown,
    record: &Record,
) -> Result<Part, ApiError> {
    loop {
        if shutdown.has_ended() {
            return Err(ApiError::ShuttingDown);
        }
        let event = tokio::select! {
            biased;
            event = answer.next() => event?,
            () = shutdown.ended() => return Err(ApiError::ShuttingDown),
        };
        match event {
            // Tokens whose text is not complete yet.
            Event::Delta(delta) if delta.text.is_empty() => {}
            Event::Delta(delta) => return Ok(Part::Text(delta.text)),
            Event::End(End::Refused(refusal)) => return Err(ApiError::Refused(refusal)),
            Event::End(End::ReadTooSlowly) => return Err(ApiError::ReadTooSlowly),
            Event::End(End::Finished { reason, usage }) => {
                // An answer ends once.
                let _ = record.usage.set(usage);
                return Ok(Part::Finished { reason: finish_reason(reason)?, usage: usage.into() });
            }
        }
    }
}

fn finish_reason(reason: FinishReason) -> Result<&'static str, ApiError> {
    match reason {
        FinishReason::Stop => Ok("stop"),
        FinishReason::Length => Ok("length"),
        FinishReason::Draining => Err(ApiError::Refused(Refusal::Draining)),
        // Not by this gateway, which listens no longer to what it aborts.
        FinishReason::Aborted => Err(ApiError::EngineLost),
    }
}

/// What all parts of an answer say of it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Head {
    id: String,
    object: &'static str,
    created: i64,
    model: ModelName,
    system_fingerprint: String,
}

impl Head {
    pub(super) fn new(model: &ModelName, session: &Session) -> Self {
        Self {
            id: format!("chatcmpl-{}", random::hex()),
            object: "chat.completion",
            created: Timestamp::now().as_second(),
            model: model.clone(),
            system_fingerprint: session.model.fingerprint.clone(),
        }
    }

    /// The same for the events of a stream.
    pub(super) fn of_chunks(mut self) -> Self {
        self.object = "chat.completion.chunk";
        self
    }
}

/// A whole answer.
#[derive(Debug, Serialize)]
pub(super) struct Completion {
    #[serde(flatten)]
    head: Head,
    choices: [Choice; 1],
    usage: Usage,
}

#[derive(Debug, Serialize)]
struct Choice {
    index: u32,
    message: Message,
    logprobs: Option<()>,
    finish_reason: &'static str,
}

#[derive(Debug, Serialize)]
struct Message {
    role: &'static str,
    content: String,
    refusal: Option<()>,
}

/// What an answer took.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Usage {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u64,
}

impl From<nabi_wire::engine::Usage> for Usage {
    fn from(usage: nabi_wire::engine::Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: u64::from(usage.prompt_tokens) + u64::from(usage.completion_tokens),
        }
    }
}

/// Collects a whole answer.
pub(super) async fn whole(
    mut answer: Answer,
    head: Head,
    shutdown: &Shutdown,
    record: &Record,
) -> Result<Completion, ApiError> {
    let mut content = String::new();
    loop {
        match next(&mut answer, shutdown, record).await? {
            Part::Text(text) => content.push_str(&text),
            Part::Finished { reason, usage } => {
                let message = Message { role: "assistant", content, refusal: None };
                let choice = Choice { index: 0, message, logprobs: None, finish_reason: reason };
                return Ok(Completion { head, choices: [choice], usage });
            }
        }
    }
}
