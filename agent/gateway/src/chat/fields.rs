//! The fields of a chat request.

use nabi_prompt::Chat;
use nabi_wire::engine::TOP_LOGPROBS_MAX;
use serde_json::{Map, Value};

use super::messages;
use super::tools::{self, TOOL_CHOICE_SCHEMA, TOOLS_SCHEMA, ToolChoice};
use crate::error::FieldError;
use crate::request::generation::{Generation, natural};
use crate::request::place::Place;
use crate::request::{Field, Table, honoured, ignored, neutral, only_false, only_true, refused};

/// What a caller asks for.
#[derive(Debug)]
pub(crate) struct ChatRequest {
    pub(crate) generation: Generation,
    /// Messages and tools in the form that templates take, and variables for the template.
    pub(crate) chat: Chat,
    pub(crate) has_logprobs: bool,
    pub(crate) top_logprobs: Option<u8>,
    pub(crate) tool_choice: Option<ToolChoice>,
    reasoning_effort: Option<String>,
    /// Whether the model is to reason, where the caller says so.
    thinks: Option<bool>,
    /// Whether one answer may call several tools.
    pub(crate) is_parallel: bool,
}

impl Default for ChatRequest {
    fn default() -> Self {
        Self {
            generation: Generation::default(),
            chat: Chat { add_generation_prompt: true, ..Chat::default() },
            has_logprobs: false,
            top_logprobs: None,
            tool_choice: None,
            reasoning_effort: None,
            thinks: None,
            is_parallel: true,
        }
    }
}

impl ChatRequest {
    /// The tools that the model may call, if there are any.
    pub(crate) fn offered_tools(&self) -> Option<&Value> {
        self.chat.tools.as_ref().filter(|_| self.tool_choice != Some(ToolChoice::None))
    }
}

/// All fields of a chat request.
pub(crate) const TABLE: Table<ChatRequest> = Table {
    own: FIELDS,
    generation: Some(|request| &mut request.generation),
    required: &["model", "messages"],
    one_of_required: &[],
    finish,
};

