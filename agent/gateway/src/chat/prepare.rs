//! From a request's body to what the engine is asked.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use nabi_domain::ModelName;
use nabi_prompt::Chat;
use nabi_wire::engine::Generate;

use super::request::ChatRequest;
use crate::engine::Session;
use crate::error::ApiError;
use crate::record::Record;
use crate::serving::Serving;

/// Bodies up to this size are read and rendered where they arrive; larger ones, which take
/// milliseconds, beside the threads that serve connections.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// A request that an engine can take.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) model: ModelName,
    pub(super) session: Arc<Session>,
    pub(super) generate: Generate,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

/// [`prepare`], where it holds up no other request.
pub(super) async fn off_thread(
    body: Bytes,
    serving: Arc<Serving>,
    record: Arc<Record>,
) -> Result<Prepared, ApiError> {
    let now = Timestamp::now();
    if body.len() <= INLINE_BYTES_MAX {
        return prepare(&body, &serving, &record, now);
    }
    let prepared = tokio::task::spawn_blocking(move || prepare(&body, &serving, &record, now));
    // A panic: the runtime has logged where.
    prepared.await.unwrap_or(Err(ApiError::Internal))
}

fn prepare(body: &[u8], serving: &Serving, record: &Record, now: Timestamp) -> Result<Prepared, ApiError> {
    let request = ChatRequest::parse(body)?;
    let model = serving.model(&request.model).ok_or(ApiError::ModelUnknown(request.model))?;
    // A request has one model, so that this cannot have been set.
    let _ = record.model.set(model.name.clone());
    let session = model.session().ok_or_else(|| ApiError::ModelNotReady(model.name.clone()))?;
    let template = session.model.template.as_ref().ok_or_else(|| ApiError::NoTemplate(model.name.clone()))?;
    let chat = Chat {
        messages: request.messages,
        add_generation_prompt: true,
        now: now.to_zoned(TimeZone::UTC).datetime(),
        ..Chat::default()
    };
    // As it is: the template writes the token that begins a sequence where the model wants one.
    let pieces = template.render(&chat).map_err(ApiError::Prompt)?;
    let generate = Generate {
        id: 0,
        pieces,
        sampling: request.sampling,
        stop: request.stop,
        tokens_max: request.tokens_max,
        logprobs: false,
    };
    Ok(Prepared {
        model: model.name.clone(),
        session,
        generate,
        stream: request.stream,
        include_usage: request.include_usage,
    })
}
