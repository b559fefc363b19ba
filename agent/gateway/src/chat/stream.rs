//! An answer as server-sent events, one for each delta.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use serde::Serialize;

use super::answer::{self, Head, Part, Usage};
use crate::engine::Answer;
use crate::error::ApiError;
use crate::record::Record;
use crate::shutdown::Shutdown;

/// The last event of every stream.
const DONE: &[u8] = b"data: [DONE]\n\n";

/// Waits for the first part, since a refusal must have its own status, then streams.
pub(super) async fn respond(
    mut answer: Answer,
    head: Head,
    include_usage: bool,
    shutdown: Shutdown,
    record: Arc<Record>,
) -> Result<Response, ApiError> {
    let first = answer::next(&mut answer, &shutdown, &record).await?;
    let transcript = Transcript { head: head.of_chunks(), include_usage };
    let source = Source { answer, transcript, first: Some(first), shutdown, record };
    let events = stream::unfold(Some(source), |source| async { source?.next().await });
    let headers = [(CONTENT_TYPE, "text/event-stream; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
    Ok((headers, Body::from_stream(events)).into_response())
}

/// Where the events come from. Dropping it ends the request in the engine.
struct Source {
    answer: Answer,
    transcript: Transcript,
    /// There until the stream has begun.
    first: Option<Part>,
    shutdown: Shutdown,
    record: Arc<Record>,
}

impl Source {
    /// The next events, and what follows them.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Option<Self>)> {
        let mut events = BytesMut::new();
        let part = match self.first.take() {
            Some(first) => {
                self.transcript.role(&mut events);
                Ok(first)
            }
            None => answer::next(&mut self.answer, &self.shutdown, &self.record).await,
        };
        let goes_on = matches!(part, Ok(Part::Text(_)));
        match part {
            Ok(Part::Text(text)) => self.transcript.content(&mut events, &text),
            Ok(Part::Finished { reason, usage }) => self.transcript.finish(&mut events, reason, usage),
            Err(error) => {
                // A stream ends once.
                let _ = self.record.error.set(error.code());
                self.transcript.fail(&mut events, &error);
            }
        }
        Some((Ok(events.freeze()), goes_on.then_some(self)))
    }
}

/// Writes the events of one answer.
struct Transcript {
    head: Head,
    include_usage: bool,
}

#[derive(Serialize)]
struct Chunk<'a> {
    #[serde(flatten)]
    head: &'a Head,
    choices: &'a [Choice<'a>],
    /// With `include_usage` each event has the field, all but the last have null.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    delta: Delta<'a>,
    logprobs: Option<()>,
    finish_reason: Option<&'a str>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

impl Transcript {
    fn role(&self, events: &mut BytesMut) {
        self.choice(events, Delta { role: Some("assistant"), content: Some("") }, None);
    }

    fn content(&self, events: &mut BytesMut, text: &str) {
        self.choice(events, Delta { role: None, content: Some(text) }, None);
    }

    fn finish(&self, events: &mut BytesMut, reason: &str, usage: Usage) {
        self.choice(events, Delta::default(), Some(reason));
        if self.include_usage {
            put(events, &Chunk { head: &self.head, choices: &[], usage: Some(Some(usage)) });
        }
        events.put_slice(DONE);
    }

    fn fail(&self, events: &mut BytesMut, error: &ApiError) {
        put(events, &error.body());
        events.put_slice(DONE);
    }

    fn choice(&self, events: &mut BytesMut, delta: Delta<'_>, finish_reason: Option<&str>) {
        let choices = [Choice { index: 0, delta, logprobs: None, finish_reason }];
        let usage = self.include_usage.then_some(None);
        put(events, &Chunk { head: &self.head, choices: &choices, usage });
    }
}

fn put(events: &mut BytesMut, event: &impl Serialize) {
    events.put_slice(b"data: ");
    serde_json::to_writer(events.writer(), event).expect("events are plain data, and memory takes all");
    events.put_slice(b"\n\n");
}
