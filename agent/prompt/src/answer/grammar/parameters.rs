//! A function's parameters in DSML, which writes each by itself: strings as text, all else as JSON.

use serde_json::{Map, Value as Json, json};

use super::GrammarError;
use super::functions::Function;
use super::lark::{Lark, marker, quoted};
use crate::answer::dsml::Dsml;

/// Where a schema keeps what its references name.
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];
/// What restricts a string in ways that only its JSON form can be held to.
const TEXT_LIMITS: [&str; 5] = ["pattern", "format", "minLength", "maxLength", "const"];

/// The parameters in the order of the schema.
pub(super) fn rule(markup: &Dsml, function: &Function, lark: &mut Lark) -> Result<String, GrammarError> {
    let error = |detail| GrammarError::Parameters { function: function.name.clone(), detail };
    let properties = match function.schema.get("properties") {
        Some(Json::Object(properties)) => properties,
        None if !function.is_strict => return Ok(free_parameters(markup, lark)),
        _ => return Err(error("a strict function's schema must have `properties`")),
    };
    let required = function.schema.get("required").and_then(Json::as_array);
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|other| other == name));
    let mut parameters = Vec::new();
    for (name, schema) in properties {
        if name.contains(['"', '>', '<']) || name.chars().any(char::is_control) {
            return Err(error(
                "a parameter's name must have no quotes, angle brackets or control characters",
            ));
        }
        let parameter = parameter(markup, name, &rooted(schema, function), function.is_strict, lark);
        let rule = lark.rule(&parameter);
        parameters.push(if is_required(name) { rule } else { format!("{rule}?") });
    }
    Ok(parameters.join(" "))
}

/// A property's schema as a root of its own, with all that it may refer to.
fn rooted(schema: &Json, function: &Function) -> Json {
    let Json::Object(fields) = schema else { return schema.clone() };
    let mut rooted = fields.clone();
    for key in DEFINITIONS.into_iter().chain(["x-guidance"]) {
        if let Some(value) = function.schema.get(key) {
            rooted.insert(key.to_owned(), value.clone());
        }
    }
    Json::Object(rooted)
}

fn parameter(markup: &Dsml, name: &str, schema: &Json, is_strict: bool, lark: &mut Lark) -> String {
    let begin = marker(&markup.parameter);
    let head = |is_text: bool| quoted(&format!(" name=\"{name}\" string=\"{is_text}\">"));
    let fields = schema.as_object();
    let kind = fields.and_then(|fields| fields.get("type"));
    let is_text = kind.is_some_and(|kind| kind == "string");
    let may_be_text = is_text
        || kind.and_then(Json::as_array).is_some_and(|kinds| kinds.iter().any(|kind| kind == "string"));
    let is_limited = |fields: &Map<String, Json>| TEXT_LIMITS.iter().any(|&key| fields.contains_key(key));
    let mut forms = Vec::new();
    if may_be_text && !(is_strict && fields.is_some_and(is_limited)) {
        forms.push(format!(
            "{} {}",
            head(true),
            text(markup, fields.and_then(|fields| fields.get("enum")), lark)
        ));
    }
    if !is_text || forms.is_empty() {
        let json = lark.json(schema);
        forms.push(format!("{} {json} {}", head(false), marker(&markup.parameter_end)));
    }
    format!("{begin} ({}) \"\\n\"", forms.join(" | "))
}

/// Text up to and with the end of the parameter.
fn text(markup: &Dsml, choices: Option<&Json>, lark: &mut Lark) -> String {
    let Some(choices) = choices.and_then(Json::as_array) else { return lark.until(&markup.parameter_end) };
    let texts: Vec<_> = choices.iter().filter_map(Json::as_str).map(quoted).collect();
    format!("({}) {}", texts.join(" | "), marker(&markup.parameter_end))
}

/// Whatever parameters the model likes.
fn free_parameters(markup: &Dsml, lark: &mut Lark) -> String {
    let name = lark.terminal("/ name=\"[^\"<>\\n]{1,64}\" string=\"/");
    let text = lark.until(&markup.parameter_end);
    let json = lark.json(&json!({}));
    let end = marker(&markup.parameter_end);
    let begin = marker(&markup.parameter);
    let parameter =
        lark.rule(&format!("{begin} {name} (\"true\\\">\" {text} | \"false\\\">\" {json} {end}) \"\\n\""));
    format!("{parameter}*")
}
