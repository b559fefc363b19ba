//! `/v1/completions`.

use nabi_domain::Piece;
use nabi_stub_engine::{Script, Step};
use nabi_wire::engine::{FillIn, FinishReason};
use serde_json::{Value, json};

use crate::client::{Reply, Request};
use crate::engine::{script, text};
use crate::gateway::{Gateway, MODEL};

fn request(body: Value) -> Request {
    Request::post("/v1/completions", body)
}

fn texts(reply: &Reply) -> Vec<String> {
    let body = reply.json();
    let choices = body["choices"].as_array().unwrap_or_else(|| panic!("no choices: {body}"));
    for (index, choice) in choices.iter().enumerate() {
        assert_eq!(choice["index"], index);
    }
    choices.iter().map(|choice| choice["text"].as_str().expect("text").to_owned()).collect()
}

#[tokio::test]
async fn a_text_goes_on() {
    let (gateway, mut engine) =
        Gateway::start(script([("Once", vec![text(" upon"), text(" a time")])])).await;
    let reply = gateway.send(request(json!({"prompt": "Once"}))).await;
    let body = reply.json();
    let fields: Vec<_> = body.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(fields, ["id", "object", "created", "model", "system_fingerprint", "choices", "usage"]);
    assert_eq!((&body["object"], &body["model"]), (&json!("text_completion"), &json!(MODEL)));
    let choice = json!({"index": 0, "text": " upon a time", "logprobs": null, "finish_reason": "stop"});
    assert_eq!(body["choices"], json!([choice]));
    let generate = engine.generate().await;
    assert_eq!((generate.pieces, generate.tokens_max), (vec![Piece::Text("Once".into())], Some(16)));
}

#[tokio::test]
async fn many_prompts_keep_their_order_and_each_has_its_choices() {
    let (gateway, _engine) = Gateway::start(Script::default()).await;
    let reply = gateway.send(request(json!({"prompt": ["a b", "c"], "n": 2}))).await;
    assert_eq!(texts(&reply), ["a b", "a b", "c", "c"]);
    assert_eq!(reply.json()["usage"]["completion_tokens"], 6);
    assert_eq!(reply.json()["usage"]["prompt_tokens"], 3);

    let events =
        gateway.send(request(json!({"prompt": ["a b", "c"], "n": 2, "stream": true}))).await.events();
    let mut streamed = vec![String::new(); 4];
    for choice in events.iter().map(|event| &event["choices"][0]) {
        let index = usize::try_from(choice["index"].as_u64().expect("an index")).expect("small");
        streamed[index].push_str(choice["text"].as_str().expect("text"));
    }
    assert_eq!(streamed, ["a b", "a b", "c", "c"]);
}

#[tokio::test]
async fn prompts_may_be_tokens() {
    let (gateway, mut engine) = Gateway::start(script([("", vec![text("!")])])).await;
    assert_eq!(texts(&gateway.send(request(json!({"prompt": [5, 1]}))).await), ["!"]);
    assert_eq!(engine.generate().await.pieces, [Piece::Token(5), Piece::Token(1)]);
    assert_eq!(texts(&gateway.send(request(json!({"prompt": [[5], [6]]}))).await), ["!", "!"]);
    let reply = gateway.send(request(json!({"prompt": [5, 65_536]}))).await;
    let kind = "invalid_request_error".to_owned();
    assert_eq!(reply.error(), (400, kind, Some("prompt".into()), "invalid_value".into()));
}

