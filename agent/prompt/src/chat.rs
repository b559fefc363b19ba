//! A chat as callers give it, and its strings as a template may see them.

use minijinja::value::Value;
use serde_json::{Map, Number, Value as Json};

use crate::error::RenderError;
use crate::history::HistoryForm;
use crate::lexicon::Lexicon;

/// Values of `role` that are words of the chat format; any other is a caller's text as any other.
pub const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];
/// Most messages of a chat. Templates may copy all earlier text for each message.
pub const CHAT_MESSAGES_MAX: usize = 4_096;
/// Deepest nesting of lists and objects in a message, a tool or a variable.
pub const CHAT_DEPTH_MAX: usize = 64;

/// Values of `type` that are words of the chat format.
const TYPES: [&str; 4] = ["function", "text", "image", "image_url"];
/// Keys of messages, their parts, tool calls and tools that are words of the chat format.
const FIELDS: [&str; 15] = [
    "arguments",
    "content",
    "description",
    "function",
    "id",
    "image_url",
    "name",
    "parameters",
    "reasoning_content",
    "role",
    "strict",
    "text",
    "tool_call_id",
    "tool_calls",
    "type",
];
/// Below these keys, keys are the caller's own.
const FREE_FORM_FIELDS: [&str; 2] = ["arguments", "parameters"];

/// All words that are not veiled for their place in the chat.
pub(crate) fn format_words() -> impl Iterator<Item = &'static str> {
    ROLES.into_iter().chain(TYPES).chain(FIELDS)
}

/// What a template is rendered with. All of it but `now` may come from a caller.
#[derive(Debug, Clone, Default)]
pub struct Chat {
    /// The messages as objects in OpenAI's form: `role`, `content`, `tool_calls`, and
    /// `reasoning_content` for what an assistant thought. The arguments of calls may be text or
    /// objects; the template gets what it wants. The order of keys is kept.
    pub messages: Vec<Json>,
    /// Tool definitions in OpenAI's form, `[{"type": "function", "function": {…}}]`; `None` where
    /// there are none.
    pub tools: Option<Json>,
    /// Whether the prompt ends where the assistant is to speak.
    pub add_generation_prompt: bool,
    /// Further variables for the template, as `enable_thinking`. They cannot replace the others.
    pub variables: Map<String, Json>,
    /// Date and time for templates that name it (`strftime_now`).
    pub now: jiff::civil::DateTime,
}

impl Chat {
    /// The tools, unless there are none: templates take even an empty list for an offer.
    pub(crate) fn offered_tools(&self) -> Option<&Json> {
        self.tools.as_ref().filter(|tools| !tools.is_null() && !tools.as_array().is_some_and(Vec::is_empty))
    }

    /// The variables of the template, with every string veiled, and messages in this form.
    pub(crate) fn veiled(
        &self,
        lexicon: &Lexicon,
        history: Option<&HistoryForm>,
    ) -> Result<Vec<(String, Value)>, RenderError> {
        if self.messages.len() > CHAT_MESSAGES_MAX {
            return Err(RenderError::TooManyMessages { messages: self.messages.len() });
        }
        let format = Veil { lexicon, depth: CHAT_DEPTH_MAX, is_free_form: false };
        let messages = self.messages.iter().map(|message| match history {
            Some(history) => format.value(&history.message(message)),
            None => format.value(message),
        });
        let tools = self.offered_tools().map(|tools| format.value(tools)).transpose()?;
        let free_form = Veil { is_free_form: true, ..format };
        let mut variables = vec![("documents".to_owned(), Value::from(()))];
        for (name, value) in &self.variables {
            variables.push((name.clone(), free_form.value(value)?));
        }
        variables.extend([
            ("messages".to_owned(), Value::from(messages.collect::<Result<Vec<_>, _>>()?)),
            ("tools".to_owned(), Value::from(tools)),
            ("add_generation_prompt".to_owned(), Value::from(self.add_generation_prompt)),
        ]);
        Ok(variables)
    }
}

/// Veils a value, at some place of the chat.
#[derive(Clone, Copy)]
struct Veil<'a> {
    lexicon: &'a Lexicon,
    /// Levels that may still open.
    depth: usize,
    /// Whether keys are the caller's own, not those of the chat format.
    is_free_form: bool,
}

impl Veil<'_> {
    fn value(self, value: &Json) -> Result<Value, RenderError> {
        Ok(match value {
            Json::String(text) => Value::from(self.lexicon.veil(text)?),
            Json::Array(items) => {
                let veil = self.inner()?;
                let items = items.iter().map(|item| veil.value(item));
                Value::from(items.collect::<Result<Vec<_>, _>>()?)
            }
            Json::Object(fields) => {
                let veil = self.inner()?;
                let fields = fields.iter().map(|(name, value)| veil.field(name, value));
                Value::from_pairs(fields.collect::<Result<Vec<_>, _>>()?)
            }
            Json::Number(number) => from_number(number),
            Json::Bool(truth) => Value::from(*truth),
            Json::Null => Value::from(()),
        })
    }

    fn field(self, name: &str, value: &Json) -> Result<(String, Value), RenderError> {
        if self.is_free_form || !FIELDS.contains(&name) {
            return Ok((self.lexicon.veil(name)?, self.value(value)?));
        }
        let value = match value.as_str() {
            Some(role) if name == "role" && ROLES.contains(&role) => Value::from(role),
            Some(kind) if name == "type" && TYPES.contains(&kind) => Value::from(kind),
            _ => Veil { is_free_form: FREE_FORM_FIELDS.contains(&name), ..self }.value(value)?,
        };
        Ok((name.to_owned(), value))
    }

    fn inner(self) -> Result<Self, RenderError> {
        let depth = self.depth.checked_sub(1).ok_or(RenderError::TooDeep)?;
        Ok(Self { depth, ..self })
    }
}

/// Numbers have no veil: templates calculate with them.
fn from_number(number: &Number) -> Value {
    let integer = number.as_i64().map(Value::from).or_else(|| number.as_u64().map(Value::from));
    integer.unwrap_or_else(|| Value::from(number.as_f64()))
}
