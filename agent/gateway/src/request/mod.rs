//! Request bodies, read whole and checked before anything is asked of an engine. Pure.
//!
//! Each route has a [`Table`] of its fields. A field is honoured; or ignored, where it cannot
//! change the answer, and then named in the header [`IGNORED_HEADER`]; or refused by name unless
//! its value asks for nothing. What the table lacks is unknown, and refused too.

#[cfg(test)]
mod documented;
pub(crate) mod generation;
pub(crate) mod grammar;
#[cfg(test)]
mod hostile;
mod json;
pub(crate) mod place;
pub(crate) mod prompts;

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use serde_json::Value;

use crate::error::{ApiError, FieldError};
use generation::{GENERATION_FIELDS, Generation};
use place::Place;

/// Names the fields of a request that had no effect.
const IGNORED_HEADER: HeaderName = HeaderName::from_static("x-nabi-ignored");

/// One field.
#[derive(Debug)]
pub(crate) struct Field<R: 'static> {
    pub(crate) name: &'static str,
    pub(crate) treatment: Treatment<R>,
    /// JSON schema of the values that are accepted.
    pub(crate) schema: &'static str,
}

type Read<R> = fn(&mut R, Place<'_>) -> Result<(), FieldError>;

/// What happens to a field that is present and not null.
#[derive(Debug)]
pub(crate) enum Treatment<R: 'static> {
    /// It says what the answer must be.
    Honoured(Read<R>),
    /// Any value is accepted and changes nothing.
    Ignored,
    /// Only values that ask for nothing are accepted; the text says which.
    Refused(fn(&Value) -> bool, &'static str),
}

/// A field that is honoured.
pub(crate) const fn honoured<R>(name: &'static str, schema: &'static str, read: Read<R>) -> Field<R> {
    Field { name, treatment: Treatment::Honoured(read), schema }
}

/// A field that cannot change the answer.
pub(crate) const fn ignored<R>(name: &'static str) -> Field<R> {
    Field { name, treatment: Treatment::Ignored, schema: "{}" }
}

/// A field of which only values are accepted that ask for nothing.
pub(crate) const fn neutral<R>(
    name: &'static str,
    schema: &'static str,
    accepts: fn(&Value) -> bool,
    accepted: &'static str,
) -> Field<R> {
    Field { name, treatment: Treatment::Refused(accepts, accepted), schema }
}

/// A field that is refused whatever its value.
pub(crate) const fn refused<R>(name: &'static str) -> Field<R> {
    neutral(name, r#"{"type": "null"}"#, |_| false, "leave it out")
}

/// A field of which only this truth value asks for nothing.
pub(crate) const fn only_false<R>(name: &'static str) -> Field<R> {
    neutral(name, r#"{"const": false}"#, |value| value == false, "send false")
}

/// See [`only_false`].
pub(crate) const fn only_true<R>(name: &'static str) -> Field<R> {
    neutral(name, r#"{"const": true}"#, |value| value == true, "send true")
}

/// All fields of a route.
#[derive(Debug)]
pub(crate) struct Table<R: 'static> {
    /// Those of this route alone.
    pub(crate) own: &'static [Field<R>],
    /// Where the values go of the fields that every route has which generates; absent in others.
    pub(crate) generation: Option<fn(&mut R) -> &mut Generation>,
    pub(crate) required: &'static [&'static str],
    /// Of these, one must be there; `finish` sees to it.
    pub(crate) one_of_required: &'static [&'static str],
    /// What can be done only when all fields are known.
    pub(crate) finish: fn(&mut R) -> Result<(), FieldError>,
}

/// A request, and the names of those of its fields that have no effect.
#[derive(Debug)]
pub(crate) struct Parsed<R> {
    pub(crate) request: R,
    pub(crate) ignored: Ignored,
}

impl<R: Default> Table<R> {
    /// Reads a request's body.
    pub(crate) fn parse(&self, body: &[u8]) -> Result<Parsed<R>, ApiError> {
        let Value::Object(fields) = json::parse(body).map_err(ApiError::Json)? else {
            return Err(ApiError::NotAnObject);
        };
        let mut request = R::default();
        let mut ignored = Ignored::default();
        for (name, value) in &fields {
            let place = Place::field(name, value);
            if let Some(field) = self.own.iter().find(|field| field.name == name) {
                field.take(&mut request, place, &mut ignored)?;
            } else if let (Some(part), Some(field)) = (self.generation, shared(name)) {
                field.take(part(&mut request), place, &mut ignored)?;
            } else {
                return Err(place.unknown().into());
            }
        }
        for name in self.required {
            if place::required(&fields, name).is_none() {
                return Err(Place::field(name, &Value::Null).missing().into());
            }
        }
        (self.finish)(&mut request)?;
        Ok(Parsed { request, ignored })
    }
}

fn shared(name: &str) -> Option<&'static Field<Generation>> {
    GENERATION_FIELDS.iter().find(|field| field.name == name)
}

impl<R> Field<R> {
    fn take(&self, request: &mut R, place: Place<'_>, ignored: &mut Ignored) -> Result<(), FieldError> {
        if place.value.is_null() {
            return Ok(());
        }
        match &self.treatment {
            Treatment::Honoured(read) => read(request, place),
            Treatment::Ignored => {
                ignored.0.push(self.name);
                Ok(())
            }
            Treatment::Refused(accepts, _) if accepts(place.value) => Ok(()),
            Treatment::Refused(_, accepted) => Err(place.unsupported(accepted)),
        }
    }
}

/// Names of fields that had no effect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ignored(Vec<&'static str>);

impl Ignored {
    /// Says so in an answer.
    pub(crate) fn name_in(&self, response: &mut Response) {
        if !self.0.is_empty() {
            let names =
                HeaderValue::from_str(&self.0.join(", ")).expect("names of fields are a header's value");
            response.headers_mut().insert(IGNORED_HEADER, names);
        }
    }
}
