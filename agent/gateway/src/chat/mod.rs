//! `POST /v1/chat/completions`.

mod choice;
mod chunks;
pub(crate) mod fields;
mod form;
mod logprobs;
pub(crate) mod messages;
mod prepare;
pub(crate) mod tools;
mod whole;

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::answer::Head;
use crate::caller::{Caller, work};
use crate::engine::{Begun, begin, events};
use crate::error::ApiError;
use crate::request::Parsed;
use crate::request::generation::Generation;
use crate::{body, sse};
use choice::Choice;

/// Answers a chat, whole or as a stream.
pub(crate) async fn complete(caller: Caller, body: Body) -> Result<Response, ApiError> {
    let body = body::read(body, &caller.app).await?;
    let bytes = body.len();
    let Parsed { mut request, ignored } = work(bytes, move || fields::TABLE.parse(&body)).await?;
    request.chat.now = Timestamp::now().to_zoned(TimeZone::UTC).datetime();
    let Generation { choices, stream, include_usage, .. } = request.generation;
    let request = Arc::new(request);
    let shutdown = &caller.app.shutdown;
    let begun = begin(shutdown, || {
        let (request, caller) = (Arc::clone(&request), caller.clone());
        work(bytes, move || prepare::send(&request, &caller))
    });
    let Begun { prepared, first, rest } = begun.await?;
    // It may be large, and will not be sent again.
    drop(request);
    let choices: Vec<_> = (0..choices).map(|_| Choice::new(&prepared)).collect();
    let record = Arc::clone(&caller.record);
    let events = events(first, rest, shutdown.clone()).inspect_ok(move |event| record.see(event));
    let mut response = if stream {
        let head = Head::new("chatcmpl-", "chat.completion.chunk", &prepared.model);
        let transcript = chunks::Stream::new(&head, choices, include_usage, &caller.record);
        sse::respond(events, transcript, Arc::clone(&caller.record))
    } else {
        let head = Head::new("chatcmpl-", "chat.completion", &prepared.model);
        Json(whole::collect(events, head, choices, &caller.record).await?).into_response()
    };
    ignored.name_in(&mut response);
    Ok(response)
}
