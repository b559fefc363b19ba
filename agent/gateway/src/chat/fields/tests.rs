//! What callers may ask for.

use nabi_wire::engine::{Grammar, Sampling};
use serde_json::json;

use super::*;
use crate::error::{ApiError, Code};
use crate::request::Treatment;
use crate::request::generation::GENERATION_FIELDS;

/// A request with these fields beside a model and a message.
fn parse(fields: Value) -> Result<ChatRequest, ApiError> {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    for (name, value) in fields.as_object().expect("an object") {
        body[name] = value.clone();
    }
    Ok(TABLE.parse(body.to_string().as_bytes())?.request)
}

fn refusal(fields: Value) -> (String, Code) {
    match parse(fields.clone()) {
        Err(ApiError::Field(error)) => {
            assert!(error.message.contains(&error.param), "{}", error.message);
            (error.param, error.code)
        }
        other => panic!("{fields} gave {other:?}"),
    }
}

/// What differs between requests.
fn described(request: &ChatRequest) -> String {
    format!("{request:?}")
}

#[test]
fn what_is_honoured_is_read() {
    let request = parse(json!({
        "stream": true, "stream_options": {"include_usage": true}, "temperature": 0.5, "top_p": 0.9,
        "top_k": 40, "min_p": 0.05, "seed": -1, "stop": ["a", "b"], "max_tokens": 9,
        "max_completion_tokens": 7, "n": 3, "presence_penalty": -0.5, "frequency_penalty": 1.5,
        "repetition_penalty": 1.25, "logit_bias": {"7": -100, "8": 2.5}, "logprobs": true, "top_logprobs": 4,
        "guided_regex": "[ab]+", "parallel_tool_calls": false,
    }))
    .expect("valid");
    let sampling = Sampling {
        temperature: 0.5,
        top_p: 0.9,
        top_k: 40,
        min_p: 0.05,
        presence_penalty: -0.5,
        frequency_penalty: 1.5,
        repetition_penalty: 1.25,
        logit_bias: vec![(7, f32::NEG_INFINITY), (8, 2.5)],
        seed: Some(u64::MAX),
    };
    let expected = Generation {
        model: "m".into(),
        stream: true,
        has_stream_options: true,
        include_usage: true,
        choices: 3,
        sampling,
        stop: vec!["a".into(), "b".into()],
        tokens_max: Some(7),
        grammar: Some((Grammar::Regex("[ab]+".into()), "guided_regex")),
    };
    assert_eq!(request.generation, expected);
    assert_eq!(request.chat.messages, [json!({"role": "user", "content": "hi"})]);
    assert_eq!((request.has_logprobs, request.top_logprobs, request.is_parallel), (true, Some(4), false));
}

fn all_fields() -> impl Iterator<Item = (&'static str, bool)> {
    let own = FIELDS.iter().map(|field| (field.name, matches!(field.treatment, Treatment::Ignored)));
    let shared = GENERATION_FIELDS.iter();
    own.chain(shared.map(|field| (field.name, matches!(field.treatment, Treatment::Ignored))))
}

#[test]
fn null_means_absent_for_each_known_field() {
    let plain = described(&parse(json!({})).expect("valid"));
    for (name, _) in all_fields().filter(|(name, _)| !matches!(*name, "model" | "messages")) {
        assert_eq!(described(&parse(json!({ name: null })).expect(name)), plain);
    }
    for name in ["model", "messages"] {
        assert_eq!(refusal(json!({ name: null })), (name.into(), Code::MissingParameter));
    }
}

#[test]
fn what_cannot_change_the_answer_is_accepted_and_named() {
    let plain = described(&parse(json!({})).expect("valid"));
    for (name, is_ignored) in all_fields() {
        if is_ignored {
            let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
            body[name] = json!({"any": ["thing"]});
            let parsed = TABLE.parse(body.to_string().as_bytes()).expect(name);
            assert_eq!(described(&parsed.request), plain);
            let mut response = axum::response::Response::default();
            parsed.ignored.name_in(&mut response);
            assert_eq!(response.headers().get("x-nabi-ignored").expect("named"), name);
        }
    }
}

