//! Chats that try to write control tokens.

use arbitrary::{Result, Unstructured};
use nabi_domain::Piece;
use nabi_prompt::{Chat, ROLES};
use serde_json::{Map, Value, json};

use crate::fragments;
use crate::models::{MODELS, Model};

const MESSAGES_MAX: usize = 6;

/// A chat's tokens are those of the same chat with harmless text: none comes of a caller's text.
pub(crate) fn prompt(bytes: &[u8]) {
    // Too few bytes are no chat.
    let _ = render(&mut Unstructured::new(bytes));
}

pub(crate) use fragments::seeds;

fn render(bytes: &mut Unstructured<'_>) -> Result<()> {
    let model = &MODELS[bytes.choose_index(MODELS.len())?];
    let chat = chat(bytes, model)?;
    let harmless = Chat {
        messages: chat.messages.iter().map(harmless_message).collect(),
        tools: chat.tools.as_ref().map(harmless_value),
        variables: chat.variables.iter().map(|(name, value)| (name.clone(), harmless_value(value))).collect(),
        ..chat.clone()
    };
    let (Ok(pieces), Ok(expected)) = (model.template.render(&chat), model.template.render(&harmless)) else {
        return Ok(());
    };
    assert_eq!(tokens(&pieces), tokens(&expected), "{}: {chat:?}", model.name);
    let is_text = |piece: &Piece| matches!(piece, Piece::Text(_));
    assert!(!pieces.windows(2).any(|pair| pair.iter().all(is_text)), "neighbouring texts are one");
    assert!(!pieces.contains(&Piece::Text(String::new())));
    Ok(())
}

fn tokens(pieces: &[Piece]) -> Vec<u32> {
    let id = |piece: &Piece| match piece {
        Piece::Token(id) => Some(*id),
        Piece::Text(_) => None,
    };
    pieces.iter().filter_map(id).collect()
}

fn chat(bytes: &mut Unstructured<'_>, model: &Model) -> Result<Chat> {
    let count = bytes.int_in_range(1..=MESSAGES_MAX)?;
    let has_tools = model.template.takes_tools() && bytes.arbitrary()?;
    let tools = if has_tools { Some(json!([tool(bytes, model)?])) } else { None };
    let mut variables = Map::new();
    for name in ["thinking", "enable_thinking"] {
        if bytes.arbitrary()? {
            variables.insert(name.to_owned(), bytes.arbitrary::<bool>()?.into());
        }
    }
    if bytes.arbitrary()? {
        variables.insert("date_string".to_owned(), fragments::text(bytes, &model.fragments)?.into());
    }
    let add_generation_prompt = bytes.arbitrary()?;
    let is_alternating: bool = bytes.arbitrary()?;
    let turn =
        |index: usize| is_alternating.then_some(if index.is_multiple_of(2) { "user" } else { "assistant" });
    let messages = (0..count).map(|index| message(bytes, model, turn(index))).collect::<Result<_>>()?;
    Ok(Chat { messages, tools, add_generation_prompt, variables, ..Chat::default() })
}

fn message(bytes: &mut Unstructured<'_>, model: &Model, role: Option<&str>) -> Result<Value> {
    let text = |bytes: &mut Unstructured<'_>| fragments::text(bytes, &model.fragments);
    let role = match role {
        Some(role) => role.to_owned(),
        None if bytes.ratio(1, 6)? => text(bytes)?,
        None => (*bytes.choose(&ROLES)?).to_owned(),
    };
    let mut message = json!({"role": role, "content": text(bytes)?});
    if bytes.ratio(1, 12)? {
        message["content"] = json!([{"type": "text", "text": text(bytes)?}]);
    }
    if role == "assistant" {
        // Given, it is not looked for in the content, where a caller may mark it.
        message["reasoning_content"] = text(bytes)?.into();
        if bytes.arbitrary()? {
            message["content"] = Value::Null;
            message["tool_calls"] = json!([call(bytes, model)?]);
        }
    }
    if bytes.ratio(1, 6)? {
        message[text(bytes)?] = text(bytes)?.into();
    }
    Ok(message)
}

fn call(bytes: &mut Unstructured<'_>, model: &Model) -> Result<Value> {
    let mut text = || fragments::text(bytes, &model.fragments);
    let (id, name, arguments) =
        (text()?, text()?, json!({text()?: text()?, text()?: [text()?, {text()?: 1}]}));
    let id = if id.len() % 2 == 0 { "call00001".to_owned() } else { id };
    Ok(json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}))
}

fn tool(bytes: &mut Unstructured<'_>, model: &Model) -> Result<Value> {
    let mut text = || fragments::text(bytes, &model.fragments);
    let parameter = json!({"type": text()?, "description": text()?, text()?: text()?});
    let parameters = json!({"type": "object", "properties": {text()?: parameter}, "required": [text()?]});
    let function =
        json!({"name": text()?, "description": text()?, "parameters": parameters, text()?: text()?});
    Ok(json!({"type": "function", "function": function}))
}

/// The same, with letters for all that a literal could be made of; the role stays.
fn harmless_message(message: &Value) -> Value {
    let mut harmless = harmless_value(message);
    if message["role"].as_str().is_some_and(|role| ROLES.contains(&role)) {
        harmless["role"] = message["role"].clone();
    }
    harmless
}

/// Words of the chat format that templates look for.
const WORDS: [&str; 15] = [
    "role",
    "content",
    "reasoning_content",
    "tool_calls",
    "id",
    "type",
    "function",
    "name",
    "arguments",
    "description",
    "parameters",
    "properties",
    "required",
    "object",
    "text",
];

fn harmless_value(value: &Value) -> Value {
    match value {
        Value::String(text) => harmless_text(text).into(),
        Value::Array(items) => items.iter().map(harmless_value).collect(),
        Value::Object(fields) => {
            let field = |(index, (name, value)): (usize, (&String, &Value))| {
                let name = if WORDS.contains(&name.as_str()) { name.clone() } else { format!("q{index}") };
                (name, harmless_value(value))
            };
            Value::Object(fields.iter().enumerate().map(field).collect())
        }
        other => other.clone(),
    }
}

fn harmless_text(text: &str) -> String {
    if WORDS.contains(&text) {
        return text.to_owned();
    }
    text.chars().map(|c| if c.is_whitespace() { c } else { 'q' }).collect()
}
