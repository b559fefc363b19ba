//! A chat's answer in one piece.

use std::pin::pin;

use futures_util::stream::{Stream, StreamExt};
use nabi_prompt::Part;
use nabi_wire::engine::{self, ScoredToken};
use serde::Serialize;

use super::choice::{Choice, Step};
use super::logprobs::Logprobs;
use super::tools;
use crate::answer::{Head, Usage};
use crate::engine::Event;
use crate::error::ApiError;
use crate::record::Record;

/// A whole answer.
#[derive(Debug, Serialize)]
pub(super) struct Completion {
    #[serde(flatten)]
    head: Head,
    choices: Vec<WholeChoice>,
    usage: Usage,
}

#[derive(Debug, Serialize)]
struct WholeChoice {
    index: usize,
    message: Message,
    logprobs: Option<Logprobs>,
    finish_reason: &'static str,
}

#[derive(Debug, Serialize)]
struct Message {
    role: &'static str,
    content: Option<String>,
    refusal: Option<()>,
    #[serde(skip_serializing_if = "String::is_empty")]
    reasoning_content: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall>,
}

#[derive(Debug, Serialize)]
struct ToolCall {
    id: String,
    r#type: &'static str,
    function: Function,
}

#[derive(Debug, Serialize)]
struct Function {
    name: String,
    arguments: String,
}

/// What has come of a choice.
#[derive(Debug, Default)]
struct Collected {
    reasoning: String,
    content: String,
    calls: Vec<ToolCall>,
    /// Calls that have ended: one that has not is left out.
    whole_calls: usize,
    logprobs: Option<Vec<ScoredToken>>,
    finish_reason: Option<&'static str>,
}

impl Collected {
    fn add(&mut self, step: Step) {
        for part in step.parts {
            match part {
                Part::Reasoning(text) => self.reasoning.push_str(&text),
                Part::Content(text) => self.content.push_str(&text),
                Part::CallBegin { name, .. } => {
                    self.calls.truncate(self.whole_calls);
                    let function = Function { name, arguments: String::new() };
                    self.calls.push(ToolCall { id: tools::call_id(), r#type: "function", function });
                }
                Part::CallArguments { json_fragment, .. } => {
                    if let Some(call) = self.calls.last_mut() {
                        call.function.arguments.push_str(&json_fragment);
                    }
                }
                Part::CallEnd { .. } => self.whole_calls = self.calls.len(),
            }
        }
        if let Some(mut logprobs) = step.logprobs {
            self.logprobs.get_or_insert_default().append(&mut logprobs);
        }
        self.finish_reason = step.finish_reason.or(self.finish_reason);
    }

    fn whole(mut self, index: usize) -> Result<WholeChoice, ApiError> {
        self.calls.truncate(self.whole_calls);
        let has_content = !self.content.is_empty() || self.calls.is_empty();
        let message = Message {
            role: "assistant",
            content: has_content.then_some(self.content),
            refusal: None,
            reasoning_content: self.reasoning,
            tool_calls: self.calls,
        };
        // An engine ends each choice before it ends the answer.
        let finish_reason = self.finish_reason.ok_or(ApiError::EngineLost)?;
        Ok(WholeChoice { index, message, logprobs: self.logprobs.map(Logprobs::from), finish_reason })
    }
}

/// What an answer took.
pub(super) fn usage(usage: engine::Usage, choices: &[Choice]) -> Usage {
    let reasoning = choices.iter().filter_map(Choice::reasoning_tokens);
    match reasoning.reduce(u32::saturating_add) {
        Some(tokens) => Usage::from(usage).with_reasoning(tokens),
        None => Usage::from(usage),
    }
}

/// Waits for a whole answer.
pub(super) async fn collect(
    events: impl Stream<Item = Result<Event, ApiError>>,
    head: Head,
    mut choices: Vec<Choice>,
    record: &Record,
) -> Result<Completion, ApiError> {
    let mut events = pin!(events);
    let mut collected: Vec<Collected> = choices.iter().map(|_| Collected::default()).collect();
    while let Some(event) = events.next().await {
        match event? {
            Event::Delta(delta) => {
                let index = delta.choice as usize;
                // An engine gives no choice that was not asked for.
                let choice = choices.get_mut(index).ok_or(ApiError::EngineLost)?;
                collected[index].add(choice.read(delta));
            }
            Event::Finished(took) => {
                // An answer ends once.
                let _ = record.usage.set(took);
                let whole = collected.into_iter().enumerate().map(|(index, choice)| choice.whole(index));
                let whole = whole.collect::<Result<_, _>>()?;
                return Ok(Completion { head, choices: whole, usage: usage(took, &choices) });
            }
            Event::Prompt(_) | Event::Embedded(..) | Event::Tokens(_) => {}
        }
    }
    Err(ApiError::EngineLost)
}
