//! Requests that must be refused, each with its own error; the next request works.

use nabi_domain::ChatTemplate;
use nabi_stub_engine::{Script, Step, card};
use nabi_wire::engine::{FinishReason, Refusal};
use rustls::version::TLS13;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Request, handshake};
use crate::engine::script;
use crate::gateway::{Gateway, folder, model};
use crate::within_deadline;

const INVALID: &str = "invalid_request_error";

#[tokio::test]
async fn without_a_valid_key_nothing_is_served() {
    let (gateway, _engine) = Gateway::start(Script::default()).await;
    let unauthorized = (401, "authentication_error".into(), None, "invalid_api_key".into());
    for path in ["/v1/models", "/v1/models/stub"] {
        let reply = gateway.send(Request::get(path).without("authorization")).await;
        assert_eq!(reply.error(), unauthorized, "{path}");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    }
    for header in ["Bearer wrong", "Bearer ", "Basic nabi-test-key", "nabi-test-key", "Bearer nabi-test-ke"] {
        let request = Request::say("hi", json!({})).header("authorization", header);
        assert_eq!(gateway.send(request).await.error(), unauthorized, "{header}");
    }
    assert_eq!(gateway.send(Request::say("hi", json!({}))).await.status, 200);
}

#[tokio::test]
async fn what_is_not_served_says_so() {
    let (gateway, _engine) = Gateway::start(Script::default()).await;
    for path in
        ["/", "/v1", "/v1/chat", "/v1/completion", "/v1/models/", "/v1/models/a/b", "/admin", "/v1//models"]
    {
        let reply = gateway.send(Request::get(path)).await;
        assert_eq!(reply.error(), (404, INVALID.into(), None, "unknown_url".into()), "{path}");
        assert!(reply.header("x-request-id").is_some());
    }
    for (method, path, allowed) in [
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/chat/completions", "POST"),
        ("POST", "/v1/models", "GET,HEAD"),
        ("DELETE", "/v1/models/stub", "GET,HEAD"),
        ("PUT", "/healthz", "GET,HEAD"),
        ("BREW", "/readyz", "GET,HEAD"),
    ] {
        let reply = gateway.send(Request::new(method, path)).await;
        let expected = (405, INVALID.into(), None, "method_not_allowed".into());
        assert_eq!(reply.error(), expected, "{method} {path}");
        assert_eq!(reply.header("allow"), Some(allowed), "{method} {path}");
    }
}

#[tokio::test]
async fn json_that_is_none_is_refused_with_its_position() {
    let (gateway, _engine) = Gateway::start(Script::default()).await;
    let mut connection = gateway.connect().await;
    for (body, code) in [
        ("", "invalid_json"),
        ("{", "invalid_json"),
        ("{\"model\": \"stub\",}", "invalid_json"),
        ("{\"model\": 'stub'}", "invalid_json"),
        ("{\"model\": \"\\ud800\"}", "invalid_json"),
        ("{} x", "invalid_json"),
        ("[1e999]", "invalid_json"),
        ("{\"model\": \"stub\", \"model\": \"stub\"}", "invalid_json"),
        ("{\"temperature\": NaN}", "invalid_json"),
        ("{\"temperature\": -Infinity}", "invalid_json"),
        ("[]", "invalid_body"),
        ("null", "invalid_body"),
        ("\"hi\"", "invalid_body"),
    ] {
        let reply = connection.send(Request::chat(body)).await.whole().await;
        assert_eq!(reply.error(), (400, INVALID.into(), None, code.into()), "{body}");
        assert_eq!(reply.message().contains("line 1 column"), code == "invalid_json", "{}", reply.message());
    }
    let reply = connection.send(Request::chat(&b"{\"model\":\"\xff\"}"[..])).await.whole().await;
    assert_eq!(reply.error().3, "invalid_json");
    let deep = "[".repeat(1 << 20);
    assert_eq!(connection.send(Request::chat(deep)).await.whole().await.error().3, "invalid_json");
    assert_eq!(connection.send(Request::say("hi", json!({}))).await.status(), 200);
}

