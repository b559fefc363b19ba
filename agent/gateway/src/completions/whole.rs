//! Completions in one piece.

use std::pin::pin;

use futures_util::stream::{Stream, StreamExt};
use serde::Serialize;
use serde_json::Value;

use super::Item;
use super::choice;
use super::logprobs::Logprobs;
use crate::answer::{Head, Usage};
use crate::error::ApiError;
use crate::record::Record;

/// All answers.
#[derive(Debug, Serialize)]
pub(super) struct Whole {
    #[serde(flatten)]
    head: Head,
    choices: Vec<Choice>,
    usage: Usage,
}

#[derive(Debug, Default, Serialize)]
struct Choice {
    index: usize,
    text: String,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_logprobs: Option<Value>,
}

/// Waits until all have ended.
pub(super) async fn collect(
    items: impl Stream<Item = Result<Item, ApiError>>,
    head: Head,
    mut completion: choice::Completion,
    record: &Record,
) -> Result<Whole, ApiError> {
    let mut items = pin!(items);
    let choice = |index| Choice { index, ..Choice::default() };
    let mut choices: Vec<_> = (0..completion.choices()).map(choice).collect();
    while let Some(item) = items.next().await {
        if let Some(step) = completion.read(item?)? {
            let choice = &mut choices[step.index];
            choice.text.push_str(&step.text);
            if let Some(logprobs) = step.logprobs {
                choice.logprobs.get_or_insert_default().append(logprobs);
            }
            choice.prompt_logprobs = step.prompt_logprobs.or(choice.prompt_logprobs.take());
            choice.finish_reason = step.finish_reason.or(choice.finish_reason);
        }
        if let Some(usage) = completion.usage() {
            // An answer ends once.
            let _ = record.usage.set(usage);
            return Ok(Whole { head, choices, usage: usage.into() });
        }
    }
    Err(ApiError::EngineLost)
}
