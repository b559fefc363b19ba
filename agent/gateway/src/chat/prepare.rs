//! From a chat request to what the engine is asked.

use std::sync::Arc;

use nabi_domain::Piece;
use nabi_prompt::{AnswerFormat, Chat, PromptTail, Template};
use nabi_wire::engine::{CREDIT_UNBOUNDED, Generate};

use super::fields::ChatRequest;
use super::form;
use crate::answer::STREAM_CREDIT_TOKENS;
use crate::caller::{Caller, ReadyModel, Wanted};
use crate::engine::{Answer, Origin};
use crate::error::{ApiError, Code, FieldError};
use crate::request::prompts;

/// What is needed to read the answer.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) model: ReadyModel,
    pub(super) answer_format: Option<AnswerFormat>,
    pub(super) prompt_tail: PromptTail,
    /// Whether the model may call tools, and several at once.
    pub(super) has_tools: bool,
    pub(super) is_parallel: bool,
    pub(super) has_logprobs: bool,
}

/// Makes the prompt and sends it, by the configuration as it is now.
pub(super) fn send(request: &ChatRequest, caller: &Caller) -> Result<(Prepared, Answer), ApiError> {
    let model = caller.model(&request.generation.model, Wanted::Text)?;
    let session = Arc::clone(&model.session);
    let template = session.model.template.as_ref().ok_or_else(|| ApiError::NoTemplate(model.name.clone()))?;
    let pieces = render(request, template)?;
    let format = template.answer_format();
    let prompt_tail = format.prompt_tail(&pieces);
    let form = form::form(request, format, prompt_tail)?;
    let biases = request.generation.sampling.logit_bias.iter().map(|(token, _)| *token);
    prompts::check_tokens("logit_bias", biases, &session.model.card)?;

    let prepared = Prepared {
        answer_format: Some(format.clone()),
        prompt_tail,
        has_tools: request.offered_tools().is_some(),
        is_parallel: request.is_parallel,
        has_logprobs: request.has_logprobs,
        model,
    };
    let mut generate = Generate::new(0, pieces);
    request.generation.apply(&mut generate);
    (generate.share, generate.salt) = (caller.share, caller.salt);
    generate.logprobs = request.has_logprobs.then(|| request.top_logprobs.unwrap_or(0));
    generate.credit_tokens = if request.generation.stream { STREAM_CREDIT_TOKENS } else { CREDIT_UNBOUNDED };
    let origin = Origin { prompt: "messages", grammar: form.as_ref().map(|(_, field)| *field) };
    generate.grammar = form.map(|(grammar, _)| grammar);
    let answer = session.generate(generate, origin)?;
    Ok((prepared, answer))
}

fn render(request: &ChatRequest, template: &Template) -> Result<Vec<Piece>, ApiError> {
    if request.offered_tools().is_some() && !(template.takes_tools() && template.answer_format().has_calls())
    {
        return Err(no_tools());
    }
    if request.chat.tools.is_some() && request.offered_tools().is_none() {
        // What must not be called is not shown.
        let chat = Chat { tools: None, ..request.chat.clone() };
        return template.render(&chat).map_err(ApiError::Prompt);
    }
    template.render(&request.chat).map_err(ApiError::Prompt)
}

fn no_tools() -> ApiError {
    ApiError::Field(FieldError {
        param: "tools".into(),
        code: Code::UnsupportedParameter,
        message: "'tools' is not supported by this model: its chat template has no known form for them"
            .into(),
    })
}
