//! The fields of a chat request: which are honoured, which are accepted, which are refused.
//! What this table lacks is unknown, and refused too.

use nabi_wire::engine::{STOP_STRING_BYTES_MAX, STOP_STRINGS_MAX};
use serde_json::Value;

use super::messages::{self, MESSAGES_MAX};
use super::place::Place;
use super::request::ChatRequest;
use crate::error::FieldError;

/// One field.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) treatment: Treatment,
}

/// What happens to a field that is present and not null.
#[derive(Debug)]
pub(crate) enum Treatment {
    /// It says what the answer must be.
    Honoured(fn(&mut ChatRequest, Place<'_>) -> Result<(), FieldError>),
    /// Any value is accepted and changes nothing.
    Ignored,
    /// Only values that ask for nothing are accepted.
    Neutral(fn(&Value) -> bool, &'static str),
}

const fn honoured(
    name: &'static str,
    read: fn(&mut ChatRequest, Place<'_>) -> Result<(), FieldError>,
) -> Field {
    Field { name, treatment: Treatment::Honoured(read) }
}

const fn ignored(name: &'static str) -> Field {
    Field { name, treatment: Treatment::Ignored }
}

const fn neutral(name: &'static str, accepts: fn(&Value) -> bool, accepted: &'static str) -> Field {
    Field { name, treatment: Treatment::Neutral(accepts, accepted) }
}

const fn refused(name: &'static str) -> Field {
    neutral(name, |_| false, "leave it out")
}

/// Every field of OpenAI's chat completions, and the two that local engines add.
pub(crate) const FIELDS: &[Field] = &[
    honoured("model", |request, place| {
        request.model = place.string()?.to_owned();
        Ok(())
    }),
    honoured("messages", |request, place| {
        request.messages =
            place.items(MESSAGES_MAX)?.map(|message| messages::read(&message)).collect::<Result<_, _>>()?;
        if request.messages.is_empty() {
            Err(place.invalid("must hold at least one message"))
        } else {
            Ok(())
        }
    }),
    honoured("stream", |request, place| {
        request.stream = place.boolean()?;
        Ok(())
    }),
    honoured("stream_options", stream_options),
    honoured("temperature", |request, place| {
        request.sampling.temperature = place.number(|t| (0.0..=2.0).contains(&t), "a number from 0 to 2")?;
        Ok(())
    }),
    honoured("top_p", |request, place| {
        request.sampling.top_p = place.number(|p| p > 0.0 && p <= 1.0, "a number above 0, at most 1")?;
        Ok(())
    }),
    honoured("top_k", |request, place| {
        request.sampling.top_k = natural(&place, 0)?;
        Ok(())
    }),
    honoured("min_p", |request, place| {
        request.sampling.min_p = place.number(|p| (0.0..=1.0).contains(&p), "a number from 0 to 1")?;
        Ok(())
    }),
    honoured("seed", |request, place| {
        request.sampling.seed = Some(place.integer(i64::MIN, i64::MAX)?.cast_unsigned());
        Ok(())
    }),
    honoured("stop", stop),
    honoured("max_completion_tokens", tokens_max),
    honoured("max_tokens", tokens_max),
    ignored("user"),
    ignored("metadata"),
    ignored("safety_identifier"),
    ignored("prompt_cache_key"),
    ignored("prompt_cache_retention"),
    neutral("n", |value| value == 1, "one answer is given to each request: send 1"),
    neutral("store", |value| value == false, "nothing is stored: send false"),
    neutral("service_tier", |value| value == "auto" || value == "default", "send auto or default"),
    neutral("frequency_penalty", is_zero, "send 0"),
    neutral("presence_penalty", is_zero, "send 0"),
    neutral("logit_bias", is_empty, "send {}"),
    neutral("logprobs", |value| value == false, "send false"),
    neutral("top_logprobs", is_zero, "send 0"),
    neutral(
        "response_format",
        |value| value["type"] == "text" && fields(value) == 1,
        "send {\"type\":\"text\"}",
    ),
    neutral("modalities", |value| value.as_array().is_some_and(|all| all == &["text"]), "send [\"text\"]"),
    neutral("verbosity", |value| value == "medium", "send medium"),
    neutral("tools", is_empty, "send []"),
    neutral("tool_choice", |value| value == "none" || value == "auto", "send none or auto"),
    // Without tools there is nothing to call in parallel.
    neutral("parallel_tool_calls", Value::is_boolean, "send true or false"),
    neutral("functions", is_empty, "send []"),
    neutral("function_call", |value| value == "none" || value == "auto", "send none or auto"),
    refused("audio"),
    refused("prediction"),
    refused("reasoning_effort"),
    refused("web_search_options"),
];

fn is_zero(value: &Value) -> bool {
    value.as_f64() == Some(0.0)
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || (value.is_object() && fields(value) == 0)
}

fn fields(value: &Value) -> usize {
    value.as_object().map_or(0, |fields| fields.len())
}

fn natural(place: &Place<'_>, min: u32) -> Result<u32, FieldError> {
    let integer = place.integer(i64::from(min), i64::from(u32::MAX))?;
    Ok(u32::try_from(integer).expect("within the range that was asked for"))
}

/// `max_tokens` is the older name; who sends both gets the smaller.
fn tokens_max(request: &mut ChatRequest, place: Place<'_>) -> Result<(), FieldError> {
    let tokens = natural(&place, 1)?;
    request.tokens_max = Some(request.tokens_max.map_or(tokens, |other| other.min(tokens)));
    Ok(())
}

fn stream_options(request: &mut ChatRequest, place: Place<'_>) -> Result<(), FieldError> {
    for (name, option) in place.fields()? {
        match name {
            "include_usage" => request.include_usage = option.boolean()?,
            "include_obfuscation" if option.value == false => {}
            "include_obfuscation" => return Err(option.unsupported("send false")),
            _ => return Err(option.unknown()),
        }
    }
    request.has_stream_options = true;
    Ok(())
}

fn stop(request: &mut ChatRequest, place: Place<'_>) -> Result<(), FieldError> {
    let read = |place: &Place<'_>| {
        let text = place.string()?;
        if text.is_empty() || text.len() > STOP_STRING_BYTES_MAX {
            return Err(place.invalid(format_args!("must have from 1 to {STOP_STRING_BYTES_MAX} bytes")));
        }
        Ok(text.to_owned())
    };
    request.stop = if place.value.is_string() {
        vec![read(&place)?]
    } else {
        place.items(STOP_STRINGS_MAX)?.map(|item| read(&item)).collect::<Result<_, _>>()?
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_in_the_table_once() {
        for (index, field) in FIELDS.iter().enumerate() {
            assert!(FIELDS[..index].iter().all(|other| other.name != field.name), "{}", field.name);
        }
    }
}
