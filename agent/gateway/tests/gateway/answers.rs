//! What answers may have beside one text: several choices, log-probabilities, reasoning.

use nabi_domain::{AddedToken, ChatTemplate, Piece};
use nabi_stub_engine::{Script, Step};
use nabi_wire::engine::{Delta, FinishReason, Grammar};
use serde_json::{Value, json};

use crate::client::{Reply, Request};
use crate::engine::{script, text};
use crate::gateway::Gateway;

/// Two choices that take turns, the second of which ends first.
fn two() -> Script {
    let end = Delta { choice: 1, end: Some(FinishReason::Length), ..Delta::default() };
    let steps = vec![
        text("a"),
        Step::Choice(1, "x".into()),
        text("b"),
        Step::Choice(1, "y".into()),
        Step::Delta(Box::new(end)),
        text("c"),
        Step::Cached(3),
    ];
    script([("two", steps)])
}

#[tokio::test]
async fn several_choices_are_told_apart() {
    let (gateway, mut engine) = Gateway::start(two()).await;
    let reply = gateway.send(Request::say("two", json!({"n": 2}))).await;
    let body = reply.json();
    let told: Vec<_> = body["choices"].as_array().expect("choices").iter().map(told).collect();
    assert_eq!(told, [(0, "abc".into(), "stop".into()), (1, "xy".into(), "length".into())]);
    assert_eq!(body["usage"]["completion_tokens"], 5);
    assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 3);
    assert_eq!(engine.generate().await.choices, 2);
}

fn told(choice: &Value) -> (u64, String, String) {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let index = choice["index"].as_u64().expect("an index");
    (index, text(&choice["message"]["content"]), text(&choice["finish_reason"]))
}

#[tokio::test]
async fn a_stream_of_several_choices_has_the_index_of_each() {
    let (gateway, _engine) = Gateway::start(two()).await;
    let fields = json!({"n": 2, "stream": true, "stream_options": {"include_usage": true}});
    let mut events = gateway.send(Request::say("two", fields)).await.events();
    let usage = events.pop().expect("usage");
    assert_eq!(usage["usage"]["completion_tokens"], 5);
    let choices: Vec<_> = events.iter().map(|event| &event["choices"][0]).collect();
    let mut texts = [String::new(), String::new()];
    let mut ends = [None, None];
    for choice in &choices {
        let index = usize::try_from(choice["index"].as_u64().expect("an index")).expect("small");
        assert_eq!(ends[index], None, "nothing follows the end of a choice");
        texts[index].push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        ends[index] = choice["finish_reason"].as_str();
    }
    assert_eq!((texts, ends), (["abc".into(), "xy".into()], [Some("stop"), Some("length")]));
    let roles = choices.iter().filter(|choice| choice["delta"]["role"] == "assistant").count();
    assert_eq!(roles, 2);
}

#[tokio::test]
async fn each_token_has_its_log_probability() {
    let steps = vec![text("Hel"), Step::Token(200), text("lo")];
    let (gateway, mut engine) = Gateway::start(script([("hello", steps)])).await;
    let fields = json!({"logprobs": true, "top_logprobs": 2});
    let body = gateway.send(Request::say("hello", fields)).await.json();
    let tokens = body["choices"][0]["logprobs"]["content"].as_array().expect("tokens").clone();
    let top = |token: &str, bytes: &[u8]| {
        json!([
            {"token": token, "logprob": -0.5, "bytes": bytes},
            {"token": "other-1", "logprob": -1.0, "bytes": b"other-1"},
        ])
    };
    assert_eq!(
        tokens[0],
        json!({"token": "Hel", "logprob": -0.5, "bytes": b"Hel", "top_logprobs": top("Hel", b"Hel")})
    );
    let names: Vec<_> = tokens.iter().map(|token| token["token"].as_str().expect("text")).collect();
    assert_eq!(names, ["Hel", "", "lo"]);
    assert_eq!(engine.generate().await.logprobs, Some(2));

    let fields = json!({"logprobs": true, "stream": true});
    let events = gateway.send(Request::say("hello", fields)).await.events();
    let mut streamed = Vec::new();
    for event in &events {
        let choice = &event["choices"][0];
        if let Some(tokens) = choice["logprobs"]["content"].as_array() {
            streamed.extend(tokens.iter().map(|token| token["token"].as_str().expect("text").to_owned()));
        }
    }
    assert_eq!(streamed, ["Hel", "", "lo"]);
    assert_eq!(engine.generate().await.logprobs, Some(0));
}

/// A model whose reasoning stands between two tokens, the first of which its template writes.
fn thinking(steps: Vec<Step>) -> Script {
    let mut script = script([("think", steps)]);
    let jinja = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}\
        {% if message['reasoning_content'] %}{{ '<think>' + message['reasoning_content'] + '</think>' }}{% endif %}\
        {{ message['content'] + '<|im_end|>\\n' }}{% endfor %}{{ '<|im_start|>assistant\\n<think>\\n' }}\
        {% if enable_thinking is defined and not enable_thinking %}{{ '</think>\\n' }}{% endif %}";
    script.card.template =
        Some(ChatTemplate { jinja: jinja.into(), bos_token: String::new(), eos_token: "<|im_end|>".into() });
    let added = |id, literal: &str| AddedToken { id, literal: literal.into(), special: false };
    script.card.added_tokens.extend([added(3, "<think>"), added(4, "</think>")]);
    script
}

