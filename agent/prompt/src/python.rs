//! What templates expect of Python, as `transformers` provides it, over veiled text.

use jiff::civil::DateTime;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, escape_formatter};
use minijinja_contrib::pycompat;
use serde_json::Value as Json;

use crate::chat::CHAT_DEPTH_MAX;
use crate::veil;

/// Steps of fuel per byte of JSON, as minijinja charges for what its own filters make.
const JSON_BYTES_PER_FUEL: usize = 64;
/// Deepest nesting of what is printed: the caller's, and some of the template's.
const PRINT_DEPTH_MAX: usize = 2 * CHAT_DEPTH_MAX;

/// Methods, and filters, that look at the case of characters.
const CASE_METHODS: [&str; 4] = ["upper", "lower", "title", "capitalize"];

/// What `raise_exception` was called with; travels as the source of a minijinja error.
#[derive(Debug, thiserror::Error)]
#[error("raised by the template: {0}")]
pub(crate) struct Raised(pub(crate) String);

/// Adds functions, filters and methods of `transformers` and Python.
pub(crate) fn install(environment: &mut Environment<'_>) {
    environment.set_unknown_method_callback(method);
    environment.set_formatter(write_value);
    environment.add_filter("tojson", to_json);
    for name in CASE_METHODS {
        environment.add_filter(name, move |state: &mut State, value: &Value| {
            method(state, &Value::from(print(value)?), name, &[])
        });
    }
    environment.add_filter("string", print);
    environment.add_test("iterable", |value: &Value| value.is_undefined() || is_sequence(value));
    environment.add_test("sequence", |value: &Value| value.is_undefined() || is_sequence(value));
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Raised(message)))
    });
    // Would show a caller all that the template was given.
    environment.remove_global("debug");
}

/// `strftime_now(format)` at a given time, English as in Python's C locale.
pub(crate) fn strftime_at(now: DateTime) -> Value {
    Value::from_function(move |format: &str| {
        jiff::fmt::strtime::format(format, now)
            .map_err(|error| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {error}")))
    })
}

/// Python's methods; those that look at a character's case do so under the veil.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    match value.as_str() {
        Some(text) if CASE_METHODS.contains(&name) => {
            let plain = |text: String| {
                let result = pycompat::unknown_method_callback(state, &Value::from(text), name, args)?;
                Ok(result.as_str().unwrap_or_default().to_owned())
            };
            veil::through(text, plain).map(Value::from)
        }
        _ => pycompat::unknown_method_callback(state, value, name, args),
    }
}

/// What Python can iterate over and index: strings and objects too.
fn is_sequence(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable)
}

/// A value as Python prints it. In lists and objects the quotes and escapes depend on the text under
/// the veil; all of it is veiled then, as JSON is.
fn print(value: &Value) -> Result<String, Error> {
    if matches!(value.kind(), ValueKind::Map | ValueKind::Seq) {
        Ok(veil::veil(&unveiled(value)?.to_string()))
    } else {
        Ok(value.to_string())
    }
}

fn write_value(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    if matches!(value.kind(), ValueKind::Map | ValueKind::Seq) {
        return out.write_str(&print(value)?).map_err(Error::from);
    }
    escape_formatter(out, state, value)
}

fn unveiled(value: &Value) -> Result<Value, Error> {
    let too_deep = || format!("cannot print a value nested deeper than {PRINT_DEPTH_MAX} levels");
    veil::unveil_value(value, PRINT_DEPTH_MAX)
        .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, too_deep()))
}

/// `json.dumps(value, ensure_ascii=False, …)`. All of it is veiled: no token is made of JSON.
fn to_json(state: &State, value: &Value, options: Kwargs) -> Result<String, Error> {
    let failed = |detail: String| Error::new(ErrorKind::InvalidOperation, format!("tojson: {detail}"));
    if options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false) {
        return Err(failed("ensure_ascii=True is not supported".to_owned()));
    }
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (item.as_str(), key.as_str()),
        Some(_) => return Err(failed("separators must be two strings".to_owned())),
        None => (if indent.is_some() { "," } else { ", " }, ": "),
    };
    let mut json = serde_json::to_value(unveiled(value)?).map_err(|error| failed(error.to_string()))?;
    if sort_keys {
        json.sort_all_objects();
    }
    let mut text = String::new();
    JsonStyle { item, key, indent }.write(&mut text, &json, 1);
    state.consume_fuel((text.len() / JSON_BYTES_PER_FUEL) as u64)?;
    Ok(veil::veil(&text))
}

/// The parameters of Python's `json.dumps`.
struct JsonStyle<'a> {
    item: &'a str,
    key: &'a str,
    indent: Option<usize>,
}

impl JsonStyle<'_> {
    fn write(&self, text: &mut String, json: &Json, depth: usize) {
        match json {
            Json::Array(items) if !items.is_empty() => {
                self.write_list(text, ['[', ']'], depth, items, |text, item| {
                    self.write(text, item, depth + 1)
                });
            }
            Json::Object(fields) if !fields.is_empty() => {
                self.write_list(text, ['{', '}'], depth, fields, |text, (name, value)| {
                    text.push_str(&Json::from(name.as_str()).to_string());
                    text.push_str(self.key);
                    self.write(text, value, depth + 1);
                });
            }
            scalar => text.push_str(&scalar.to_string()),
        }
    }

    fn write_list<T>(
        &self,
        text: &mut String,
        [open, close]: [char; 2],
        depth: usize,
        items: impl IntoIterator<Item = T>,
        mut write_item: impl FnMut(&mut String, T),
    ) {
        let new_line = |text: &mut String, depth: usize| {
            if let Some(indent) = self.indent {
                text.push('\n');
                text.extend(std::iter::repeat_n(' ', indent * depth));
            }
        };
        text.push(open);
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                text.push_str(self.item);
            }
            new_line(text, depth);
            write_item(text, item);
        }
        new_line(text, depth - 1);
        text.push(close);
    }
}
