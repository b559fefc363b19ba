//! A caller's messages, brought into the one form that chat templates expect.

use serde_json::{Map, Value};

use crate::error::FieldError;
use crate::request::place::Place;

/// Messages of one request.
pub(crate) const MESSAGES_MAX: usize = nabi_prompt::CHAT_MESSAGES_MAX;
/// Parts of one message's content.
pub(crate) const CONTENT_PARTS_MAX: usize = 1024;
/// Tool calls of one message.
pub(crate) const TOOL_CALLS_MAX: usize = 128;

pub(crate) const MESSAGES_SCHEMA: &str = r#"{"type": "array", "minItems": 1, "maxItems": 4096, "items": {"type": "object",
    "properties": {"role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
        "content": {"anyOf": [{"type": ["string", "null"]}, {"type": "array", "items": {"type": "object", "properties":
            {"type": {"const": "text"}, "text": {"type": "string"}}, "required": ["type", "text"], "additionalProperties": false}}]},
        "name": {"type": ["string", "null"]}, "reasoning_content": {"type": ["string", "null"]},
        "tool_calls": {"type": ["array", "null"], "maxItems": 128, "items": {"type": "object", "properties": {
            "id": {"type": "string"}, "type": {"const": "function"}, "index": {"type": ["integer", "null"], "minimum": 0, "maximum": 4294967295},
            "function": {"type": "object", "properties": {"name": {"type": "string"}, "arguments": {"type": "string"}},
                "required": ["name", "arguments"], "additionalProperties": false}},
            "required": ["id", "type", "function"], "additionalProperties": false}},
        "tool_call_id": {"type": ["string", "null"]}, "refusal": {"type": "null"}, "audio": {"type": "null"},
        "function_call": {"type": "null"}, "annotations": {"type": ["array", "null"], "maxItems": 0}},
    "required": ["role"], "additionalProperties": false,
    "if": {"properties": {"role": {"const": "assistant"}}},
    "then": {"anyOf": [{"required": ["content"], "properties": {"content": {"type": ["string", "array"]}}},
        {"required": ["tool_calls"], "properties": {"tool_calls": {"type": "array", "minItems": 1}}}]},
    "else": {"required": ["content"], "properties": {"content": {"type": ["string", "array"]}},
        "if": {"properties": {"role": {"const": "tool"}}},
        "then": {"required": ["tool_call_id"], "properties": {"tool_call_id": {"type": "string"}}},
        "else": {"properties": {"tool_call_id": {"type": "null"}}}},
    "allOf": [{"if": {"properties": {"role": {"const": "assistant"}}},
        "then": {"properties": {"tool_call_id": {"type": "null"}}},
        "else": {"properties": {"reasoning_content": {"type": "null"}, "tool_calls": {"type": "null"}, "annotations": {"type": "null"}}}}]}}"#;

/// All messages of a chat, of which there must be one.
pub(crate) fn read_all(place: &Place<'_>) -> Result<Vec<Value>, FieldError> {
    let messages: Vec<_> =
        place.items(MESSAGES_MAX)?.map(|message| read(&message)).collect::<Result<_, _>>()?;
    if messages.is_empty() { Err(place.invalid("must hold at least one message")) } else { Ok(messages) }
}

/// Checks a message and gives it as templates take it: content is one string, and what OpenAI
/// calls a developer is a system to them.
fn read(message: &Place<'_>) -> Result<Value, FieldError> {
    let role = role(message)?;
    let mut read = Map::new();
    read.insert("role".into(), role.into());
    read.insert("content".into(), Value::String(String::new()));
    let mut has_content = false;
    for (name, place) in message.fields()? {
        match name {
            "role" => {}
            "content" => {
                has_content = true;
                read.insert(name.into(), content(&place)?.into());
            }
            "name" => {
                read.insert(name.into(), place.string()?.into());
            }
            "tool_calls" if role == "assistant" => {
                let calls: Vec<Value> =
                    place.items(TOOL_CALLS_MAX)?.map(|call| tool_call(&call)).collect::<Result<_, _>>()?;
                // Templates take the mere presence of the field for a call.
                if !calls.is_empty() {
                    read.insert(name.into(), calls.into());
                }
            }
            "tool_call_id" if role == "tool" => {
                read.insert(name.into(), place.string()?.into());
            }
            "reasoning_content" if role == "assistant" => {
                read.insert(name.into(), place.string()?.into());
            }
            // SDKs send an answer back with all its fields.
            "annotations" if role == "assistant" && place.value.as_array().is_some_and(Vec::is_empty) => {}
            "refusal" | "annotations" | "audio" | "function_call" if role == "assistant" => {
                return Err(place.unsupported("leave it out"));
            }
            _ => return Err(place.unknown()),
        }
    }
    let may_lack_content = read.contains_key("tool_calls");
    if !has_content && !may_lack_content {
        message.required("content")?;
    }
    if role == "tool" {
        message.required("tool_call_id")?;
    }
    Ok(Value::Object(read))
}

fn role(message: &Place<'_>) -> Result<&'static str, FieldError> {
    let place = message.required("role")?;
    match place.string()? {
        "system" | "developer" => Ok("system"),
        "user" => Ok("user"),
        "assistant" => Ok("assistant"),
        "tool" => Ok("tool"),
        _ => Err(place.invalid("must be one of system, developer, user, assistant, tool")),
    }
}

/// A string, or the texts of all parts, a line each.
fn content(place: &Place<'_>) -> Result<String, FieldError> {
    if let Value::String(text) = place.value {
        return Ok(text.clone());
    }
    let texts: Vec<String> =
        place.items(CONTENT_PARTS_MAX)?.map(|part| text_part(&part)).collect::<Result<_, _>>()?;
    Ok(texts.join("\n"))
}

fn text_part(part: &Place<'_>) -> Result<String, FieldError> {
    let kind = part.required("type")?;
    if kind.string()? != "text" {
        return Err(kind.unsupported("only parts of type text are"));
    }
    for (name, place) in part.fields()? {
        if !matches!(name, "type" | "text") {
            return Err(place.unknown());
        }
    }
    Ok(part.required("text")?.string()?.to_owned())
}

fn tool_call(call: &Place<'_>) -> Result<Value, FieldError> {
    call.required("id")?.string()?;
    let kind = call.required("type")?;
    if kind.string()? != "function" {
        return Err(kind.unsupported("only calls of type function are"));
    }
    let function = call.required("function")?;
    function.required("name")?.string()?;
    function.required("arguments")?.string()?;
    for (name, place) in call.fields()? {
        match name {
            "id" | "type" | "function" => {}
            "index" => drop(place.integer(0, i64::from(u32::MAX))?),
            _ => return Err(place.unknown()),
        }
    }
    for (name, place) in function.fields()? {
        if !matches!(name, "name" | "arguments") {
            return Err(place.unknown());
        }
    }
    // Where it was in a stream is no part of a call.
    let mut read = call.value.clone();
    if let Some(fields) = read.as_object_mut() {
        fields.shift_remove("index");
    }
    Ok(read)
}
