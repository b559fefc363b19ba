//! `POST /v1/completions`: one text goes on, or several in one request.

mod choice;
mod chunks;
pub(crate) mod fields;
mod logprobs;
mod prepare;
mod whole;

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, SelectAll, Stream, StreamExt, TryStreamExt};

use crate::answer::Head;
use crate::caller::{Caller, ReadyModel, work};
use crate::engine::{Begun, Event, begin, events};
use crate::error::ApiError;
use crate::request::Parsed;
use crate::{body, sse};
use choice::Completion;
use fields::CompletionRequest;

/// News of the answer to the prompt that has this index.
struct Item {
    prompt: usize,
    news: News,
}

enum News {
    /// This model answers.
    Begun(ReadyModel),
    Event(Event),
}

/// Answers one prompt or many, whole or as a stream.
pub(crate) async fn complete(caller: Caller, body: Body) -> Result<Response, ApiError> {
    let body = body::read(body, &caller.app).await?;
    let bytes = body.len();
    let Parsed { request, ignored } = work(bytes, move || fields::TABLE.parse(&body)).await?;
    let request = Arc::new(request);
    let mut items = Box::pin(all(&request, &caller, bytes));
    // A refusal must have its own status: of whichever prompt has something to say first.
    let first = items.next().await.ok_or(ApiError::EngineLost)??;
    let News::Begun(model) = &first.news else { return Err(ApiError::EngineLost) };
    let head = Head::new("cmpl-", "text_completion", model);
    let items = stream::iter([Ok(first)]).chain(items);
    let completion = Completion::new(&request);
    let mut response = if request.generation.stream {
        let transcript = chunks::Stream::new(&head, completion, &request, &caller.record);
        sse::respond(items, transcript, Arc::clone(&caller.record))
    } else {
        Json(whole::collect(items, head, completion, &caller.record).await?).into_response()
    };
    ignored.name_in(&mut response);
    Ok(response)
}

/// The answers to all prompts, as their events come.
fn all(
    request: &Arc<CompletionRequest>,
    caller: &Caller,
    bytes: usize,
) -> impl Stream<Item = Result<Item, ApiError>> + Send + use<> {
    let answers = (0..request.prompts.len()).map(|index| {
        let answer = one(Arc::clone(request), caller.clone(), index, bytes);
        Box::pin(answer.map_ok(move |news| Item { prompt: index, news }))
    });
    answers.collect::<SelectAll<_>>()
}

fn one(
    request: Arc<CompletionRequest>,
    caller: Caller,
    index: usize,
    bytes: usize,
) -> impl Stream<Item = Result<News, ApiError>> + Send {
    let begun = async move {
        let shutdown = caller.app.shutdown.clone();
        let begun = begin(&shutdown, || {
            let (request, caller) = (Arc::clone(&request), caller.clone());
            work(bytes, move || prepare::send(&request, index, &caller))
        });
        let Begun { first, rest, prepared: model } = begun.await?;
        let record = Arc::clone(&caller.record);
        let events = events(first, rest, shutdown).inspect_ok(move |event| record.see(event));
        let events = events.map_ok(News::Event);
        Ok::<_, ApiError>(stream::iter([Ok(News::Begun(model))]).chain(events))
    };
    stream::once(begun).try_flatten()
}
