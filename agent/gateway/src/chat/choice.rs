//! One choice of an answer, as it comes: what the model says becomes reasoning, content and calls.

use std::sync::Arc;

use nabi_domain::Piece;
use nabi_prompt::{AnswerFormat, AnswerOptions, AnswerParser, Ending, Part, PromptTail};
use nabi_wire::engine::{Delta, FinishReason, ScoredToken};

use super::prepare::Prepared;
use crate::answer;
use crate::engine::Session;

/// What a delta adds to its choice.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) parts: Vec<Part>,
    /// The tokens of these parts and of what came before without being shown; where asked for.
    pub(super) logprobs: Option<Vec<ScoredToken>>,
    /// Why the choice ends, if it does.
    pub(super) finish_reason: Option<&'static str>,
}

/// Reads one choice.
#[derive(Debug)]
pub(super) struct Choice {
    session: Arc<Session>,
    /// Absent where the model marks nothing that could be meant here: all is content.
    parser: Option<Box<AnswerParser>>,
    is_parallel: bool,
    has_logprobs: bool,
    held_logprobs: Vec<ScoredToken>,
    /// Whether the model marks its reasoning.
    has_reasoning: bool,
    /// Whether what comes now is reasoning, and how many tokens were.
    is_reasoning: bool,
    reasoning_tokens: u32,
    whole_calls: u32,
}

impl Choice {
    pub(super) fn new(prepared: &Prepared) -> Self {
        let format = prepared
            .answer_format
            .as_ref()
            .filter(|format| format.has_reasoning() || (prepared.has_tools && format.has_calls()));
        let options = AnswerOptions { prompt_tail: prepared.prompt_tail, has_tools: prepared.has_tools };
        Self {
            session: Arc::clone(&prepared.model.session),
            parser: format.map(|format| Box::new(AnswerParser::new(format, options))),
            is_parallel: prepared.is_parallel,
            has_logprobs: prepared.has_logprobs,
            held_logprobs: Vec::new(),
            has_reasoning: format.is_some_and(AnswerFormat::has_reasoning),
            is_reasoning: prepared.prompt_tail == PromptTail::InReasoning,
            reasoning_tokens: 0,
            whole_calls: 0,
        }
    }

    /// Tokens that were reasoning so far; none where the model marks no reasoning.
    pub(super) fn reasoning_tokens(&self) -> Option<u32> {
        self.has_reasoning.then_some(self.reasoning_tokens)
    }

    /// Reads on.
    pub(super) fn read(&mut self, mut delta: Delta) -> Step {
        // OpenAI's chats tell tokens of the content; a control token is none.
        let is_content = |token: &ScoredToken| !self.session.model.is_control(token.text.token);
        self.held_logprobs.extend(std::mem::take(&mut delta.logprobs).into_iter().filter(is_content));
        let tokens = u32::try_from(delta.token_ids.len()).unwrap_or(u32::MAX);
        let mut parts = self.parts(delta.pieces);
        self.count_reasoning(&parts, tokens);
        let finish_reason = delta.end.map(|end| self.end(end, &mut parts));
        self.whole_calls +=
            parts.iter().map(|part| u32::from(matches!(part, Part::CallEnd { .. }))).sum::<u32>();
        let finish_reason = match finish_reason {
            Some("stop") if self.whole_calls > 0 => Some("tool_calls"),
            reason => reason,
        };
        let is_shown = !parts.is_empty() || finish_reason.is_some();
        let logprobs = (self.has_logprobs && is_shown).then(|| std::mem::take(&mut self.held_logprobs));
        Step { parts, logprobs, finish_reason }
    }

    fn parts(&mut self, pieces: Vec<Piece>) -> Vec<Part> {
        let Some(parser) = &mut self.parser else {
            let texts = pieces.into_iter().map(|piece| match piece {
                Piece::Text(text) => text,
                token => self.session.model.text(&token).to_owned(),
            });
            return texts.filter(|text| !text.is_empty()).map(Part::Content).collect();
        };
        let mut parts = parser.push(&pieces);
        self.leave_out_further_calls(&mut parts);
        parts
    }

    fn leave_out_further_calls(&self, parts: &mut Vec<Part>) {
        if !self.is_parallel {
            parts.retain(|part| match part {
                Part::CallBegin { index, .. }
                | Part::CallArguments { index, .. }
                | Part::CallEnd { index } => *index == 0,
                Part::Reasoning(_) | Part::Content(_) => true,
            });
        }
    }

    fn count_reasoning(&mut self, parts: &[Part], tokens: u32) {
        let is_reasoning = |part: &Part| matches!(part, Part::Reasoning(_));
        let is_counted = if parts.is_empty() { self.is_reasoning } else { parts.iter().any(is_reasoning) };
        if is_counted {
            self.reasoning_tokens = self.reasoning_tokens.saturating_add(tokens);
        }
        self.is_reasoning = parts.last().map_or(self.is_reasoning, is_reasoning);
    }

    /// Ends the choice, with what was held back until now.
    fn end(&mut self, end: FinishReason, parts: &mut Vec<Part>) -> &'static str {
        let reason = answer::finish_reason(end);
        if let Some(parser) = self.parser.take() {
            let ending = if end == FinishReason::Stop { Ending::Stopped } else { Ending::Cut };
            let mut finish = parser.finish(ending);
            self.leave_out_further_calls(&mut finish.parts);
            parts.append(&mut finish.parts);
            if let Some(fault) = finish.fault {
                tracing::info!(reason, "an answer's markup is not whole: {fault}");
            }
        }
        reason
    }
}
