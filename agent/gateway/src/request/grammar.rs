//! Fields that say what an answer's text must match, as OpenAI and as vLLM name them.

use nabi_wire::engine::{GRAMMAR_BYTES_MAX, Grammar};
use serde_json::Value;

use super::generation::Generation;
use super::place::Place;
use crate::error::FieldError;

/// Texts of a `guided_choice`.
const GUIDED_CHOICES_MAX: usize = 1024;
/// Characters of a schema's name.
const SCHEMA_NAME_CHARS_MAX: usize = 64;

pub(crate) const RESPONSE_FORMAT_SCHEMA: &str = r#"{"anyOf": [
    {"type": "object", "properties": {"type": {"enum": ["text", "json_object"]}}, "required": ["type"], "additionalProperties": false},
    {"type": "object", "properties": {"type": {"const": "json_schema"}, "json_schema": {"type": "object", "properties": {
        "name": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}, "description": {"type": ["string", "null"]},
        "schema": {"type": ["object", "null"]}, "strict": {"type": ["boolean", "null"]}},
        "required": ["name"], "additionalProperties": false}}, "required": ["type", "json_schema"], "additionalProperties": false}]}"#;
pub(crate) const STRUCTURED_OUTPUTS_SCHEMA: &str = r#"{"type": "object", "properties": {
    "json": {"type": ["object", "boolean", "string"]}, "regex": {"type": "string"}, "json_object": {"const": true},
    "choice": {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}, "grammar": {"type": "string"}},
    "minProperties": 1, "maxProperties": 1, "additionalProperties": false}"#;

/// An answer has one form.
fn set(
    request: &mut Generation,
    place: &Place<'_>,
    field: &'static str,
    grammar: Grammar,
) -> Result<(), FieldError> {
    let (Grammar::JsonSchema(text) | Grammar::Regex(text) | Grammar::Lark(text)) = &grammar else {
        return put(request, place, field, grammar);
    };
    if text.is_empty() || text.len() > GRAMMAR_BYTES_MAX {
        return Err(place.invalid(format_args!("must have from 1 to {GRAMMAR_BYTES_MAX} bytes")));
    }
    put(request, place, field, grammar)
}

fn put(
    request: &mut Generation,
    place: &Place<'_>,
    field: &'static str,
    grammar: Grammar,
) -> Result<(), FieldError> {
    if let Some((_, other)) = request.grammar {
        return Err(place.invalid(format_args!("cannot be combined with '{other}': an answer has one form")));
    }
    request.grammar = Some((grammar, field));
    Ok(())
}

/// OpenAI's: text, any JSON object, or JSON by a schema.
pub(crate) fn response_format(request: &mut Generation, place: Place<'_>) -> Result<(), FieldError> {
    let field = "response_format";
    let kind = place.required("type")?;
    let named = kind.string()?;
    for (name, other) in place.fields()? {
        if name != "type" && !(name == "json_schema" && named == "json_schema") {
            return Err(other.unknown());
        }
    }
    match named {
        "text" => Ok(()),
        "json_object" => set(request, &place, field, Grammar::JsonObject),
        "json_schema" => {
            let format = place.required("json_schema")?;
            let grammar = named_schema(&format)?;
            set(request, &format, field, grammar)
        }
        _ => Err(kind.unsupported("send text, json_object or json_schema")),
    }
}

fn named_schema(format: &Place<'_>) -> Result<Grammar, FieldError> {
    let name = format.required("name")?;
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let text = name.string()?;
    if text.is_empty() || text.len() > SCHEMA_NAME_CHARS_MAX || !text.chars().all(is_allowed) {
        return Err(name.invalid(format_args!(
            "must have from 1 to {SCHEMA_NAME_CHARS_MAX} of the characters A-Z, a-z, 0-9, _ and -"
        )));
    }
    let mut grammar = Grammar::JsonObject;
    for (name, part) in format.fields()? {
        match name {
            "name" => {}
            "schema" if part.value.is_object() => grammar = Grammar::JsonSchema(part.value.to_string()),
            "schema" => return Err(part.wrong_type("an object")),
            // What is asked for is given whether strict or not.
            "strict" => drop(part.boolean()?),
            "description" => drop(part.string()?),
            _ => return Err(part.unknown()),
        }
    }
    Ok(grammar)
}

