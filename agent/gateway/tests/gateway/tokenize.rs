//! `/tokenize` and `/detokenize`.

use nabi_stub_engine::Script;
use serde_json::{Value, json};

use crate::client::Request;
use crate::gateway::Gateway;

async fn start() -> (Gateway, crate::engine::Engine) {
    let mut marked = Script::default();
    marked.card.bos = Some(1);
    Gateway::start(marked).await
}

async fn post(gateway: &Gateway, path: &str, body: Value) -> Value {
    let reply = gateway.send(Request::post(path, body)).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()
}

#[tokio::test]
async fn a_texts_tokens() {
    let (gateway, _engine) = start().await;
    for path in ["/tokenize", "/v1/tokenize"] {
        let tokens = post(&gateway, path, json!({"prompt": "one two"})).await;
        let expected =
            json!({"count": 3, "max_model_len": 4096, "tokens": [1, 101, 102], "token_strs": null});
        assert_eq!(tokens, expected);
    }
    let body = json!({"prompt": "one two", "add_special_tokens": false, "return_token_strs": true});
    let tokens = post(&gateway, "/tokenize", body).await;
    assert_eq!((&tokens["count"], &tokens["token_strs"]), (&json!(2), &json!(["one ", "two"])));
    assert_eq!(post(&gateway, "/tokenize", json!({"prompt": ""})).await["tokens"], json!([1]));
}

#[tokio::test]
async fn a_chats_tokens() {
    let (gateway, _engine) = start().await;
    let messages = json!([{"role": "user", "content": "hi"}]);
    let body = json!({"messages": messages, "return_token_strs": true});
    let tokens = post(&gateway, "/tokenize", body).await;
    let expected = ["<|im_start|>", "user\n", "hi", "<|im_end|>", "\n", "<|im_start|>", "assistant\n"];
    assert_eq!(tokens["token_strs"], json!(expected));
    let body = json!({"messages": messages, "add_generation_prompt": false});
    assert_eq!(post(&gateway, "/tokenize", body).await["count"], 5);
}

#[tokio::test]
async fn a_text_of_tokens() {
    let (gateway, _engine) = start().await;
    for path in ["/detokenize", "/v1/detokenize"] {
        assert_eq!(
            post(&gateway, path, json!({"tokens": [1, 7]})).await,
            json!({"prompt": "<|im_start|><7>"})
        );
    }
    assert_eq!(post(&gateway, "/detokenize", json!({"tokens": []})).await, json!({"prompt": ""}));
}

#[tokio::test]
async fn what_has_no_tokens_is_refused() {
    let (gateway, _engine) = start().await;
    let messages = json!([{"role": "user", "content": "hi"}]);
    for (path, body, param, code) in [
        ("/tokenize", json!({}), "prompt", "missing_required_parameter"),
        ("/tokenize", json!({"prompt": "a", "messages": messages}), "messages", "invalid_value"),
        ("/tokenize", json!({"prompt": ["a"]}), "prompt", "invalid_type"),
        (
            "/tokenize",
            json!({"messages": messages, "add_special_tokens": true}),
            "add_special_tokens",
            "invalid_value",
        ),
        ("/detokenize", json!({"tokens": [65_536]}), "tokens", "invalid_value"),
        ("/detokenize", json!({"tokens": ["a"]}), "tokens[0]", "invalid_type"),
    ] {
        let reply = gateway.send(Request::post(path, body)).await;
        let expected = (400, "invalid_request_error".into(), Some(param.into()), code.into());
        assert_eq!(reply.error(), expected);
    }
    let reply =
        gateway.send(Request::post("/tokenize", json!({"prompt": "a"})).without("authorization")).await;
    assert_eq!(reply.status, 401);
}