const FIELDS: &[Field<ChatRequest>] = &[
    honoured("messages", messages::MESSAGES_SCHEMA, |request, place| {
        request.chat.messages = messages::read_all(&place)?;
        Ok(())
    }),
    honoured(
        "max_completion_tokens",
        r#"{"type": "integer", "minimum": 1, "maximum": 4294967295}"#,
        tokens_max,
    ),
    honoured("max_tokens", r#"{"type": "integer", "minimum": 1, "maximum": 4294967295}"#, tokens_max),
    honoured("logprobs", r#"{"type": "boolean"}"#, |request, place| {
        request.has_logprobs = place.boolean()?;
        Ok(())
    }),
    honoured("top_logprobs", r#"{"type": "integer", "minimum": 0, "maximum": 20}"#, |request, place| {
        request.top_logprobs = Some(natural(&place, 0, u32::from(TOP_LOGPROBS_MAX))? as u8);
        Ok(())
    }),
    honoured("tools", TOOLS_SCHEMA, |request, place| {
        let tools = tools::read(&place)?;
        request.chat.tools = (!tools.is_empty()).then_some(Value::Array(tools));
        Ok(())
    }),
    honoured("tool_choice", TOOL_CHOICE_SCHEMA, |request, place| {
        request.tool_choice = Some(tools::choice(&place)?);
        Ok(())
    }),
    honoured("parallel_tool_calls", r#"{"type": "boolean"}"#, |request, place| {
        request.is_parallel = place.boolean()?;
        Ok(())
    }),
    honoured(
        "reasoning_effort",
        r#"{"enum": ["none", "minimal", "low", "medium", "high", "xhigh", "max"]}"#,
        reasoning_effort,
    ),
    honoured(
        "thinking",
        r#"{"anyOf": [{"type": "boolean"}, {"type": "object", "properties": {"type": {"enum": ["enabled", "disabled"]}}, "required": ["type"], "additionalProperties": false}]}"#,
        thinking,
    ),
    honoured("enable_thinking", r#"{"type": "boolean"}"#, |request, place| {
        request.thinks = Some(place.boolean()?);
        Ok(())
    }),
    honoured("chat_template_kwargs", r#"{"type": "object"}"#, |request, place| {
        request.chat.variables = variables(&place)?;
        Ok(())
    }),
    ignored("metadata"),
    ignored("safety_identifier"),
    ignored("prompt_cache_key"),
    ignored("prompt_cache_retention"),
    only_false("store"),
    only_false("echo"),
    only_false("add_special_tokens"),
    only_false("continue_final_message"),
    only_true("add_generation_prompt"),
    only_true("include_reasoning"),
    neutral("best_of", r#"{"const": 1}"#, |value| value == 1, "send 1"),
    neutral(
        "modalities",
        r#"{"const": ["text"]}"#,
        |value| *value == serde_json::json!(["text"]),
        "send [\"text\"]",
    ),
    neutral("verbosity", r#"{"const": "medium"}"#, |value| value == "medium", "send medium"),
    neutral("functions", r#"{"const": []}"#, is_empty_list, "send tools instead"),
    neutral(
        "function_call",
        r#"{"enum": ["none", "auto"]}"#,
        |value| value == "none" || value == "auto",
        "send tool_choice instead",
    ),
    refused("audio"),
    refused("prediction"),
    refused("web_search_options"),
    refused("prompt_logprobs"),
    refused("chat_template"),
    refused("documents"),
    refused("mm_processor_kwargs"),
];

fn is_empty_list(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

/// `max_tokens` is the older name; who sends both gets the smaller.
fn tokens_max(request: &mut ChatRequest, place: Place<'_>) -> Result<(), FieldError> {
    let tokens = natural(&place, 1, u32::MAX)?;
    let before = &mut request.generation.tokens_max;
    *before = Some(before.map_or(tokens, |other| other.min(tokens)));
    Ok(())
}

fn reasoning_effort(request: &mut ChatRequest, place: Place<'_>) -> Result<(), FieldError> {
    let effort = place.string()?;
    if !matches!(effort, "none" | "minimal" | "low" | "medium" | "high" | "xhigh" | "max") {
        return Err(place.invalid("must be one of none, minimal, low, medium, high, xhigh, max"));
    }
    request.reasoning_effort = Some(effort.to_owned());
    Ok(())
}

/// DeepSeek's: `{"type": "enabled"}`.
fn thinking(request: &mut ChatRequest, place: Place<'_>) -> Result<(), FieldError> {
    request.thinks = Some(match place.value {
        Value::Bool(thinks) => *thinks,
        _ => {
            let kind = place.required("type")?;
            for (name, other) in place.fields()? {
                if name != "type" {
                    return Err(other.unknown());
                }
            }
            match kind.string()? {
                "enabled" => true,
                "disabled" => false,
                _ => return Err(kind.invalid("must be enabled or disabled")),
            }
        }
    });
    Ok(())
}

/// Variables for the template.
pub(crate) fn variables(place: &Place<'_>) -> Result<Map<String, Value>, FieldError> {
    let mut variables = Map::new();
    for (name, value) in place.fields()? {
        if matches!(name, "messages" | "tools" | "add_generation_prompt" | "chat_template" | "documents") {
            return Err(value.unsupported("it has a field of its own"));
        }
        variables.insert(name.to_owned(), value.value.clone());
    }
    Ok(variables)
}

/// Templates know what is asked for by one of several names. Variables that the caller named
/// itself stay as they are.
fn set_variables(request: &mut ChatRequest) {
    let variables = &mut request.chat.variables;
    let thinks = request.thinks.or(request.reasoning_effort.as_ref().map(|effort| effort != "none"));
    if let Some(thinks) = thinks {
        variables.entry("enable_thinking").or_insert(thinks.into());
        variables.entry("thinking").or_insert(thinks.into());
    }
    if let Some(effort) = request.reasoning_effort.take() {
        variables.entry("reasoning_effort").or_insert(effort.into());
    }
}

fn finish(request: &mut ChatRequest) -> Result<(), FieldError> {
    set_variables(request);
    request.generation.check()?;
    if request.top_logprobs.is_some_and(|top| top > 0) && !request.has_logprobs {
        return Err(FieldError::invalid("top_logprobs", "is allowed only when logprobs is true"));
    }
    let has_tool = |name: &str| {
        let tools = request.chat.tools.as_ref().and_then(Value::as_array);
        tools.is_some_and(|tools| tools.iter().any(|tool| tool["function"]["name"] == name))
    };
    match &request.tool_choice {
        Some(ToolChoice::Required) if request.chat.tools.is_none() => {
            Err(FieldError::invalid("tool_choice", "is required, but there are no tools"))
        }
        Some(ToolChoice::Named(name)) if !has_tool(name) => Err(FieldError::invalid(
            "tool_choice",
            format_args!("names the function '{}', which is not among the tools", crate::error::shown(name)),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