/// vLLM's, which has one of several forms in one object.
pub(crate) fn structured_outputs(request: &mut Generation, place: Place<'_>) -> Result<(), FieldError> {
    let field = "structured_outputs";
    let mut count = 0;
    for (name, form) in place.fields()? {
        count += 1;
        let grammar = match name {
            "json" => schema(&form)?,
            "regex" => Grammar::Regex(form.string()?.to_owned()),
            "choice" => choice(&form)?,
            "grammar" => Grammar::Lark(form.string()?.to_owned()),
            "json_object" if form.value == true => Grammar::JsonObject,
            "json_object" | "structural_tag" => {
                return Err(form.unsupported("send json, regex, choice or grammar"));
            }
            _ => return Err(form.unknown()),
        };
        set(request, &form, field, grammar)?;
    }
    if count == 0 {
        return Err(place.invalid("must have one of json, regex, choice, grammar"));
    }
    Ok(())
}

/// A JSON schema, as JSON or as its text.
pub(crate) fn guided_json(request: &mut Generation, place: Place<'_>) -> Result<(), FieldError> {
    set(request, &place, "guided_json", schema(&place)?)
}

/// A regular expression that the whole answer matches.
pub(crate) fn guided_regex(request: &mut Generation, place: Place<'_>) -> Result<(), FieldError> {
    set(request, &place, "guided_regex", Grammar::Regex(place.string()?.to_owned()))
}

/// One of some texts.
pub(crate) fn guided_choice(request: &mut Generation, place: Place<'_>) -> Result<(), FieldError> {
    set(request, &place, "guided_choice", choice(&place)?)
}

/// A grammar in llguidance's form of Lark.
pub(crate) fn guided_grammar(request: &mut Generation, place: Place<'_>) -> Result<(), FieldError> {
    set(request, &place, "guided_grammar", Grammar::Lark(place.string()?.to_owned()))
}

fn schema(place: &Place<'_>) -> Result<Grammar, FieldError> {
    match place.value {
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(_) | Value::Bool(_)) => Ok(Grammar::JsonSchema(text.clone())),
            _ => Err(place.invalid("must be the text of a JSON schema")),
        },
        Value::Object(_) | Value::Bool(_) => Ok(Grammar::JsonSchema(place.value.to_string())),
        _ => Err(place.wrong_type("a JSON schema")),
    }
}

