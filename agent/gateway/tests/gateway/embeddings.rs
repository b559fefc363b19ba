//! `/v1/embeddings`, and models that do only one thing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nabi_domain::Piece;
use nabi_stub_engine::Script;
use nabi_wire::engine::ToEngine;
use serde_json::{Value, json};

use crate::client::Request;
use crate::gateway::Gateway;

const INVALID: &str = "invalid_request_error";

fn embedding() -> Script {
    let mut script = Script::default();
    script.card.embedding_numbers = Some(3);
    script.card.generates = false;
    script
}

fn request(body: Value) -> Request {
    Request::post("/v1/embeddings", body)
}

fn numbers(value: &Value) -> Vec<f32> {
    let numbers = value.as_array().expect("numbers").iter();
    numbers.map(|number| number.as_f64().expect("a number") as f32).collect()
}

#[tokio::test]
async fn each_text_has_its_vector() {
    let (gateway, mut engine) = Gateway::start(embedding()).await;
    let body = gateway.send(request(json!({"input": ["one", "two words"]}))).await.json();
    let fields: Vec<_> = body.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(fields, ["object", "data", "model", "usage"]);
    assert_eq!(body["usage"], json!({"prompt_tokens": 3, "total_tokens": 3}));
    let data = body["data"].as_array().expect("data");
    for (index, item) in data.iter().enumerate() {
        assert_eq!((&item["object"], &item["index"]), (&json!("embedding"), &json!(index)));
        let length: f32 = numbers(&item["embedding"]).iter().map(|number| number * number).sum();
        assert!((length - 1.0).abs() < 1e-5, "{item}");
    }
    assert_ne!(data[0]["embedding"], data[1]["embedding"]);
    match engine.received().await {
        ToEngine::Embed(embed) => {
            let text = |text: &str| vec![Piece::Text(text.into())];
            assert_eq!(embed.inputs, [text("one"), text("two words")]);
            assert_ne!(embed.share.flow, 0);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn vectors_may_be_base64() {
    let (gateway, _engine) = Gateway::start(embedding()).await;
    let float = gateway.send(request(json!({"input": "one", "dimensions": 3}))).await.json();
    let fields = json!({"input": [[7]], "encoding_format": "base64"});
    let base64 = gateway.send(request(fields)).await.json();
    let bytes = STANDARD.decode(base64["data"][0]["embedding"].as_str().expect("text")).expect("base64");
    let decoded: Vec<f32> =
        bytes.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes"))).collect();
    // One word is one token to the stub.
    assert_eq!(decoded, numbers(&float["data"][0]["embedding"]));
}

#[tokio::test]
async fn what_cannot_be_embedded_is_refused_at_its_place() {
    let (gateway, _engine) = Gateway::start(embedding()).await;
    for (fields, param, code) in [
        (json!({}), "input", "missing_required_parameter"),
        (json!({"input": ""}), "input", "invalid_value"),
        (json!({"input": ["a", ""]}), "input", "invalid_value"),
        (json!({"input": vec!["a"; 2049]}), "input", "invalid_value"),
        (json!({"input": [65_536]}), "input", "invalid_value"),
        (json!({"input": "a", "dimensions": 2}), "dimensions", "invalid_value"),
        (json!({"input": "a", "encoding_format": "hex"}), "encoding_format", "invalid_value"),
        (json!({"input": "a", "temperature": 1}), "temperature", "unknown_parameter"),
    ] {
        let reply = gateway.send(request(fields)).await;
        assert_eq!(reply.error(), (400, INVALID.into(), Some(param.into()), code.into()));
    }
}

#[tokio::test]
async fn vectors_that_would_not_fit_one_frame_are_refused() {
    let mut script = embedding();
    script.card.embedding_numbers = Some(1_000_000);
    let (gateway, _engine) = Gateway::start(script).await;
    let reply = gateway.send(request(json!({"input": ["a", "b", "c", "d", "e"]}))).await;
    assert_eq!(reply.error(), (400, INVALID.into(), Some("input".into()), "invalid_value".into()));
    assert!(reply.message().contains("at most 4 texts"), "{}", reply.message());
}

#[tokio::test]
async fn a_model_says_what_it_does_not_do() {
    let unable = || (400, INVALID.to_owned(), Some("model".to_owned()), "model_unable".to_owned());
    let (gateway, _engine) = Gateway::start(embedding()).await;
    assert_eq!(gateway.send(Request::say("hi", json!({}))).await.error(), unable());
    let reply = gateway.send(Request::post("/v1/completions", json!({"prompt": "hi"}))).await;
    assert_eq!(reply.error(), unable());
    assert!(reply.message().contains("it gives embeddings"), "{}", reply.message());

    let (gateway, _engine) = Gateway::start(Script::default()).await;
    let reply = gateway.send(request(json!({"input": "hi"}))).await;
    assert_eq!(reply.error(), unable());
    assert!(reply.message().contains("does not give embeddings"), "{}", reply.message());
}
