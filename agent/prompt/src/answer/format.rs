//! The markup of one model's answers.

use std::sync::Arc;

use nabi_domain::{AddedToken, Piece};

use super::marker::{Alphabet, Marker};
use super::markup::{CallMarkup, ReasoningMarkup};
use crate::pieces::Literals;

/// How a model writes reasoning and tool calls: found once, with its template. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AnswerFormat {
    alphabet: Arc<Alphabet>,
    reasoning: Option<ReasoningMarkup>,
    calls: Option<CallMarkup>,
}

/// How a prompt ends: where its answer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptTail {
    /// Within reasoning: the template opened it.
    InReasoning,
    /// After reasoning: the template opened and closed it, or closed it at once.
    AfterReasoning,
    /// With neither; the model may open reasoning by itself.
    Plain,
}

impl AnswerFormat {
    pub(crate) fn found(jinja: &str, tokens: &[AddedToken], literals: &Literals) -> Self {
        let mut alphabet = Alphabet::new(tokens);
        let reasoning = ReasoningMarkup::found(jinja, tokens, &mut alphabet, literals);
        let calls = CallMarkup::found(jinja, &mut alphabet, literals);
        Self { alphabet: Arc::new(alphabet), reasoning, calls }
    }

    /// Whether the model marks its reasoning in a known way.
    pub fn has_reasoning(&self) -> bool {
        self.reasoning.is_some()
    }

    /// Whether the model writes tool calls in a known way. Offer tools to no other.
    pub fn has_calls(&self) -> bool {
        self.calls.is_some()
    }

    /// How a prompt of the same template ends.
    pub fn prompt_tail(&self, prompt: &[Piece]) -> PromptTail {
        let Some(markup) = &self.reasoning else { return PromptTail::Plain };
        let is_readable = |piece: &&Piece| match piece {
            Piece::Text(_) => true,
            Piece::Token(id) => self.alphabet.is_marker(*id),
        };
        let count = prompt.iter().rev().take_while(is_readable).count();
        let mut bytes = Vec::new();
        for piece in &prompt[prompt.len() - count..] {
            self.alphabet.write(piece, &mut bytes);
        }
        let ends_with = |marker: &Marker| bytes.trim_ascii_end().ends_with(marker.bytes());
        match () {
            () if ends_with(&markup.open) => PromptTail::InReasoning,
            () if ends_with(&markup.close) => PromptTail::AfterReasoning,
            () => PromptTail::Plain,
        }
    }

    pub(crate) fn alphabet(&self) -> &Alphabet {
        &self.alphabet
    }

    pub(crate) fn reasoning(&self) -> Option<&ReasoningMarkup> {
        self.reasoning.as_ref()
    }

    pub(crate) fn calls(&self) -> Option<&CallMarkup> {
        self.calls.as_ref()
    }
}
