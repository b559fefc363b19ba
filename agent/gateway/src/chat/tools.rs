//! The tools that a caller offers, and whether the model may, must or must not call one.

use nabi_prompt::{FUNCTION_NAME_BYTES_MAX, FUNCTIONS_MAX};
use serde_json::Value;

use crate::error::FieldError;
use crate::random;
use crate::request::place::Place;

pub(crate) const TOOLS_SCHEMA: &str = r#"{"type": "array", "maxItems": 128, "items": {"type": "object", "properties": {
    "type": {"const": "function"}, "function": {"type": "object", "properties": {
        "name": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}, "description": {"type": ["string", "null"]},
        "parameters": {"type": ["object", "null"]}, "strict": {"type": ["boolean", "null"]}},
        "required": ["name"], "additionalProperties": false}},
    "required": ["type", "function"], "additionalProperties": false}}"#;
pub(super) const TOOL_CHOICE_SCHEMA: &str = r#"{"anyOf": [{"enum": ["none", "auto", "required"]},
    {"type": "object", "properties": {"type": {"const": "function"}, "function": {"type": "object",
        "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": false}},
    "required": ["type", "function"], "additionalProperties": false}]}"#;

/// Whether the model calls a tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum ToolChoice {
    #[default]
    Auto,
    None,
    Required,
    /// This one.
    Named(String),
}

/// An id for a call, which comes back with the tool's answer.
pub(super) fn call_id() -> String {
    format!("call_{}", &random::hex()[..24])
}

/// The tools, as templates take them.
pub(crate) fn read(place: &Place<'_>) -> Result<Vec<Value>, FieldError> {
    let mut names: Vec<String> = Vec::new();
    let mut tools = Vec::new();
    for tool in place.items(FUNCTIONS_MAX)? {
        let name = check(&tool)?;
        if names.contains(&name) {
            return Err(tool.invalid(format_args!("is the second tool named '{name}'")));
        }
        names.push(name);
        tools.push(tool.value.clone());
    }
    Ok(tools)
}

/// The name of a well-formed tool.
fn check(tool: &Place<'_>) -> Result<String, FieldError> {
    let kind = tool.required("type")?;
    if kind.string()? != "function" {
        return Err(kind.unsupported("only tools of type function are"));
    }
    for (name, place) in tool.fields()? {
        if !matches!(name, "type" | "function") {
            return Err(place.unknown());
        }
    }
    let function = tool.required("function")?;
    for (name, place) in function.fields()? {
        match name {
            "name" => {}
            "description" => drop(place.string()?),
            "strict" => drop(place.boolean()?),
            "parameters" if place.value.is_object() => {}
            "parameters" => return Err(place.wrong_type("an object")),
            _ => return Err(place.unknown()),
        }
    }
    let name = function.required("name")?;
    let text = name.string()?;
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if text.is_empty() || text.len() > FUNCTION_NAME_BYTES_MAX || !text.chars().all(is_allowed) {
        return Err(name.invalid(format_args!(
            "must have from 1 to {FUNCTION_NAME_BYTES_MAX} of the characters A-Z, a-z, 0-9, _ and -"
        )));
    }
    Ok(text.to_owned())
}

/// Whether a tool is to be called, and which.
pub(super) fn choice(place: &Place<'_>) -> Result<ToolChoice, FieldError> {
    match place.value.as_str() {
        Some("auto") => return Ok(ToolChoice::Auto),
        Some("none") => return Ok(ToolChoice::None),
        Some("required") => return Ok(ToolChoice::Required),
        Some(_) => return Err(place.invalid("must be none, auto, required, or name a function")),
        None => {}
    }
    let kind = place.required("type")?;
    if kind.string()? != "function" {
        return Err(kind.unsupported("only function is"));
    }
    let function = place.required("function")?;
    for (name, other) in place.fields()? {
        if !matches!(name, "type" | "function") {
            return Err(other.unknown());
        }
    }
    Ok(ToolChoice::Named(function.required("name")?.string()?.to_owned()))
}
