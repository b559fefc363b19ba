//! What a chat's history must look like for a template, found by trying it.
//!
//! Templates differ in whether they write the arguments of earlier calls as they are (and so want
//! JSON text) or through `tojson` (and so want an object), and in whether a message that only calls
//! tools must have no content or an empty one. The wrong form gives no error but a wrong prompt.

use std::borrow::Cow;

use serde_json::{Map, Value as Json, json};

use crate::answer::ReasoningMarkup;
use crate::chat::Chat;
use crate::error::RenderError;

const PROBE_TOOL: &str = "nabi_probe_tool";
const PROBE_KEY: &str = "nabi_probe_key";

/// The form of messages that a template makes the most of.
#[derive(Debug, Clone, Default)]
pub(crate) struct HistoryForm {
    /// Whether tools appear in the prompt at all.
    pub(crate) takes_tools: bool,
    /// Whether arguments are given as objects rather than as JSON text.
    wants_objects: bool,
    /// Whether a message with calls and no content has `none` for it rather than an empty string.
    wants_no_content: bool,
    /// What a caller may have written around reasoning in a message's content; set where the
    /// template cannot find it there.
    veiled_reasoning: Option<[&'static str; 2]>,
}

impl HistoryForm {
    /// `render` gives the prompt of a chat as one text, with messages as they are.
    pub(crate) fn found(
        reasoning: Option<&ReasoningMarkup>,
        render: impl Fn(&Chat) -> Result<String, RenderError>,
    ) -> Self {
        let takes_tools = match render(&probe_tools()) {
            // No use in waiting for it again.
            Err(RenderError::OutOfFuel | RenderError::TooLong) => return Self::default(),
            result => result.is_ok_and(|text| text.contains(PROBE_TOOL)),
        };
        let object = json!({PROBE_KEY: "x"});
        let forms = [(true, false), (true, true), (false, false), (false, true)];
        let (wants_no_content, wants_objects) = forms
            .into_iter()
            .find(|&(no_content, objects)| {
                let content = if no_content { Json::Null } else { Json::from("") };
                let arguments = if objects { object.clone() } else { Json::from(object.to_string()) };
                render(&probe_call(content, arguments)).is_ok_and(|text| shows_arguments(&text))
            })
            .unwrap_or_default();
        let veiled_reasoning = reasoning.filter(|markup| markup.close.has_token()).map(|markup| markup.texts);
        Self { takes_tools, wants_objects, wants_no_content, veiled_reasoning }
    }

    /// A message in this form.
    pub(crate) fn message<'a>(&self, message: &'a Json) -> Cow<'a, Json> {
        let Some(fields) =
            message.as_object().filter(|fields| fields.get("role") == Some(&json!("assistant")))
        else {
            return Cow::Borrowed(message);
        };
        let has_calls =
            fields.get("tool_calls").and_then(Json::as_array).is_some_and(|calls| !calls.is_empty());
        let reasoning = self.reasoning(fields);
        if !has_calls && reasoning.is_none() {
            return Cow::Borrowed(message);
        }
        let mut fields = fields.clone();
        if let Some((reasoning, content)) = reasoning {
            fields.insert("reasoning_content".to_owned(), reasoning.into());
            fields.insert("content".to_owned(), content.into());
        }
        if has_calls {
            self.adapt_calls(&mut fields);
        }
        Cow::Owned(Json::Object(fields))
    }

    fn adapt_calls(&self, fields: &mut Map<String, Json>) {
        let has_content = fields.get("content").is_some_and(|content| !content.is_null() && content != "");
        if !has_content {
            let content = if self.wants_no_content { Json::Null } else { Json::from("") };
            fields.insert("content".to_owned(), content);
        }
        let calls = fields.get_mut("tool_calls").and_then(Json::as_array_mut).into_iter().flatten();
        for arguments in calls.filter_map(|call| call.pointer_mut("/function/arguments")) {
            let adapted = match arguments {
                Json::String(text) if self.wants_objects => {
                    serde_json::from_str(text).ok().filter(Json::is_object)
                }
                Json::Object(_) if !self.wants_objects => Some(Json::from(arguments.to_string())),
                _ => None,
            };
            if let Some(adapted) = adapted {
                *arguments = adapted;
            }
        }
    }

    /// Reasoning at the beginning of the content, and the rest. Only the caller's own text is
    /// split: what the template makes of it stays text.
    fn reasoning<'a>(&self, fields: &'a Map<String, Json>) -> Option<(&'a str, &'a str)> {
        let [open, close] = self.veiled_reasoning?;
        let is_given = fields.get("reasoning_content").is_some_and(|reasoning| !reasoning.is_null());
        let content = fields.get("content").and_then(Json::as_str).filter(|_| !is_given)?;
        let (reasoning, rest) = content.trim_start().strip_prefix(open)?.split_once(close)?;
        Some((reasoning.trim_matches('\n'), rest.trim_start_matches('\n')))
    }
}

fn probe_tools() -> Chat {
    let parameters = json!({"type": "object", "properties": {}});
    let function = json!({"name": PROBE_TOOL, "description": "", "parameters": parameters});
    Chat {
        messages: vec![json!({"role": "user", "content": "q"})],
        tools: Some(json!([{"type": "function", "function": function}])),
        add_generation_prompt: true,
        ..Chat::default()
    }
}

fn probe_call(content: Json, arguments: Json) -> Chat {
    // Some templates insist on ids of nine letters and digits.
    let call = json!({
        "id": "probe0001",
        "type": "function",
        "function": {"name": PROBE_TOOL, "arguments": arguments},
    });
    let messages = vec![
        json!({"role": "user", "content": "q"}),
        json!({"role": "assistant", "content": content, "tool_calls": [call]}),
    ];
    Chat { messages, ..Chat::default() }
}

/// As JSON that is not within a string, or as a tag of its own.
fn shows_arguments(text: &str) -> bool {
    let forms = [format!("\"{PROBE_KEY}\":"), format!("{PROBE_KEY}>"), format!("name=\"{PROBE_KEY}\"")];
    forms.iter().any(|form| text.contains(form.as_str()))
}
