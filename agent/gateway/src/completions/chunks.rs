//! Completions as a stream.

use std::sync::Arc;

use bytes::BytesMut;
use serde::Serialize;
use serde_json::Value;

use super::Item;
use super::choice::{Completion, Step};
use super::fields::CompletionRequest;
use super::logprobs::Logprobs;
use crate::answer::{Head, Usage};
use crate::error::ApiError;
use crate::record::Record;
use crate::sse::{Chunks, Then, Transcript};

/// Writes the events of all answers.
pub(super) struct Stream {
    chunks: Chunks,
    completion: Completion,
    record: Arc<Record>,
}

#[derive(Serialize)]
struct ChunkChoice {
    index: usize,
    text: String,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_logprobs: Option<Value>,
}

impl Stream {
    pub(super) fn new(
        head: &Head,
        completion: Completion,
        request: &CompletionRequest,
        record: &Arc<Record>,
    ) -> Self {
        let chunks = Chunks::new(head, request.generation.include_usage);
        Self { chunks, completion, record: Arc::clone(record) }
    }
}

impl Transcript<Item> for Stream {
    fn write(&mut self, item: Item, events: &mut BytesMut) -> Result<Then, ApiError> {
        let step = self.completion.read(item)?;
        let is_shown = |step: &Step| {
            !step.text.is_empty()
                || step.logprobs.is_some()
                || step.prompt_logprobs.is_some()
                || step.finish_reason.is_some()
        };
        if let Some(step) = step.filter(is_shown) {
            let Step { index, text, logprobs, prompt_logprobs, finish_reason } = step;
            self.chunks
                .choice(events, &ChunkChoice { index, text, logprobs, finish_reason, prompt_logprobs });
        }
        let Some(usage) = self.completion.usage() else { return Ok(Then::More) };
        // An answer ends once.
        let _ = self.record.usage.set(usage);
        self.chunks.usage(events, &Usage::from(usage));
        Ok(Then::Done)
    }
}
