//! How a request ended.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use ureq::http::Response;
use ureq::{Body, BodyReader};

use crate::request::{Kind, Request};

/// A slow reader's pause after each event.
const SLOW_MS: u64 = 100;

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// With what was asked for.
    Complete,
    /// With an error in place of an answer, or at the end of a stream; its code.
    Error(String),
    /// By its user, in the middle.
    GivenUp,
    /// Without an end: the connection broke. Only a killed gateway excuses this.
    Broken(String),
    /// With what must not come.
    Wrong(String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Reads the answer; a user who gives up leaves after `events_max` events.
pub(crate) fn read(request: &Request, response: Response<Body>, events_max: u64) -> End {
    let is_good = response.status() == 200;
    let ended = if is_good && request.is_stream {
        stream(request, BufReader::new(response.into_body().into_reader()), events_max)
    } else {
        whole(request, response)
    };
    ended.unwrap_or_else(|end| end)
}

fn whole(request: &Request, mut response: Response<Body>) -> Result<End, End> {
    let status = response.status().as_u16();
    let text = response.body_mut().read_to_string().map_err(|error| End::Broken(error.to_string()))?;
    let body: Value = serde_json::from_str(&text).map_err(|_| wrong(status, &text))?;
    if status != 200 {
        return error_code(&body).map(End::Error).ok_or_else(|| wrong(status, &text));
    }
    let items = match request.kind {
        Kind::Tokenize => {
            return if body["tokens"].is_array() { Ok(End::Complete) } else { Err(wrong(status, &text)) };
        }
        Kind::Embeddings => &body["data"],
        _ => &body["choices"],
    };
    let items = items
        .as_array()
        .filter(|items| items.len() == request.choices)
        .ok_or_else(|| wrong(status, &text))?;
    let is_whole = |item: &Value| match request.kind {
        Kind::Embeddings => item["embedding"].is_array(),
        Kind::Schema => is_by_schema(item),
        _ => item["finish_reason"].is_string(),
    };
    if items.iter().all(is_whole) { Ok(End::Complete) } else { Err(wrong(status, &text)) }
}

/// JSON by the schema, unless the tokens did not suffice.
fn is_by_schema(choice: &Value) -> bool {
    let content = choice["message"]["content"].as_str().unwrap_or_default();
    let answer: Value = serde_json::from_str(content).unwrap_or_default();
    choice["finish_reason"] == "length" || (answer["yes"].is_boolean() && answer["kind"].is_string())
}

fn wrong(status: u16, text: &str) -> End {
    End::Wrong(format!("{status} {}", text.chars().take(400).collect::<String>()))
}

/// Of an error in OpenAI's form.
fn error_code(body: &Value) -> Option<String> {
    let error = body["error"].as_object()?;
    let is_text = |name: &str| error.get(name).is_some_and(Value::is_string);
    let code = error.get("code")?.as_str()?;
    (is_text("message") && is_text("type")).then(|| code.to_owned())
}

fn stream(request: &Request, body: BufReader<BodyReader<'_>>, events_max: u64) -> Result<End, End> {
    let (mut finished, mut error, mut events) = (BTreeSet::new(), None, 0);
    for line in body.lines() {
        let line = line?;
        if line.is_empty() {
            continue;
        }
        let event = line.strip_prefix("data: ").ok_or_else(|| wrong(200, &line))?;
        if event == "[DONE]" {
            return done(request, &finished, error);
        }
        let event: Value = serde_json::from_str(event).map_err(|_| wrong(200, event))?;
        error = error.or(error_code(&event));
        for choice in event["choices"].as_array().into_iter().flatten() {
            if choice["finish_reason"].is_string() {
                finished.insert(choice["index"].as_u64());
            }
        }
        events += 1;
        if request.kind == Kind::GivenUp && events >= events_max {
            return Ok(End::GivenUp);
        }
        if request.kind == Kind::Slow {
            thread::sleep(Duration::from_millis(SLOW_MS));
        }
    }
    Err(End::Broken(format!("the stream ended after {events} events, without [DONE]")))
}

fn done(request: &Request, finished: &BTreeSet<Option<u64>>, error: Option<String>) -> Result<End, End> {
    match error {
        Some(code) => Ok(End::Error(code)),
        None if finished.len() == request.choices => Ok(End::Complete),
        None => Err(End::Wrong(format!("[DONE], but only {finished:?} of {} choices", request.choices))),
    }
}