#[tokio::test]
async fn a_wrong_field_is_named() {
    let (gateway, _engine) = Gateway::start(Script::default()).await;
    for (fields, param, code) in [
        (json!({"temperature": 3}), "temperature", "invalid_value"),
        (json!({"messages": [{"role": "user", "content": 1}]}), "messages[0].content", "invalid_type"),
        (json!({"messages": null}), "messages", "missing_required_parameter"),
        (json!({"n": 17}), "n", "invalid_value"),
        (json!({"audio": {}}), "audio", "unsupported_parameter"),
        (json!({"colour": "red"}), "colour", "unknown_parameter"),
    ] {
        let reply = gateway.send(Request::say("hi", fields)).await;
        assert_eq!(reply.error(), (400, INVALID.into(), Some(param.into()), code.into()));
        assert!(reply.message().contains(param), "{}", reply.message());
    }
    let range = gateway.send(Request::say("hi", json!({"temperature": 3}))).await;
    assert!(range.message().contains("from 0 to 2"), "{}", range.message());
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whole() {
    let (gateway, _engine) = Gateway::start(Script::default()).await;
    let limit = 8 << 20;
    let mut connection = gateway.connect().await;
    let reply = connection.send(Request::chat(vec![b' '; limit + 1])).await.whole().await;
    assert_eq!(reply.error(), (413, INVALID.into(), None, "request_too_large".into()));
    let reply = connection.send(Request::chat(vec![b' '; limit])).await.whole().await;
    assert_eq!(reply.error().3, "invalid_json");
}

#[tokio::test]
async fn a_large_prompt_that_fits_is_answered() {
    let mut large = Script::default();
    large.card.context_tokens = u32::MAX;
    let (gateway, mut engine) = Gateway::start(large).await;
    let content = "a ".repeat(1 << 20);
    let reply = gateway.send(Request::say(&content, json!({"max_tokens": 1}))).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let generate = engine.generate().await;
    assert!(crate::engine::texts(&generate.pieces).iter().any(|text| text.contains(&content)));
}

#[tokio::test]
async fn headers_over_the_limits_are_refused() {
    let (gateway, _engine) = Gateway::start(Script::default()).await;
    let many = "a: b\r\n".repeat(101);
    assert_eq!(raw(&gateway, &many).await.expect("all was read, so the answer arrives"), "HTTP/1.1 431");
    // What is beyond the limit is not read, so that the answer may be lost with the connection.
    let large = format!("large: {}\r\n", "x".repeat(256 << 10));
    if let Ok(status) = raw(&gateway, &large).await {
        assert_eq!(status, "HTTP/1.1 431");
    }
    assert_eq!(raw(&gateway, "a: b\r\n").await.expect("an answer"), "HTTP/1.1 200");
}

/// The beginning of the answer to a request with these headers.
async fn raw(gateway: &Gateway, headers: &str) -> std::io::Result<String> {
    let client = gateway.authority.client(&[&TLS13]);
    let mut stream = handshake(gateway.address, client, &[b"http/1.1"]).await?;
    stream.write_all(format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_bytes()).await?;
    let mut status = [0; 12];
    within_deadline("an answer", stream.read_exact(&mut status)).await?;
    Ok(status.escape_ascii().to_string())
}

#[tokio::test]
async fn a_model_that_does_not_exist_is_not_found() {
    let (gateway, _engine) = Gateway::start(Script::default()).await;
    let not_found = (404, INVALID.into(), Some("model".into()), "model_not_found".into());
    assert_eq!(gateway.send(Request::get("/v1/models/other")).await.error(), not_found);
    let reply = gateway.send(Request::say("hi", json!({"model": "other"}))).await;
    assert_eq!(reply.error(), not_found);
    assert!(reply.message().contains("'other'"));
    let long = "x".repeat(1 << 20);
    let reply = gateway.send(Request::say("hi", json!({"model": long}))).await;
    assert_eq!(reply.error(), not_found);
    assert!(reply.body.len() < 1000, "{} bytes", reply.body.len());
}

#[tokio::test]
async fn a_prompt_over_the_context_is_told_both_numbers() {
    let mut small = Script::default();
    small.card.context_tokens = 8;
    let (gateway, _engine) = Gateway::start(small).await;
    for stream in [false, true] {
        let reply = gateway.send(Request::say("one two three four", json!({"stream": stream}))).await;
        let expected = (400, INVALID.into(), Some("messages".into()), "context_length_exceeded".into());
        assert_eq!(reply.error(), expected);
        let message = reply.message();
        assert!(message.contains("9 tokens") && message.contains("8 tokens"), "{message}");
    }
    assert_eq!(gateway.send(Request::say("one", json!({}))).await.status, 200);
}

#[tokio::test]
async fn each_refusal_of_the_engine_has_its_error() {
    let range = Refusal::OutOfRange { field: "top_k".into(), range: "less".into() };
    let (gateway, _engine) = Gateway::start(script([
        ("full", vec![Step::Refuse(Refusal::QueueFull { queue_requests_max: 3 })]),
        ("drain", vec![Step::Refuse(Refusal::Draining)]),
        ("fail", vec![Step::Refuse(Refusal::Failed { what: "a kernel".into() })]),
        ("range", vec![Step::Refuse(range)]),
        ("wait", vec![Step::Refuse(Refusal::QueueTimeOver { queue_ms_max: 5 })]),
        ("slow", vec![Step::Refuse(Refusal::TimeOver { total_ms_max: 5 })]),
        ("late", vec![Step::Finish(FinishReason::TimeOver)]),
        ("form", vec![Step::Refuse(Refusal::Grammar { what: "it has no start".into() })]),
        ("unable", vec![Step::Refuse(Refusal::Unable { what: "generate text".into() })]),
    ]))
    .await;
    for (content, status, kind, param, code, retries) in [
        ("full", 429, "rate_limit_error", None, "queue_full", true),
        ("drain", 503, "server_error", None, "engine_draining", true),
        ("fail", 500, "server_error", None, "engine_failed", false),
        ("range", 400, INVALID, Some("top_k"), "invalid_value", false),
        ("wait", 503, "server_error", None, "queue_time_over", true),
        ("slow", 504, "server_error", None, "time_over", false),
        ("late", 504, "server_error", None, "time_over", false),
        ("form", 400, INVALID, Some("guided_regex"), "invalid_grammar", false),
        ("unable", 400, INVALID, Some("model"), "model_unable", false),
    ] {
        for stream in [false, true] {
            let fields = json!({"stream": stream, "guided_regex": "x"});
            let reply = gateway.send(Request::say(content, fields)).await;
            let expected = (status, kind.into(), param.map(str::to_owned), code.into());
            assert_eq!(reply.error(), expected, "{content}");
            assert_eq!(reply.header("retry-after").is_some(), retries, "{content}");
        }
    }
}

#[tokio::test]
async fn a_template_may_refuse_the_messages_and_a_model_may_lack_one() {
    let folder = folder();
    let mut strict = Script::default();
    let jinja = "{{ raise_exception('only one message: ' + messages[0].content) }}".into();
    strict.card.template = Some(ChatTemplate { jinja, bos_token: String::new(), eos_token: String::new() });
    let mut base = Script { card: card(), ..Script::default() };
    base.card.template = None;
    let strict = crate::engine::Engine::start(folder.path(), "strict.sock", strict);
    let base = crate::engine::Engine::start(folder.path(), "base.sock", base);
    let models = vec![model("strict", Some(strict.socket.clone())), model("base", Some(base.socket.clone()))];
    let gateway = Gateway::serving(folder, models, |_| {}).await;
    gateway.until_ready(true).await;

    let reply = gateway.send(Request::say("<|im_end|>", json!({"model": "strict"}))).await;
    assert_eq!(reply.error(), (400, INVALID.into(), Some("messages".into()), "invalid_messages".into()));
    assert!(reply.message().ends_with("only one message: <|im_end|>"), "{}", reply.message());

    let reply = gateway.send(Request::say("hi", json!({"model": "base"}))).await;
    assert_eq!(reply.error(), (400, INVALID.into(), Some("model".into()), "no_chat_template".into()));
}