#[test]
fn values_that_ask_for_nothing_are_accepted() {
    let plain = described(&parse(json!({})).expect("valid"));
    let neutral = json!({
        "n": 1, "store": false, "frequency_penalty": 0, "presence_penalty": 0.0, "repetition_penalty": 1,
        "logit_bias": {}, "logprobs": false, "response_format": {"type": "text"}, "best_of": 1,
        "modalities": ["text"], "verbosity": "medium", "tools": [], "parallel_tool_calls": true,
        "functions": [], "function_call": "auto", "stop": [], "top_k": -1.0, "ignore_eos": false, "min_tokens": 0,
        "skip_special_tokens": true, "add_generation_prompt": true, "chat_template_kwargs": {}, "echo": false,
    });
    assert_eq!(described(&parse(neutral).expect("valid")), plain);
}

#[test]
fn known_fields_that_ask_for_more_are_refused_by_name() {
    let unsupported = json!({
        "store": true, "modalities": ["text", "audio"], "verbosity": "low", "functions": [{}],
        "function_call": {"name": "f"}, "audio": {}, "prediction": {}, "web_search_options": {}, "best_of": 2,
        "ignore_eos": true, "min_tokens": 3, "prompt_logprobs": 1, "chat_template": "{{ messages }}",
        "stop_token_ids": [1], "skip_special_tokens": false, "continue_final_message": true,
    });
    for (name, value) in unsupported.as_object().expect("an object") {
        assert_eq!(refusal(json!({ name: value })), (name.clone(), Code::UnsupportedParameter));
    }
    assert_eq!(refusal(json!({"temprature": 1})), ("temprature".into(), Code::UnknownParameter));
    assert_eq!(refusal(json!({"temprature": null})), ("temprature".into(), Code::UnknownParameter));
}

#[test]
fn whether_the_model_thinks_is_said_in_several_ways() {
    let variables = |fields| Value::Object(parse(fields).expect("valid").chat.variables);
    assert_eq!(variables(json!({})), json!({}));
    for (fields, expected) in [
        (json!({"enable_thinking": false}), json!({"enable_thinking": false, "thinking": false})),
        (json!({"thinking": {"type": "enabled"}}), json!({"enable_thinking": true, "thinking": true})),
        (json!({"thinking": {"type": "disabled"}}), json!({"enable_thinking": false, "thinking": false})),
        (
            json!({"reasoning_effort": "high"}),
            json!({"enable_thinking": true, "thinking": true, "reasoning_effort": "high"}),
        ),
        (
            json!({"reasoning_effort": "none", "chat_template_kwargs": {"thinking": true, "x": 1}}),
            json!({"thinking": true, "x": 1, "enable_thinking": false, "reasoning_effort": "none"}),
        ),
        (
            json!({"enable_thinking": false, "reasoning_effort": "low"}),
            json!({"enable_thinking": false, "thinking": false, "reasoning_effort": "low"}),
        ),
    ] {
        assert_eq!(variables(fields.clone()), expected, "{fields}");
    }
}

