//! A chat's answer as a stream: for each choice its role, then each part as it comes, then its end.

use std::sync::Arc;

use bytes::BytesMut;
use nabi_prompt::Part;
use serde::Serialize;

use super::choice::{Choice, Step};
use super::logprobs::Logprobs;
use super::tools;
use crate::answer::Head;
use crate::engine::Event;
use crate::error::ApiError;
use crate::record::Record;
use crate::sse::{Chunks, Then, Transcript};

/// Writes the events of one answer.
pub(super) struct Stream {
    chunks: Chunks,
    choices: Vec<Choice>,
    has_begun: bool,
    record: Arc<Record>,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: usize,
    delta: Delta<'a>,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'a str>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallDelta<'a>; 1]>,
}

#[derive(Serialize)]
struct CallDelta<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'a str>,
    function: FunctionDelta<'a>,
}

#[derive(Serialize)]
struct FunctionDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

impl Stream {
    pub(super) fn new(head: &Head, choices: Vec<Choice>, include_usage: bool, record: &Arc<Record>) -> Self {
        let chunks = Chunks::new(head, include_usage);
        Self { chunks, choices, has_begun: false, record: Arc::clone(record) }
    }

    fn roles(&self, events: &mut BytesMut) {
        for index in 0..self.choices.len() {
            let delta = Delta { role: Some("assistant"), content: Some(""), ..Delta::default() };
            let choice = ChunkChoice { index, delta, logprobs: None, finish_reason: None };
            self.chunks.choice(events, &choice);
        }
    }

    fn step(&self, index: usize, step: Step, events: &mut BytesMut) {
        let mut logprobs = step.logprobs.filter(|tokens| !tokens.is_empty()).map(Logprobs::from);
        for part in &step.parts {
            let Some(delta) = delta(part) else { continue };
            let choice = ChunkChoice { index, delta, logprobs: logprobs.take(), finish_reason: None };
            self.chunks.choice(events, &choice);
        }
        if step.finish_reason.is_some() {
            let delta = Delta::default();
            let choice = ChunkChoice { index, delta, logprobs, finish_reason: step.finish_reason };
            self.chunks.choice(events, &choice);
        }
    }
}

/// What clients see of a part; of a call's end nothing.
fn delta(part: &Part) -> Option<Delta<'_>> {
    let call = |index, id, r#type, name, arguments| Delta {
        tool_calls: Some([CallDelta { index, id, r#type, function: FunctionDelta { name, arguments } }]),
        ..Delta::default()
    };
    match part {
        Part::Reasoning(text) => Some(Delta { reasoning_content: Some(text), ..Delta::default() }),
        Part::Content(text) => Some(Delta { content: Some(text), ..Delta::default() }),
        Part::CallBegin { index, name } => {
            Some(call(*index, Some(tools::call_id()), Some("function"), Some(name.as_str()), ""))
        }
        Part::CallArguments { index, json_fragment } => Some(call(*index, None, None, None, json_fragment)),
        Part::CallEnd { .. } => None,
    }
}

impl Transcript<Event> for Stream {
    fn write(&mut self, event: Event, events: &mut BytesMut) -> Result<Then, ApiError> {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.roles(events);
        }
        match event {
            Event::Delta(delta) => {
                let index = delta.choice as usize;
                // An engine gives no choice that was not asked for.
                let choice = self.choices.get_mut(index).ok_or(ApiError::EngineLost)?;
                let step = choice.read(delta);
                self.step(index, step, events);
                Ok(Then::More)
            }
            Event::Finished(usage) => {
                // An answer ends once.
                let _ = self.record.usage.set(usage);
                self.chunks.usage(events, &super::whole::usage(usage, &self.choices));
                Ok(Then::Done)
            }
            Event::Prompt(_) | Event::Embedded(..) | Event::Tokens(_) => Ok(Then::More),
        }
    }
}