fn message(reply: &Reply) -> Value {
    reply.json()["choices"][0]["message"].clone()
}

#[tokio::test]
async fn reasoning_has_a_field_of_its_own() {
    let steps = vec![text("2 and 2"), text(" is"), Step::Added(4), text("\n\n"), text("Four")];
    let (gateway, mut engine) = Gateway::start(thinking(steps)).await;
    let reply = gateway.send(Request::say("think", json!({}))).await;
    let expected =
        json!({"role": "assistant", "content": "Four", "refusal": null, "reasoning_content": "2 and 2 is"});
    assert_eq!(message(&reply), expected);
    let details = &reply.json()["usage"]["completion_tokens_details"];
    assert!((2..=4).contains(&details["reasoning_tokens"].as_u64().expect("a count")), "{details}");
    engine.generate().await;

    let events = gateway.send(Request::say("think", json!({"stream": true}))).await.events();
    let joined = |name: &str| -> String {
        events.iter().filter_map(|event| event["choices"][0]["delta"][name].as_str()).collect()
    };
    assert_eq!((joined("reasoning_content"), joined("content")), ("2 and 2 is".into(), "Four".into()));
    engine.generate().await;

    // It comes back in its field, and the template decides.
    let messages = json!([
        {"role": "user", "content": "think"},
        {"role": "assistant", "content": "Four", "reasoning_content": "2 and 2"},
        {"role": "user", "content": "sure?"},
    ]);
    let fields = json!({"messages": messages, "enable_thinking": false});
    assert_eq!(gateway.send(Request::say("", fields)).await.status, 200);
    let pieces = engine.generate().await.pieces;
    assert_eq!(pieces.iter().filter(|piece| **piece == Piece::Token(3)).count(), 2);
    assert_eq!(pieces.iter().filter(|piece| **piece == Piece::Token(4)).count(), 2);
}

#[tokio::test]
async fn a_form_that_is_asked_for_reaches_the_engine() {
    let (gateway, mut engine) = Gateway::start(Script::default()).await;
    let schema = json!({"type": "object"});
    for (fields, grammar) in [
        (json!({"response_format": {"type": "json_object"}}), Grammar::JsonObject),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}}),
            Grammar::JsonSchema(schema.to_string()),
        ),
        (json!({"structured_outputs": {"choice": ["a", "b"]}}), Grammar::Regex("a|b".into())),
    ] {
        assert_eq!(gateway.send(Request::say("x", fields)).await.status, 200);
        assert_eq!(engine.generate().await.grammar, Some(grammar));
    }
}

#[tokio::test]
async fn a_form_is_asked_of_what_follows_the_reasoning() {
    let (gateway, mut engine) = Gateway::start(thinking(vec![Step::Added(4), text("{}")])).await;
    let json_object = json!({"response_format": {"type": "json_object"}});
    let reply = gateway.send(Request::say("think", json_object)).await;
    assert_eq!(message(&reply)["content"], "{}");
    assert!(matches!(engine.generate().await.grammar, Some(Grammar::Lark(_))));
    let fields = json!({"response_format": {"type": "json_object"}, "enable_thinking": false});
    assert_eq!(gateway.send(Request::say("think", fields)).await.status, 200);
    assert_eq!(engine.generate().await.grammar, Some(Grammar::JsonObject));
    for fields in [json!({"guided_regex": "[ab]"}), json!({"guided_grammar": "start: /[ab]/"})] {
        assert_eq!(gateway.send(Request::say("think", fields)).await.status, 200);
        let Some(Grammar::Lark(lark)) = engine.generate().await.grammar else { panic!("no Lark") };
        assert!(lark.contains("[ab]"), "{lark}");
    }
}

#[tokio::test]
async fn fields_without_effect_are_named_in_the_answers_head() {
    let (gateway, _engine) = Gateway::start(Script::default()).await;
    for stream in [false, true] {
        let fields = json!({"user": "u", "metadata": {}, "stream": stream});
        let reply = gateway.send(Request::say("x", fields)).await;
        assert_eq!((reply.status, reply.header("x-nabi-ignored")), (200, Some("user, metadata")));
    }
    assert_eq!(gateway.send(Request::say("x", json!({}))).await.header("x-nabi-ignored"), None);
}

#[tokio::test]
async fn a_bias_for_a_token_that_does_not_exist_is_refused() {
    let (gateway, _engine) = Gateway::start(Script::default()).await;
    let reply = gateway.send(Request::say("x", json!({"logit_bias": {"65536": 1}}))).await;
    let expected = (400, "invalid_request_error".into(), Some("logit_bias".into()), "invalid_value".into());
    assert_eq!(reply.error(), expected);
    assert_eq!(gateway.send(Request::say("x", json!({"logit_bias": {"65535": 1}}))).await.status, 200);
}

#[tokio::test]
async fn a_stream_gets_credit_as_its_client_reads() {
    let mut steps = vec![text("word "); 2000];
    steps.push(Step::Finish(FinishReason::Stop));
    let (gateway, mut engine) = Gateway::start(script([("long", steps)])).await;
    let reply = gateway.send(Request::say("long", json!({"stream": true}))).await;
    assert_eq!(reply.events().len(), 2002);
    assert_eq!(engine.generate().await.credit_tokens, 256);
    gateway.send(Request::say("long", json!({}))).await;
}
