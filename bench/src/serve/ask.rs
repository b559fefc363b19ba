//! One request, and when its answer came.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::prompt::Prompt;
use super::server::Server;
use crate::http::{Connection, Stream, Usage};

pub(super) const PATH: &str = "/v1/chat/completions";

/// An answer under way.
pub(super) struct Asked {
    stream: Stream,
    pub(super) sent: Instant,
    // An answer whose connection is dropped is ended by the server.
    _connection: Connection,
}

/// A whole answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) first: Instant,
    pub(crate) last: Instant,
    pub(super) usage: Usage,
    pub(super) sent: Instant,
}

impl Answer {
    pub(super) fn first_token(&self) -> Duration {
        self.first - self.sent
    }
}

impl Server {
    pub(super) fn body(
        model: &str,
        fields: &Map<String, Value>,
        system: &str,
        user: &str,
        tokens: usize,
    ) -> Result<Bytes> {
        let mut body = json!({
            "model": model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
            "max_tokens": tokens,
            "temperature": 0,
            "stream": true,
            "stream_options": {"include_usage": true},
        });
        for (name, value) in fields {
            body[name] = Value::clone(value);
        }
        Ok(serde_json::to_vec(&body).context("a request is JSON")?.into())
    }

    /// Sends a request on a connection of its own, which is opened before the clock runs.
    pub(super) async fn ask(&self, prompt: &Prompt, tokens: usize) -> Result<Asked> {
        let mut connection = self.target.connect().await?;
        let body = Self::body(&self.model, &self.fields, &prompt.system, &prompt.user, tokens)?;
        let sent = Instant::now();
        let stream = connection.stream(PATH, body).await?;
        Ok(Asked { stream, sent, _connection: connection })
    }

    /// A whole answer, of the wanted length where the server was told never to end early.
    pub(crate) async fn answer(&self, prompt: &Prompt, tokens: usize) -> Result<Answer> {
        let mut asked = self.ask(prompt, tokens).await?;
        let first = asked.next_text().await?.context("an answer without text")?;
        let (mut last, mut usage) = (first, None);
        while let Some(arrived) = asked.stream.next().await? {
            if arrived.event.has_text() {
                last = arrived.at;
            }
            usage = arrived.event.usage.or(usage);
        }
        let usage = usage.context("an answer without usage")?;
        prompt.check(usage.prompt_tokens)?;
        let all = usage.completion_tokens == tokens as u64;
        ensure!(all || self.fields.is_empty(), "{} tokens instead of {tokens}", usage.completion_tokens);
        Ok(Answer { first, last, usage, sent: asked.sent })
    }
}

impl Asked {
    /// When the next text came; none at the end.
    pub(super) async fn next_text(&mut self) -> Result<Option<Instant>> {
        while let Some(arrived) = self.stream.next().await? {
            if arrived.event.has_text() {
                return Ok(Some(arrived.at));
            }
        }
        Ok(None)
    }
}

/// As the server counts, template included.
pub(super) async fn prompt_tokens(server: &Server, prompt: &Prompt) -> Result<u64> {
    let mut asked = server.ask(prompt, 1).await?;
    let mut usage = None;
    while let Some(arrived) = asked.stream.next().await? {
        usage = arrived.event.usage.or(usage);
    }
    Ok(usage.context("an answer without usage")?.prompt_tokens)
}