fn choice(place: &Place<'_>) -> Result<Grammar, FieldError> {
    let text = |text: Place<'_>| match text.string()? {
        "" => Err(text.invalid("must not be empty")),
        plain => Ok(regex_syntax::escape(plain)),
    };
    let texts: Vec<String> = place.items(GUIDED_CHOICES_MAX)?.map(text).collect::<Result<_, _>>()?;
    if texts.is_empty() {
        return Err(place.invalid("must have at least one text"));
    }
    Ok(Grammar::Regex(texts.join("|")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::generation::GENERATION_FIELDS;
    use super::super::{Table, Treatment};
    use super::*;
    use crate::error::{ApiError, Code};

    const TABLE: Table<Generation> = Table {
        own: GENERATION_FIELDS,
        generation: None,
        required: &[],
        one_of_required: &[],
        finish: |_| Ok(()),
    };

    fn read(body: &Value) -> Result<Option<(Grammar, &'static str)>, ApiError> {
        Ok(TABLE.parse(body.to_string().as_bytes())?.request.grammar)
    }

    #[test]
    fn each_form_becomes_its_grammar() {
        let schema = json!({"type": "object", "properties": {"b": {}, "a": {}}});
        let text = schema.to_string();
        let json_schema = json!({"name": "n", "description": "d", "schema": schema, "strict": false});
        for (field, value, expected) in [
            ("response_format", json!({"type": "json_object"}), Grammar::JsonObject),
            (
                "response_format",
                json!({"type": "json_schema", "json_schema": json_schema}),
                Grammar::JsonSchema(text.clone()),
            ),
            (
                "response_format",
                json!({"type": "json_schema", "json_schema": {"name": "n"}}),
                Grammar::JsonObject,
            ),
            ("guided_json", schema.clone(), Grammar::JsonSchema(text.clone())),
            ("guided_json", json!(text), Grammar::JsonSchema(text.clone())),
            ("guided_regex", json!("a+"), Grammar::Regex("a+".into())),
            ("guided_choice", json!(["yes", "no?"]), Grammar::Regex(r"yes|no\?".into())),
            ("guided_grammar", json!("start: \"a\""), Grammar::Lark("start: \"a\"".into())),
            ("structured_outputs", json!({"json": schema}), Grammar::JsonSchema(text)),
            ("structured_outputs", json!({"regex": "b"}), Grammar::Regex("b".into())),
            ("structured_outputs", json!({"choice": ["a", "b"]}), Grammar::Regex("a|b".into())),
            ("structured_outputs", json!({"grammar": "start: /x/"}), Grammar::Lark("start: /x/".into())),
            ("structured_outputs", json!({"json_object": true}), Grammar::JsonObject),
        ] {
            let (grammar, named) = read(&json!({ field: value })).expect(field).expect("a grammar");
            assert_eq!((grammar, named), (expected, field));
        }
        assert_eq!(read(&json!({"response_format": {"type": "text"}})).expect("valid"), None);
    }

    #[test]
    fn what_is_no_form_is_refused_at_its_place() {
        let long = "x".repeat(GRAMMAR_BYTES_MAX + 1);
        for (fields, param, code) in [
            (json!({"response_format": {}}), "response_format.type", Code::MissingParameter),
            (json!({"response_format": "json"}), "response_format", Code::InvalidType),
            (json!({"response_format": {"type": "xml"}}), "response_format.type", Code::UnsupportedParameter),
            (
                json!({"response_format": {"type": "text", "json_schema": {}}}),
                "response_format.json_schema",
                Code::UnknownParameter,
            ),
            (
                json!({"response_format": {"type": "json_schema"}}),
                "response_format.json_schema",
                Code::MissingParameter,
            ),
            (
                json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a b"}}}),
                "response_format.json_schema.name",
                Code::InvalidValue,
            ),
            (
                json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": 1}}}),
                "response_format.json_schema.schema",
                Code::InvalidType,
            ),
            (json!({"guided_regex": ""}), "guided_regex", Code::InvalidValue),
            (json!({"guided_regex": long}), "guided_regex", Code::InvalidValue),
            (json!({"guided_choice": []}), "guided_choice", Code::InvalidValue),
            (json!({"guided_choice": ["a", ""]}), "guided_choice[1]", Code::InvalidValue),
            (json!({"guided_choice": ["a", 1]}), "guided_choice[1]", Code::InvalidType),
            (json!({"guided_json": 1}), "guided_json", Code::InvalidType),
            (json!({"guided_json": "{"}), "guided_json", Code::InvalidValue),
            (json!({"structured_outputs": {}}), "structured_outputs", Code::InvalidValue),
            (
                json!({"structured_outputs": {"regex": "a", "json": {}}}),
                "structured_outputs.json",
                Code::InvalidValue,
            ),
            (json!({"guided_regex": "a", "guided_grammar": "b"}), "guided_grammar", Code::InvalidValue),
        ] {
            match read(&fields) {
                Err(ApiError::Field(error)) => {
                    assert_eq!((error.param.as_str(), error.code), (param, code), "{fields}");
                }
                other => panic!("{fields} gave {other:?}"),
            }
        }
    }

    #[test]
    fn each_schema_of_a_field_is_json() {
        for field in GENERATION_FIELDS {
            assert!(serde_json::from_str::<Value>(field.schema).is_ok(), "{}", field.name);
            if let Treatment::Refused(accepts, _) = field.treatment {
                assert!(!accepts(&json!("anything")), "{}", field.name);
            }
        }
    }
}
