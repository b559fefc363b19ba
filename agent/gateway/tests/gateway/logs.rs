//! The log: a line for each request, and never what a caller said.

use nabi_stub_engine::{Script, Step};
use nabi_wire::engine::FinishReason;
use serde_json::{Value, json};

use crate::client::Request;
use crate::engine::{script, text};
use crate::gateway::{Gateway, KEY};

/// A word that no log may have.
const SECRET: &str = "Xyzzy-Geheim";

/// Every line is a JSON object; those of requests.
fn requests(log: &str) -> Vec<Value> {
    let lines =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}")));
    let lines: Vec<Value> = lines.collect();
    for line in &lines {
        assert!(
            line["timestamp"].is_string() && line["level"].is_string() && line["message"].is_string(),
            "{line}"
        );
    }
    lines.into_iter().filter(|line| line["message"] == "request").collect()
}

#[tokio::test]
async fn the_log_tells_of_each_request() {
    let steps = vec![text("answer"), Step::Finish(FinishReason::Stop)];
    let (gateway, _engine) = Gateway::start(script([("question", steps)])).await;
    let mut ids = Vec::new();
    for stream in [false, true] {
        let reply = gateway.send(Request::say("question", json!({"stream": stream}))).await;
        let id = reply.header("x-request-id").expect("an id").to_owned();
        assert!(id.strip_prefix("req_").is_some_and(|hex| hex.len() == 32), "{id}");
        gateway.until_logged(&id).await;
        ids.push(id);
    }
    assert_ne!(ids[0], ids[1]);
    let log = requests(&gateway.log());
    for id in ids {
        let line = log.iter().find(|line| line["id"] == id.as_str()).expect("a line");
        assert_eq!((&line["key"], &line["model"]), (&"test".into(), &"stub".into()));
        assert_eq!((&line["method"], &line["route"]), (&"POST".into(), &"/v1/chat/completions".into()));
        assert_eq!((&line["status"], &line["error"]), (&200.into(), &Value::Null));
        assert_eq!((&line["prompt_tokens"], &line["completion_tokens"]), (&6.into(), &1.into()));
        assert!(line["ms"].is_u64() && line["first_token_ms"].is_u64(), "{line}");
    }
}

/// Requests with the secret in each place that a caller can fill, one after the other.
fn requests_with_the_secret() -> Vec<Request> {
    let mut all = vec![
        Request::say(SECRET, json!({})),
        Request::say(SECRET, json!({"stream": true})),
        Request::say(&format!("die {SECRET}"), json!({"stream": true})),
        Request::chat(SECRET),
        Request::chat(format!("{{\"model\": \"{SECRET}")),
        Request::chat(json!({SECRET: SECRET}).to_string()),
        Request::chat(json!(SECRET).to_string()),
        Request::get(&format!("/{SECRET}")),
        Request::get(&format!("/v1/models/{SECRET}")),
        Request::get(&format!("/v1/models?{SECRET}")),
        Request::new(SECRET, "/v1/models"),
        Request::new(SECRET, "/nothing"),
        Request::get("/v1/models").header("authorization", &format!("Bearer {SECRET}")),
        Request::get("/v1/models").header("authorization", SECRET),
        Request::get("/v1/models").header("x-request-id", SECRET),
    ];
    let headers = ["user-agent", "cookie", "referer", "content-type", "accept", "xyzzy-geheim", "expect"];
    all.extend(headers.map(|name| Request::say("hi", json!({})).header(name, SECRET)));
    let fields = [
        "model",
        "messages",
        "temperature",
        "top_p",
        "n",
        "stop",
        "max_tokens",
        "stream",
        "user",
        "metadata",
        "response_format",
        "tools",
        "tool_choice",
        "logit_bias",
        "seed",
        "suffix",
        "stream_options",
        "reasoning_effort",
        "service_tier",
        "modalities",
        SECRET,
    ];
    let values = [
        json!(SECRET),
        json!([SECRET]),
        json!({"type": SECRET}),
        json!({SECRET: SECRET}),
        json!([{"type": "function", "function": {"name": SECRET, "description": SECRET}}]),
        json!([{"role": "user", "content": SECRET, "name": SECRET}]),
        json!([{"role": SECRET, "content": [{"type": "text", "text": SECRET}]}]),
    ];
    for field in fields {
        all.extend(values.iter().map(|value| Request::say(SECRET, json!({field: value}))));
    }
    let posts = ["/v1/completions", "/v1/embeddings", "/tokenize", "/detokenize"];
    let bodies = [
        json!({"model": "stub", "prompt": SECRET, "input": SECRET}),
        json!({"model": "stub", "prompt": SECRET}),
        json!({"model": "stub", "prompt": SECRET, "stream": true, "echo": true}),
        json!({"model": "stub", "input": SECRET}),
        json!({"model": "stub", "input": [SECRET, SECRET]}),
        json!({"model": SECRET, "input": SECRET, "prompt": SECRET, "tokens": [SECRET]}),
        json!({"model": "stub", SECRET: SECRET}),
    ];
    for path in posts {
        all.push(Request::raw(path, SECRET));
        all.extend(bodies.iter().map(|body| Request::raw(path, body.to_string())));
    }
    all
}

#[tokio::test]
async fn what_a_caller_says_is_in_no_line() {
    let echo = vec![text(SECRET)];
    let (mut gateway, mut engine) =
        Gateway::start(script([("die", vec![text(SECRET), Step::Die]), (SECRET, echo)])).await;
    let sent = requests_with_the_secret();
    let expected = sent.len();
    let already = requests(&gateway.log()).len();
    for request in sent {
        let reply = gateway.send(request).await;
        if reply.body.contains("engine_lost") {
            engine.died().await;
            engine.restart();
            gateway.until_ready(true).await;
        }
    }
    gateway.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(gateway.exit_code().await, Some(0));
    let log = gateway.log();
    assert!(requests(&log).len() >= already + expected, "each has a line");
    for never in [SECRET, &SECRET.to_lowercase(), KEY] {
        let line = log.lines().find(|line| line.contains(never));
        assert_eq!(line, None, "{never}");
    }
}

#[tokio::test]
async fn a_configuration_that_is_refused_is_a_line_like_the_others() {
    let (gateway, _engine) = Gateway::start(Script::default()).await;
    gateway.spoil_config("{");
    gateway.signal(nix::sys::signal::Signal::SIGHUP);
    gateway.until_logged("the old configuration stays in use").await;
    assert!(requests(&gateway.log()).iter().all(|line| line["id"].is_string()));
}
