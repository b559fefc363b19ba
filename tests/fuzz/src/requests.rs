//! Bodies of API requests, as the gateway reads them.

use nabi_gateway::read::{Request, Route};
use nabi_wire::engine::{
    CHOICES_MAX, GRAMMAR_BYTES_MAX, Generate, Grammar, LOGIT_BIAS_TOKENS_MAX, REPETITION_PENALTY_MAX,
    STOP_STRING_BYTES_MAX, STOP_STRINGS_MAX, TOP_LOGPROBS_MAX,
};
use serde_json::Value;

use crate::models::MODELS;

/// Bytes of an error's body: what it repeats of the request is cut.
const ERROR_BYTES_MAX: usize = 8 << 10;

/// Any bytes give a request with numbers that an engine takes, or a 400 in OpenAI's form.
fn read(route: Route, body: &[u8]) -> Option<Request> {
    match route.read(body) {
        Ok(request) => {
            if let Some(generate) = &request.generate {
                check_numbers(generate);
            }
            Some(request)
        }
        Err(refused) => {
            assert_eq!(refused.status, 400, "{}", refused.body);
            check_error(&refused.body);
            None
        }
    }
}

fn check_numbers(generate: &Generate) {
    let sampling = &generate.sampling;
    assert!((1..=CHOICES_MAX).contains(&generate.choices));
    assert!((0.0..=100.0).contains(&sampling.temperature));
    assert!(sampling.top_p > 0.0 && sampling.top_p <= 1.0);
    assert!((0.0..=1.0).contains(&sampling.min_p));
    assert!((-2.0..=2.0).contains(&sampling.presence_penalty));
    assert!((-2.0..=2.0).contains(&sampling.frequency_penalty));
    assert!(sampling.repetition_penalty > 0.0 && sampling.repetition_penalty <= REPETITION_PENALTY_MAX);
    assert!(sampling.logit_bias.len() <= LOGIT_BIAS_TOKENS_MAX);
    assert!(sampling.logit_bias.iter().all(|(_, bias)| !bias.is_nan() && *bias != f32::INFINITY));
    assert!(generate.stop.len() <= STOP_STRINGS_MAX);
    assert!(generate.stop.iter().all(|stop| (1..=STOP_STRING_BYTES_MAX).contains(&stop.len())));
    assert!(generate.logprobs.max(generate.prompt_logprobs).is_none_or(|top| top <= TOP_LOGPROBS_MAX));
    if let Some(Grammar::JsonSchema(text) | Grammar::Regex(text) | Grammar::Lark(text)) = &generate.grammar {
        assert!((1..=GRAMMAR_BYTES_MAX).contains(&text.len()));
    }
}

fn check_error(body: &str) {
    assert!(body.len() <= ERROR_BYTES_MAX, "{} bytes", body.len());
    let body: Value = serde_json::from_str(body).expect("an error is JSON");
    let error = body["error"].as_object().expect("an error has its object");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
    assert_eq!(error["type"], "invalid_request_error");
    assert!(error["param"].is_null() || error["param"].is_string());
    assert!(error["code"].is_string());
}

/// A chat that was accepted becomes a prompt, or an error, with any template.
fn render(request: &Request) {
    let Some(chat) = &request.chat else { return };
    for model in MODELS.iter() {
        // Templates may refuse.
        let _ = model.template.render(chat);
    }
}

pub(crate) fn chat(body: &[u8]) {
    if let Some(request) = read(Route::Chat, body) {
        assert!(request.chat.is_some() && request.generate.is_some());
        render(&request);
    }
}

pub(crate) fn completion(body: &[u8]) {
    read(Route::Completions, body);
}

pub(crate) fn embedding(body: &[u8]) {
    read(Route::Embeddings, body);
}

pub(crate) fn tokens(body: &[u8]) {
    read(Route::Detokenize, body);
    if let Some(request) = read(Route::Tokenize, body) {
        render(&request);
    }
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    let nested = |open: &str| format!("{{\"model\": {}", open.repeat(300)).into_bytes();
    let bad = [nested("["), nested("{\"a\":"), b"{\"model\": \"\xff\xed\xa0\x80\"}".to_vec()];
    let bad_texts = [
        r#"{"model": "m", "model": "n"}"#,
        r#"{"model": NaN}"#,
        r#"{"model": 1e999}"#,
        r#"{"model": "\ud800"}"#,
        "[]",
        "",
    ];
    let texts = texts.iter().chain(&bad_texts).map(|text| text.as_bytes().to_vec());
    texts.chain(bad).collect()
}

const SAMPLING: &str = r#""n": 2, "stream": true, "stream_options": {"include_usage": true}, "temperature": 0.5, "top_p": 0.9,
"top_k": -1, "min_p": 0.1, "presence_penalty": -2, "frequency_penalty": 2.0, "repetition_penalty": 1.1,
"logit_bias": {"0": -100, "17": 3.5}, "seed": -1, "stop": ["a", "\n"], "user": "u", "service_tier": "auto", "min_tokens": 0,
"length_penalty": 1.0, "bad_words": [], "ignore_eos": false, "skip_special_tokens": true"#;