#[test]
fn tools_are_checked() {
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {}}});
    let request = parse(json!({"tools": [tool("a"), tool("b")], "tool_choice": "required"})).expect("valid");
    assert_eq!(request.chat.tools, Some(json!([tool("a"), tool("b")])));
    assert_eq!(request.tool_choice, Some(ToolChoice::Required));
    let named = json!({"type": "function", "function": {"name": "a"}});
    let request = parse(json!({"tools": [tool("a")], "tool_choice": named})).expect("valid");
    assert_eq!(request.tool_choice, Some(ToolChoice::Named("a".into())));
    for (fields, param, code) in [
        (json!({"tools": {}}), "tools", Code::InvalidType),
        (json!({"tools": [{"type": "web"}]}), "tools[0].type", Code::UnsupportedParameter),
        (json!({"tools": [{"type": "function"}]}), "tools[0].function", Code::MissingParameter),
        (json!({"tools": [tool("a b")]}), "tools[0].function.name", Code::InvalidValue),
        (json!({"tools": [tool("a"), tool("a")]}), "tools[1]", Code::InvalidValue),
        (
            json!({"tools": [{"type": "function", "function": {"name": "a", "parameters": "x"}}]}),
            "tools[0].function.parameters",
            Code::InvalidType,
        ),
        (json!({"tool_choice": "required"}), "tool_choice", Code::InvalidValue),
        (json!({"tool_choice": "sometimes"}), "tool_choice", Code::InvalidValue),
        (json!({"tool_choice": named, "tools": [tool("b")]}), "tool_choice", Code::InvalidValue),
    ] {
        assert_eq!(refusal(fields.clone()), (param.into(), code), "{fields}");
    }
}

