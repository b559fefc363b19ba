//! A chat request, read whole and checked before anything is asked of an engine. Pure.

use nabi_wire::engine::Sampling;
use serde_json::Value;

use super::fields::{FIELDS, Treatment};
use super::place::{self, Place};
use crate::error::ApiError;

/// What a caller asks for.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ChatRequest {
    pub(crate) model: String,
    /// In the form that chat templates take.
    pub(crate) messages: Vec<Value>,
    pub(crate) stream: bool,
    pub(crate) has_stream_options: bool,
    pub(crate) include_usage: bool,
    pub(crate) sampling: Sampling,
    pub(crate) stop: Vec<String>,
    pub(crate) tokens_max: Option<u32>,
}

impl ChatRequest {
    /// Reads a request's body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let body: Value = serde_json::from_slice(body).map_err(ApiError::Json)?;
        let Value::Object(fields) = &body else {
            return Err(ApiError::NotAnObject);
        };
        let mut request = Self::default();
        for (name, value) in fields {
            let place = Place::field(name, value);
            let field = FIELDS.iter().find(|field| field.name == name).ok_or_else(|| place.unknown())?;
            if value.is_null() {
                continue;
            }
            match &field.treatment {
                Treatment::Honoured(read) => read(&mut request, place)?,
                Treatment::Ignored => {}
                Treatment::Neutral(accepts, _) if accepts(value) => {}
                Treatment::Neutral(_, accepted) => return Err(place.unsupported(accepted).into()),
            }
        }
        for name in ["model", "messages"] {
            if place::required(fields, name).is_none() {
                return Err(Place::field(name, &Value::Null).missing().into());
            }
        }
        if request.has_stream_options && !request.stream {
            let options = Place::field("stream_options", &Value::Null);
            return Err(options.invalid("is allowed only when stream is true").into());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A request with these fields beside a model and a message.
    fn parse(fields: Value) -> Result<ChatRequest, ApiError> {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        for (name, value) in fields.as_object().expect("an object") {
            body[name] = value.clone();
        }
        ChatRequest::parse(body.to_string().as_bytes())
    }

    fn refusal(fields: Value) -> (String, &'static str) {
        match parse(fields.clone()) {
            Err(ApiError::Field(error)) => {
                assert!(error.message.contains(&error.param), "{}", error.message);
                (error.param, error.code)
            }
            other => panic!("{fields} gave {other:?}"),
        }
    }

    #[test]
    fn what_is_honoured_is_read() {
        let request = parse(json!({
            "stream": true, "stream_options": {"include_usage": true}, "temperature": 0.5, "top_p": 0.9,
            "top_k": 40, "min_p": 0.05, "seed": -1, "stop": ["a", "b"], "max_tokens": 9,
            "max_completion_tokens": 7,
        }))
        .expect("valid");
        let sampling =
            Sampling { temperature: 0.5, top_p: 0.9, top_k: 40, min_p: 0.05, seed: Some(u64::MAX) };
        assert_eq!(
            request,
            ChatRequest {
                model: "m".into(),
                messages: vec![json!({"role": "user", "content": "hi"})],
                stream: true,
                has_stream_options: true,
                include_usage: true,
                sampling,
                stop: vec!["a".into(), "b".into()],
                tokens_max: Some(7),
            }
        );
    }

    #[test]
    fn null_means_absent_for_each_known_field() {
        let plain = parse(json!({})).expect("valid");
        for field in FIELDS.iter().filter(|field| !matches!(field.name, "model" | "messages")) {
            assert_eq!(parse(json!({ field.name: null })).expect(field.name), plain);
        }
        for name in ["model", "messages"] {
            assert_eq!(refusal(json!({ name: null })), (name.into(), "missing_required_parameter"));
        }
    }

    #[test]
    fn values_that_ask_for_nothing_are_accepted() {
        let plain = parse(json!({})).expect("valid");
        let neutral = json!({
            "n": 1, "store": false, "service_tier": "auto", "frequency_penalty": 0, "presence_penalty": 0.0,
            "logit_bias": {}, "logprobs": false, "top_logprobs": 0, "response_format": {"type": "text"},
            "modalities": ["text"], "verbosity": "medium", "tools": [], "tool_choice": "none",
            "parallel_tool_calls": true, "functions": [], "function_call": "auto", "user": "u",
            "metadata": {"a": "b"}, "safety_identifier": "s", "prompt_cache_key": "k", "stop": [],
        });
        assert_eq!(parse(neutral).expect("valid"), plain);
    }

    #[test]
    fn known_fields_that_ask_for_more_are_refused_by_name() {
        let unsupported = json!({
            "n": 2, "store": true, "service_tier": "flex", "frequency_penalty": 0.1, "presence_penalty": -1,
            "logit_bias": {"50256": -100}, "logprobs": true, "top_logprobs": 5,
            "response_format": {"type": "json_object"}, "modalities": ["text", "audio"], "verbosity": "low",
            "tools": [{"type": "function"}], "tool_choice": "required", "parallel_tool_calls": "yes",
            "functions": [{}], "function_call": {"name": "f"}, "audio": {}, "prediction": {},
            "reasoning_effort": "high", "web_search_options": {},
        });
        for (name, value) in unsupported.as_object().expect("an object") {
            assert_eq!(refusal(json!({ name: value })), (name.clone(), "unsupported_parameter"));
        }
        assert_eq!(refusal(json!({"temprature": 1})), ("temprature".into(), "unknown_parameter"));
        assert_eq!(refusal(json!({"temprature": null})), ("temprature".into(), "unknown_parameter"));
    }

    #[test]
    fn wrong_types_and_values_are_refused_at_their_place() {
        let message = |message: Value| json!({ "messages": [{"role": "user", "content": "hi"}, message] });
        let long_stop = "x".repeat(nabi_wire::engine::STOP_STRING_BYTES_MAX + 1);
        for (fields, param, code) in [
            (json!({"model": 1}), "model", "invalid_type"),
            (json!({"messages": "hi"}), "messages", "invalid_type"),
            (json!({"messages": []}), "messages", "invalid_value"),
            (json!({"messages": [1]}), "messages[0]", "invalid_type"),
            (message(json!({"content": "x"})), "messages[1].role", "missing_required_parameter"),
            (message(json!({"role": 7, "content": "x"})), "messages[1].role", "invalid_type"),
            (message(json!({"role": "robot", "content": "x"})), "messages[1].role", "invalid_value"),
            (message(json!({"role": "user"})), "messages[1].content", "missing_required_parameter"),
            (
                message(json!({"role": "user", "content": null})),
                "messages[1].content",
                "missing_required_parameter",
            ),
            (message(json!({"role": "user", "content": 5})), "messages[1].content", "invalid_type"),
            (message(json!({"role": "user", "content": ["x"]})), "messages[1].content[0]", "invalid_type"),
            (
                message(
                    json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}),
                ),
                "messages[1].content[0].type",
                "unsupported_parameter",
            ),
            (
                message(json!({"role": "user", "content": [{"type": "text"}]})),
                "messages[1].content[0].text",
                "missing_required_parameter",
            ),
            (message(json!({"role": "user", "content": "x", "name": 1})), "messages[1].name", "invalid_type"),
            (
                message(json!({"role": "user", "content": "x", "nmae": "a"})),
                "messages[1].nmae",
                "unknown_parameter",
            ),
            (
                message(json!({"role": "tool", "content": "x"})),
                "messages[1].tool_call_id",
                "missing_required_parameter",
            ),
            (
                message(
                    json!({"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": {}}}]}),
                ),
                "messages[1].tool_calls[0].function.arguments",
                "invalid_type",
            ),
            (json!({"temperature": "hot"}), "temperature", "invalid_type"),
            (json!({"temperature": 2.1}), "temperature", "invalid_value"),
            (json!({"temperature": -0.1}), "temperature", "invalid_value"),
            (json!({"temperature": 1e300}), "temperature", "invalid_value"),
            (json!({"top_p": 0}), "top_p", "invalid_value"),
            (json!({"top_p": 1e-60}), "top_p", "invalid_value"),
            (json!({"top_p": 1.5}), "top_p", "invalid_value"),
            (json!({"top_k": -1}), "top_k", "invalid_value"),
            (json!({"top_k": 1.5}), "top_k", "invalid_type"),
            (json!({"min_p": 1.1}), "min_p", "invalid_value"),
            (json!({"seed": "x"}), "seed", "invalid_type"),
            (json!({"seed": u64::MAX}), "seed", "invalid_value"),
            (json!({"stop": 1}), "stop", "invalid_type"),
            (json!({"stop": ""}), "stop", "invalid_value"),
            (json!({"stop": ["a", ""]}), "stop[1]", "invalid_value"),
            (json!({"stop": long_stop}), "stop", "invalid_value"),
            (json!({"stop": vec!["a"; 17]}), "stop", "invalid_value"),
            (json!({"max_tokens": 0}), "max_tokens", "invalid_value"),
            (
                json!({"max_completion_tokens": u64::from(u32::MAX) + 1}),
                "max_completion_tokens",
                "invalid_value",
            ),
            (json!({"stream": "true"}), "stream", "invalid_type"),
            (json!({"stream_options": {"include_usage": true}}), "stream_options", "invalid_value"),
            (
                json!({"stream": true, "stream_options": {"usage": true}}),
                "stream_options.usage",
                "unknown_parameter",
            ),
        ] {
            assert_eq!(refusal(fields.clone()), (param.into(), code), "{fields}");
        }
    }

    #[test]
    fn messages_take_the_form_of_templates() {
        let request = parse(json!({"messages": [
            {"role": "developer", "content": "be kind", "name": null},
            {"role": "user", "name": "Ada", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null, "refusal": null, "annotations": [], "audio": null, "tool_calls":
                [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "42"},
            {"role": "assistant", "content": "done", "tool_calls": []},
        ]}))
        .expect("valid");
        assert_eq!(
            Value::from(request.messages),
            json!([
                {"role": "system", "content": "be kind"},
                {"role": "user", "content": "a\nb", "name": "Ada"},
                {"role": "assistant", "content": "", "tool_calls":
                    [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                {"role": "tool", "content": "42", "tool_call_id": "1"},
                {"role": "assistant", "content": "done"},
            ])
        );
    }

    #[test]
    fn what_is_not_a_json_object_is_refused() {
        for body in
            ["", " ", "{", "{\"a\":}", "{'a':1}", "{\"a\":1,}", "{} {}", "nul", "\"\u{1}\"", "[1e999]"]
        {
            assert!(matches!(ChatRequest::parse(body.as_bytes()), Err(ApiError::Json(_))), "{body}");
        }
        assert!(matches!(ChatRequest::parse(b"{\"a\":\"\xff\"}"), Err(ApiError::Json(_))));
        let deep = "[".repeat(100_000);
        assert!(matches!(ChatRequest::parse(deep.as_bytes()), Err(ApiError::Json(_))));
        for body in ["[]", "null", "1", "\"x\"", "true"] {
            assert!(matches!(ChatRequest::parse(body.as_bytes()), Err(ApiError::NotAnObject)), "{body}");
        }
    }
}
