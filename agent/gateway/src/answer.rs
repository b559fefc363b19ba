//! What chats and completions say alike of their answers.

use jiff::Timestamp;
use nabi_domain::ModelName;
use nabi_wire::engine::{self, FinishReason};
use serde::Serialize;

use crate::caller::ReadyModel;
use crate::random;

/// Tokens that an engine may send ahead of what a client has taken of its stream.
pub(crate) const STREAM_CREDIT_TOKENS: u32 = 256;

/// What all parts of an answer say of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Head {
    id: String,
    object: &'static str,
    created: i64,
    model: ModelName,
    system_fingerprint: String,
}

impl Head {
    pub(crate) fn new(id_prefix: &str, object: &'static str, model: &ReadyModel) -> Self {
        Self {
            id: format!("{id_prefix}{}", random::hex()),
            object,
            created: Timestamp::now().as_second(),
            model: model.name.clone(),
            system_fingerprint: model.session.model.fingerprint.clone(),
        }
    }
}

/// What an answer took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Usage {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u64,
    prompt_tokens_details: PromptTokens,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<CompletionTokens>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct PromptTokens {
    cached_tokens: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct CompletionTokens {
    reasoning_tokens: u32,
}

impl From<engine::Usage> for Usage {
    fn from(usage: engine::Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: u64::from(usage.prompt_tokens) + u64::from(usage.completion_tokens),
            prompt_tokens_details: PromptTokens { cached_tokens: usage.cached_tokens },
            completion_tokens_details: None,
        }
    }
}

impl Usage {
    /// Says how many of the tokens were reasoning.
    pub(crate) fn with_reasoning(mut self, reasoning_tokens: u32) -> Self {
        self.completion_tokens_details = Some(CompletionTokens { reasoning_tokens });
        self
    }
}

/// Adds what one more prompt took.
pub(crate) fn add(sum: &mut engine::Usage, usage: engine::Usage) {
    sum.prompt_tokens = sum.prompt_tokens.saturating_add(usage.prompt_tokens);
    sum.cached_tokens = sum.cached_tokens.saturating_add(usage.cached_tokens);
    sum.completion_tokens = sum.completion_tokens.saturating_add(usage.completion_tokens);
}

/// OpenAI's word for why a choice ended. Ends that are failures are errors of the whole answer.
pub(crate) fn finish_reason(end: FinishReason) -> &'static str {
    if end == FinishReason::Length { "length" } else { "stop" }
}