const NUMBERS: [&str; 14] = [
    "n",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "seed",
    "max_tokens",
    "logprobs",
    "top_logprobs",
    "prompt_logprobs",
    "best_of",
];
const VALUES: [&str; 14] = [
    "0",
    "-0.0",
    "1",
    "-1",
    "1e-300",
    "0.5",
    "2.5",
    "-2.5",
    "21",
    "101",
    "4294967296",
    "1e39",
    "-1e308",
    "18446744073709551616",
];

/// This body with each number, good or bad, in each field for numbers.
fn numbers(body: &str) -> impl Iterator<Item = Vec<u8>> {
    let body = body.trim_end_matches('}');
    let with = move |name| VALUES.map(|value| format!("{body}, \"{name}\": {value}}}").into_bytes());
    NUMBERS.into_iter().flat_map(with)
}

pub(crate) fn chat_seeds() -> Vec<Vec<u8>> {
    let all = format!(
        r#"{{"model": "m", "messages": [{{"role": "system", "content": "s"}}, {{"role": "user", "content": "u", "name": "n"}},
{{"role": "user", "content": [{{"type": "text", "text": "t"}}]}},
{{"role": "assistant", "content": null, "reasoning_content": "r", "tool_calls": [{{"id": "call00001", "type": "function", "function": {{"name": "f", "arguments": "{{\"a\": 1}}"}}}}]}},
{{"role": "tool", "tool_call_id": "call00001", "content": "<|im_end|>"}}], {SAMPLING},
"max_completion_tokens": 5, "max_tokens": 6, "logprobs": true, "top_logprobs": 20, "parallel_tool_calls": false,
"tools": [{{"type": "function", "function": {{"name": "f", "description": "d", "strict": true, "parameters": {{"type": "object", "properties": {{"a": {{"type": "integer"}}}}}}}}}}],
"tool_choice": {{"type": "function", "function": {{"name": "f"}}}}, "reasoning_effort": "low", "thinking": {{"type": "enabled"}},
"enable_thinking": true, "chat_template_kwargs": {{"date_string": "today", "x": [1, {{"y": null}}]}}, "metadata": {{}}, "store": false, "modalities": ["text"]}}"#
    );
    let mut seeds = texts(&[
        &all,
        r#"{"model": "m", "messages": [{"role": "user", "content": "Hi"}]}"#,
        r#"{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "response_format": {"type": "json_object"}}"#,
        r#"{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": {"type": "object"}}}}"#,
        r#"{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "structured_outputs": {"choice": ["a", "b"]}}"#,
        r#"{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "guided_regex": "[a-z]{1,9}", "tool_choice": "auto"}"#,
        r#"{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "guided_grammar": "start: \"a\"", "stop": "x"}"#,
        r#"{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "guided_json": {"enum": [1]}, "functions": []}"#,
        r#"{"model": "m", "messages": [{"role": "user", "content": {"deep": [[[[[[[[]]]]]]]]}}], "audio": {}}"#,
    ]);
    seeds.extend(numbers(r#"{"model": "m", "messages": [{"role": "user", "content": "Hi"}]}"#));
    seeds
}

pub(crate) fn completion_seeds() -> Vec<Vec<u8>> {
    let all = format!(
        r#"{{"model": "m", "prompt": ["a", "b"], {SAMPLING}, "max_tokens": 0, "echo": true, "logprobs": 5, "prompt_logprobs": 0, "best_of": 2, "add_special_tokens": false}}"#
    );
    let mut seeds = texts(&[
        &all,
        r#"{"model": "m", "prompt": "a", "suffix": "b", "guided_choice": ["x", "y"]}"#,
        r#"{"model": "m", "prompt": [1, 2, 3], "logprobs": false, "prompt_embeds": []}"#,
        r#"{"model": "m", "prompt": [[1, 2], [4294967295]], "best_of": 1, "n": 1}"#,
    ]);
    seeds.extend(numbers(r#"{"model": "m", "prompt": "a"}"#));
    seeds
}

pub(crate) fn embedding_seeds() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"model": "m", "input": "a", "encoding_format": "base64", "dimensions": 3, "user": "u"}"#,
        r#"{"model": "m", "input": ["a", "b"], "encoding_format": "float"}"#,
        r#"{"model": "m", "input": [[1, 2], [3]], "priority": 1, "add_special_tokens": true}"#,
    ])
}

pub(crate) fn tokens_seeds() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"model": "m", "prompt": "a", "add_special_tokens": false, "return_token_strs": true}"#,
        r#"{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": false, "chat_template_kwargs": {"a": 1}}"#,
        r#"{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "tools": [{"type": "function", "function": {"name": "f"}}]}"#,
        r#"{"model": "m", "tokens": [0, 1, 4294967295]}"#,
    ])
}
