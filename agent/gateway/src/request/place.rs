//! Reads JSON values with their place at hand, so that an error can name it.

use std::fmt;

use serde_json::{Map, Value};

use crate::error::{Code, FieldError, shown};

/// A value and where it is within the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) value: &'a Value,
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl fmt::Display for Place<'_> {
    /// As in `messages[3].content`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Key(key) if self.parent.is_some() => write!(f, ".{}", shown(key)),
            Step::Key(key) => f.write_str(&shown(key)),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

impl<'a> Place<'a> {
    /// A field of the request itself.
    pub(crate) fn field(name: &'a str, value: &'a Value) -> Self {
        Self { value, parent: None, step: Step::Key(name) }
    }

    fn key(&'a self, key: &'a str, value: &'a Value) -> Self {
        Self { value, parent: Some(self), step: Step::Key(key) }
    }

    fn error(&self, code: Code, message: impl fmt::Display) -> FieldError {
        FieldError { param: self.to_string(), code, message: format!("'{self}' {message}") }
    }

    /// `wanted` is a type, with its article.
    pub(crate) fn wrong_type(&self, wanted: &str) -> FieldError {
        let found = match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        self.error(Code::InvalidType, format_args!("must be {wanted}, but it is {found}"))
    }

    /// The right type, but not a value that is allowed: `rule` continues "'field' …".
    pub(crate) fn invalid(&self, rule: impl fmt::Display) -> FieldError {
        self.error(Code::InvalidValue, rule)
    }

    /// Known from OpenAI's API, but not offered here: `accepted` says what may be sent.
    pub(crate) fn unsupported(&self, accepted: &str) -> FieldError {
        self.error(Code::UnsupportedParameter, format_args!("is not supported: {accepted}"))
    }

    /// Not a field at all.
    pub(crate) fn unknown(&self) -> FieldError {
        self.error(Code::UnknownParameter, "is not a known field: leave it out")
    }

    /// Missing from an object that needs it.
    pub(crate) fn missing(&self) -> FieldError {
        self.error(Code::MissingParameter, "is required")
    }

    pub(crate) fn string(&self) -> Result<&'a str, FieldError> {
        self.value.as_str().ok_or_else(|| self.wrong_type("a string"))
    }

    pub(crate) fn boolean(&self) -> Result<bool, FieldError> {
        self.value.as_bool().ok_or_else(|| self.wrong_type("a boolean"))
    }

    /// The items, of which there may be at most `items_max`.
    pub(crate) fn items(&'a self, items_max: usize) -> Result<impl Iterator<Item = Place<'a>>, FieldError> {
        let items = self.value.as_array().ok_or_else(|| self.wrong_type("an array"))?;
        if items.len() > items_max {
            let found = items.len();
            return Err(self.invalid(format_args!("has {found} items, but at most {items_max} are allowed")));
        }
        let place = |(index, value)| Self { value, parent: Some(self), step: Step::Index(index) };
        Ok(items.iter().enumerate().map(place))
    }

    /// The fields that are not null: OpenAI's SDKs send null for absent.
    pub(crate) fn fields(&'a self) -> Result<impl Iterator<Item = (&'a str, Place<'a>)>, FieldError> {
        let fields = self.value.as_object().ok_or_else(|| self.wrong_type("an object"))?;
        let present = fields.iter().filter(|(_, value)| !value.is_null());
        Ok(present.map(|(name, value)| (name.as_str(), self.key(name, value))))
    }

    /// A field that must be there. An absent one is an error that names its place.
    pub(crate) fn required(&'a self, name: &'a str) -> Result<Place<'a>, FieldError> {
        let fields = self.value.as_object().ok_or_else(|| self.wrong_type("an object"))?;
        required(fields, name).map(|value| self.key(name, value)).ok_or_else(|| {
            let nothing = Value::Null;
            Place { value: &nothing, parent: Some(self), step: Step::Key(name) }.missing()
        })
    }

    /// A whole number from `min` to `max`.
    pub(crate) fn integer(&self, min: i64, max: i64) -> Result<i64, FieldError> {
        let Value::Number(number) = self.value else {
            return Err(self.wrong_type("an integer"));
        };
        // Some callers write 16.0; to JSON that is the same number as 16.
        let whole = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0);
        match number.as_i64().or(whole.map(|float| float as i64)) {
            Some(integer) if (min..=max).contains(&integer) => Ok(integer),
            None if number.is_f64() => Err(self.wrong_type("an integer")),
            _ => Err(self.invalid(format_args!("must be from {min} to {max}"))),
        }
    }

    /// A number for which `allowed` holds in the precision that engines use; `range` says which.
    pub(crate) fn number(&self, allowed: impl Fn(f32) -> bool, range: &str) -> Result<f32, FieldError> {
        let number = self.value.as_f64().ok_or_else(|| self.wrong_type("a number"))? as f32;
        if number.is_finite() && allowed(number) {
            Ok(number)
        } else {
            Err(self.invalid(format_args!("must be {range}")))
        }
    }
}

/// A field that is there and not null.
pub(crate) fn required<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}
