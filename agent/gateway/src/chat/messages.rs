//! A caller's messages, brought into the one form that chat templates expect.

use serde_json::{Map, Value};

use super::place::Place;
use crate::error::FieldError;

/// Messages of one request.
pub(crate) const MESSAGES_MAX: usize = nabi_prompt::CHAT_MESSAGES_MAX;
/// Parts of one message's content.
pub(crate) const CONTENT_PARTS_MAX: usize = 1024;
/// Tool calls of one message.
pub(crate) const TOOL_CALLS_MAX: usize = 128;

/// Checks a message and gives it as templates take it: content is one string, and what OpenAI
/// calls a developer is a system to them.
pub(crate) fn read(message: &Place<'_>) -> Result<Value, FieldError> {
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
        if !matches!(name, "id" | "type" | "function" | "index") {
            return Err(place.unknown());
        }
    }
    for (name, place) in function.fields()? {
        if !matches!(name, "name" | "arguments") {
            return Err(place.unknown());
        }
    }
    Ok(call.value.clone())
}
