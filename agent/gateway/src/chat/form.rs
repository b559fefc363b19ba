//! What an answer's form must be: as the caller asked for it, or as the calls that it asked for are
//! written by the model.

use nabi_prompt::{AnswerForm, AnswerFormat, CallRules, GrammarError, PromptTail};
use nabi_wire::engine::Grammar;
use serde_json::{Value, json};

use super::fields::ChatRequest;
use super::tools::ToolChoice;
use crate::error::{Code, FieldError};

/// A grammar, and the field that asked for it.
pub(super) type Form = Option<(Grammar, &'static str)>;

/// The form of the answer to a prompt that ends like this.
pub(super) fn form(
    request: &ChatRequest,
    format: &AnswerFormat,
    tail: PromptTail,
) -> Result<Form, FieldError> {
    let asked = request.generation.grammar.as_ref();
    let tools = request.offered_tools();
    match (asked, tools) {
        (None, None) => Ok(None),
        (Some((grammar, field)), None) => Ok(Some((after_reasoning(grammar, field, format, tail)?, field))),
        (Some((_, field)), Some(_)) => {
            Err(FieldError::invalid(field, "cannot be combined with tools, unless tool_choice is none"))
        }
        (None, Some(tools)) => {
            let choice = match &request.tool_choice {
                Some(ToolChoice::Required) => nabi_prompt::ToolChoice::Required,
                Some(ToolChoice::Named(name)) => nabi_prompt::ToolChoice::Function(name),
                Some(ToolChoice::Auto | ToolChoice::None) | None => nabi_prompt::ToolChoice::Auto,
            };
            let rules = CallRules { tools, choice, parallel: request.is_parallel, prompt_tail: tail };
            let lark = format.call_grammar(&rules).map_err(|error| refused(&error))?;
            Ok(lark.map(|lark| (Grammar::Lark(lark), "tools")))
        }
    }
}

fn refused(error: &GrammarError) -> FieldError {
    let code = match error {
        GrammarError::NoCalls => Code::UnsupportedParameter,
        _ => Code::InvalidGrammar,
    };
    FieldError { param: "tools".into(), code, message: error.to_string() }
}

/// The grammar of the whole answer: reasoning is free, and what follows it has the form.
fn after_reasoning(
    grammar: &Grammar,
    field: &str,
    format: &AnswerFormat,
    tail: PromptTail,
) -> Result<Grammar, FieldError> {
    if !format.has_reasoning() || tail == PromptTail::AfterReasoning {
        return Ok(grammar.clone());
    }
    let lark = match grammar {
        Grammar::JsonObject => format.form_grammar(AnswerForm::Json(&json!({"type": "object"})), tail),
        Grammar::JsonSchema(text) => {
            let schema: Value = serde_json::from_str(text)
                .map_err(|error| FieldError::invalid(field, format_args!("is not valid JSON: {error}")))?;
            format.form_grammar(AnswerForm::Json(&schema), tail)
        }
        Grammar::Regex(regex) => format.form_grammar(AnswerForm::Regex(regex), tail),
        Grammar::Lark(lark) => format.form_grammar(AnswerForm::Lark(lark), tail),
    };
    Ok(Grammar::Lark(lark))
}
