//! Answers as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use serde::Serialize;

use crate::answer::{Head, Usage};
use crate::error::ApiError;
use crate::record::Record;

/// The last event of every stream.
const DONE: &[u8] = b"data: [DONE]\n\n";
/// What has come already is sent together, up to so many items.
const TOGETHER_ITEMS_MAX: usize = 64;

/// What follows an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    More,
    /// Nothing: the answer is whole.
    Done,
}

/// Says what comes as events.
pub(crate) trait Transcript<I>: Send + 'static {
    /// Writes the events for an item.
    fn write(&mut self, item: I, events: &mut BytesMut) -> Result<Then, ApiError>;
}

/// A response whose body is the transcript of these items. Dropping it drops them, which ends the
/// request in the engine.
pub(crate) fn respond<I: Send + 'static>(
    items: impl Stream<Item = Result<I, ApiError>> + Send + 'static,
    transcript: impl Transcript<I>,
    record: Arc<Record>,
) -> Response {
    let source = Source { items: items.boxed(), transcript, record };
    let events = stream::unfold(Some(source), async |source| source?.next().await);
    let headers = [(CONTENT_TYPE, "text/event-stream; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(events)).into_response()
}

struct Source<I, T> {
    items: BoxStream<'static, Result<I, ApiError>>,
    transcript: T,
    record: Arc<Record>,
}

impl<I, T: Transcript<I>> Source<I, T> {
    /// The next events, and what follows them.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Option<Self>)> {
        let mut events = BytesMut::new();
        let mut item = self.items.next().await?;
        for more in (0..TOGETHER_ITEMS_MAX).rev() {
            match item.and_then(|item| self.transcript.write(item, &mut events)) {
                Ok(Then::More) => {}
                Ok(Then::Done) => return Some(end(events)),
                Err(error) => {
                    // A stream ends once.
                    let _ = self.record.error.set(error.code().text());
                    put(&mut events, &error.body());
                    return Some(end(events));
                }
            }
            // What is taken must be written, so nothing is taken in the last round.
            match (more > 0).then(|| self.items.next().now_or_never()).flatten() {
                Some(Some(ready)) => item = ready,
                Some(None) => return Some((Ok(events.freeze()), None)),
                None => break,
            }
        }
        Some((Ok(events.freeze()), Some(self)))
    }
}

/// The last events.
fn end<S>(mut events: BytesMut) -> (Result<Bytes, Infallible>, Option<S>) {
    events.put_slice(DONE);
    (Ok(events.freeze()), None)
}

/// Writes events that all begin alike.
#[derive(Debug)]
pub(crate) struct Chunks {
    /// `data: {"id":…`, up to where the choices stand.
    head: Vec<u8>,
    /// With it each event has the field, all but the last have null.
    pub(crate) include_usage: bool,
}

impl Chunks {
    pub(crate) fn new(head: &Head, include_usage: bool) -> Self {
        let mut begin = b"data: ".to_vec();
        serde_json::to_writer(&mut begin, head).expect("a head is plain data");
        begin.pop();
        begin.extend_from_slice(b",\"choices\":[");
        Self { head: begin, include_usage }
    }

    /// One event of one choice.
    pub(crate) fn choice(&self, events: &mut BytesMut, choice: &impl Serialize) {
        events.put_slice(&self.head);
        json(events, choice);
        events.put_slice(if self.include_usage { b"],\"usage\":null}\n\n" } else { b"]}\n\n" });
    }

    /// The event after all choices, if it was asked for.
    pub(crate) fn usage(&self, events: &mut BytesMut, usage: &Usage) {
        if self.include_usage {
            events.put_slice(&self.head);
            events.put_slice(b"],\"usage\":");
            json(events, usage);
            events.put_slice(b"}\n\n");
        }
    }
}

fn put(events: &mut BytesMut, event: &impl Serialize) {
    events.put_slice(b"data: ");
    json(events, event);
    events.put_slice(b"\n\n");
}

fn json(events: &mut BytesMut, value: &impl Serialize) {
    serde_json::to_writer(events.writer(), value).expect("events are plain data, and memory takes all");
}