#[tokio::test]
async fn texts_begin_with_the_models_token_unless_it_is_not_wanted() {
    let mut marked = Script::default();
    marked.card.bos = Some(1);
    let (gateway, mut engine) = Gateway::start(marked).await;
    gateway.send(request(json!({"prompt": "a"}))).await;
    assert_eq!(engine.generate().await.pieces, [Piece::Token(1), Piece::Text("a".into())]);
    gateway.send(request(json!({"prompt": "a", "add_special_tokens": false}))).await;
    assert_eq!(engine.generate().await.pieces, [Piece::Text("a".into())]);

    // The token is told with the others, but is no part of the text.
    let fields = json!({"prompt": "a b", "echo": true, "logprobs": 0, "max_tokens": 0});
    let body = gateway.send(request(fields)).await.json();
    assert_eq!(body["choices"][0]["text"], "a b");
    let logprobs = &body["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["<|im_start|>", "a ", "b"]));
    assert_eq!(logprobs["text_offset"], json!([0, 0, 2]));
}

/// As evaluation tools ask and read.
#[tokio::test]
async fn the_prompt_comes_back_with_its_log_probabilities() {
    let (gateway, mut engine) = Gateway::start(script([("세계", vec![text("!")])])).await;
    let fields =
        json!({"prompt": "안녕 세계", "echo": true, "logprobs": 1, "max_tokens": 1, "temperature": 0});
    let body = gateway.send(request(fields)).await.json();
    let choice = &body["choices"][0];
    assert_eq!(choice["text"], "안녕 세계!");
    assert_eq!(
        choice["logprobs"],
        json!({
            "tokens": ["안녕 ", "세계", "!"],
            "token_logprobs": [null, -0.5, -0.5],
            "top_logprobs": [null, {"세계": -0.5}, {"!": -0.5}],
            "text_offset": [0, 3, 5],
        })
    );
    let generate = engine.generate().await;
    assert_eq!((generate.logprobs, generate.prompt_logprobs), (Some(1), Some(1)));

    let fields = json!({"prompt": [7, 1], "echo": true, "logprobs": 2, "max_tokens": 0});
    let choice = gateway.send(request(fields)).await.json()["choices"][0].clone();
    assert_eq!((&choice["text"], &choice["finish_reason"]), (&json!("<7><|im_start|>"), &json!("stop")));
    assert_eq!(choice["logprobs"]["token_logprobs"], json!([null, -0.5]));
    assert_eq!(choice["logprobs"]["top_logprobs"][1], json!({"<|im_start|>": -0.5, "other-1": -1.0}));
}

#[tokio::test]
async fn a_stream_echoes_first() {
    let (gateway, _engine) = Gateway::start(script([("Once", vec![text(" upon"), text(" a time")])])).await;
    let fields = json!({"prompt": "Once", "echo": true, "logprobs": 0, "prompt_logprobs": 1, "stream": true});
    let events = gateway.send(request(fields)).await.events();
    let choices: Vec<_> = events.iter().map(|event| &event["choices"][0]).collect();
    assert_eq!(choices[0]["text"], "Once upon");
    assert_eq!(choices[0]["logprobs"]["tokens"], json!(["Once", " upon"]));
    assert_eq!(choices[0]["prompt_logprobs"], json!([null]));
    assert_eq!(choices[1]["logprobs"]["text_offset"], json!([9]));
    assert_eq!(choices[2]["finish_reason"], "stop");
}

#[tokio::test]
async fn a_gap_is_filled_by_models_that_can() {
    let fields = json!({"prompt": "before", "suffix": "after"});
    let (gateway, _engine) = Gateway::start(Script::default()).await;
    let reply = gateway.send(request(fields.clone())).await;
    let kind = "invalid_request_error".to_owned();
    assert_eq!(reply.error(), (400, kind, Some("suffix".into()), "unsupported_parameter".into()));

    let mut filling = Script::default();
    filling.card.fill_in = Some(FillIn { prefix: 10, suffix: 11, middle: 12 });
    let (gateway, mut engine) = Gateway::start(filling).await;
    assert_eq!(gateway.send(request(fields)).await.status, 200);
    assert_eq!(engine.generate().await.pieces.len(), 5);
}

#[tokio::test]
async fn one_refused_prompt_refuses_all() {
    let steps = vec![Step::WaitMs(1), Step::Finish(FinishReason::Stop)];
    let mut small = script([("slow", steps)]);
    small.card.context_tokens = 3;
    let (gateway, _engine) = Gateway::start(small).await;
    let reply = gateway.send(request(json!({"prompt": ["slow", "1 2 3"]}))).await;
    let kind = "invalid_request_error".to_owned();
    assert_eq!(reply.error(), (400, kind, Some("prompt".into()), "context_length_exceeded".into()));
    let reply = gateway.send(request(json!({"prompt": ""}))).await;
    assert_eq!((reply.error().2, reply.error().3), (Some("prompt".into()), "prompt_empty".into()));
}

#[tokio::test]
async fn log_probabilities_of_prompts_have_a_limit() {
    let mut large = Script::default();
    large.card.context_tokens = u32::MAX;
    let (gateway, _engine) = Gateway::start(large).await;
    let prompt = "a ".repeat(50_000);
    let fields = json!({"prompt": prompt, "prompt_logprobs": 20, "max_tokens": 0});
    let reply = gateway.send(request(fields)).await;
    let kind = "invalid_request_error".to_owned();
    assert_eq!(reply.error(), (400, kind, Some("prompt_logprobs".into()), "invalid_value".into()));
    let fields = json!({"prompt": prompt, "prompt_logprobs": 1, "max_tokens": 0});
    let body = gateway.send(request(fields)).await.json();
    assert_eq!(body["choices"][0]["prompt_logprobs"].as_array().expect("a list").len(), 50_000);
}