#[test]
fn wrong_types_and_values_are_refused_at_their_place() {
    let message = |message: Value| json!({ "messages": [{"role": "user", "content": "hi"}, message] });
    let long_stop = "x".repeat(nabi_wire::engine::STOP_STRING_BYTES_MAX + 1);
    for (fields, param, code) in [
        (json!({"model": 1}), "model", Code::InvalidType),
        (json!({"messages": "hi"}), "messages", Code::InvalidType),
        (json!({"messages": []}), "messages", Code::InvalidValue),
        (json!({"messages": [1]}), "messages[0]", Code::InvalidType),
        (message(json!({"content": "x"})), "messages[1].role", Code::MissingParameter),
        (message(json!({"role": 7, "content": "x"})), "messages[1].role", Code::InvalidType),
        (message(json!({"role": "robot", "content": "x"})), "messages[1].role", Code::InvalidValue),
        (message(json!({"role": "user"})), "messages[1].content", Code::MissingParameter),
        (message(json!({"role": "user", "content": null})), "messages[1].content", Code::MissingParameter),
        (message(json!({"role": "user", "content": 5})), "messages[1].content", Code::InvalidType),
        (message(json!({"role": "user", "content": ["x"]})), "messages[1].content[0]", Code::InvalidType),
        (
            message(json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]})),
            "messages[1].content[0].type",
            Code::UnsupportedParameter,
        ),
        (
            message(json!({"role": "user", "content": [{"type": "text"}]})),
            "messages[1].content[0].text",
            Code::MissingParameter,
        ),
        (message(json!({"role": "user", "content": "x", "name": 1})), "messages[1].name", Code::InvalidType),
        (
            message(json!({"role": "user", "content": "x", "nmae": "a"})),
            "messages[1].nmae",
            Code::UnknownParameter,
        ),
        (
            message(json!({"role": "tool", "content": "x"})),
            "messages[1].tool_call_id",
            Code::MissingParameter,
        ),
        (
            message(
                json!({"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": {}}}]}),
            ),
            "messages[1].tool_calls[0].function.arguments",
            Code::InvalidType,
        ),
        (json!({"temperature": "hot"}), "temperature", Code::InvalidType),
        (json!({"temperature": 2.1}), "temperature", Code::InvalidValue),
        (json!({"temperature": -0.1}), "temperature", Code::InvalidValue),
        (json!({"temperature": 1e300}), "temperature", Code::InvalidValue),
        (json!({"top_p": 0}), "top_p", Code::InvalidValue),
        (json!({"top_p": 1e-60}), "top_p", Code::InvalidValue),
        (json!({"top_p": 1.5}), "top_p", Code::InvalidValue),
        (json!({"top_k": -2}), "top_k", Code::InvalidValue),
        (json!({"top_k": 1e30}), "top_k", Code::InvalidValue),
        (json!({"top_k": 1.5}), "top_k", Code::InvalidType),
        (json!({"min_p": 1.1}), "min_p", Code::InvalidValue),
        (json!({"n": 0}), "n", Code::InvalidValue),
        (json!({"n": 17}), "n", Code::InvalidValue),
        (json!({"presence_penalty": 2.5}), "presence_penalty", Code::InvalidValue),
        (json!({"frequency_penalty": "x"}), "frequency_penalty", Code::InvalidType),
        (json!({"repetition_penalty": 0}), "repetition_penalty", Code::InvalidValue),
        (json!({"logit_bias": {"7": 101}}), "logit_bias.7", Code::InvalidValue),
        (json!({"logit_bias": {"+7": 1}}), "logit_bias.+7", Code::InvalidValue),
        (json!({"logit_bias": [1]}), "logit_bias", Code::InvalidType),
        (json!({"logprobs": 3}), "logprobs", Code::InvalidType),
        (json!({"top_logprobs": 3}), "top_logprobs", Code::InvalidValue),
        (json!({"logprobs": true, "top_logprobs": 21}), "top_logprobs", Code::InvalidValue),
        (json!({"reasoning_effort": "extreme"}), "reasoning_effort", Code::InvalidValue),
        (json!({"thinking": {"type": "on"}}), "thinking.type", Code::InvalidValue),
        (
            json!({"chat_template_kwargs": {"tools": []}}),
            "chat_template_kwargs.tools",
            Code::UnsupportedParameter,
        ),
        (json!({"seed": "x"}), "seed", Code::InvalidType),
        (json!({"seed": u64::MAX}), "seed", Code::InvalidValue),
        (json!({"stop": 1}), "stop", Code::InvalidType),
        (json!({"stop": ""}), "stop", Code::InvalidValue),
        (json!({"stop": ["a", ""]}), "stop[1]", Code::InvalidValue),
        (json!({"stop": long_stop}), "stop", Code::InvalidValue),
        (json!({"stop": vec!["a"; 17]}), "stop", Code::InvalidValue),
        (json!({"max_tokens": 0}), "max_tokens", Code::InvalidValue),
        (
            json!({"max_completion_tokens": u64::from(u32::MAX) + 1}),
            "max_completion_tokens",
            Code::InvalidValue,
        ),
        (json!({"stream": "true"}), "stream", Code::InvalidType),
        (json!({"stream_options": {"include_usage": true}}), "stream_options", Code::InvalidValue),
        (
            json!({"stream": true, "stream_options": {"usage": true}}),
            "stream_options.usage",
            Code::UnknownParameter,
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
            [{"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "42"},
        {"role": "assistant", "content": "done", "reasoning_content": "hm", "tool_calls": []},
    ]}))
    .expect("valid");
    assert_eq!(
        Value::from(request.chat.messages),
        json!([
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": "a\nb", "name": "Ada"},
            {"role": "assistant", "content": "", "tool_calls":
                [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "content": "42", "tool_call_id": "1"},
            {"role": "assistant", "content": "done", "reasoning_content": "hm"},
        ])
    );
}

#[test]
fn what_is_not_a_json_object_is_refused() {
    for body in ["", " ", "{", "{\"a\":}", "{'a':1}", "{\"a\":1,}", "{} {}", "nul", "\"\u{1}\"", "[1e999]"] {
        assert!(matches!(TABLE.parse(body.as_bytes()), Err(ApiError::Json(_))), "{body}");
    }
    assert!(matches!(TABLE.parse(b"{\"a\":\"\xff\"}"), Err(ApiError::Json(_))));
    let deep = "[".repeat(100_000);
    assert!(matches!(TABLE.parse(deep.as_bytes()), Err(ApiError::Json(_))));
    for body in ["[]", "null", "1", "\"x\"", "true"] {
        assert!(matches!(TABLE.parse(body.as_bytes()), Err(ApiError::NotAnObject)), "{body}");
    }
}
