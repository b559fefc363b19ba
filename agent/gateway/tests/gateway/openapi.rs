//! `/openapi.json` against what is really served.

use nabi_stub_engine::Script;
use serde_json::{Value, json};

use crate::client::Request;
use crate::gateway::Gateway;

#[tokio::test]
async fn each_documented_operation_answers_as_documented() {
    let (gateway, _engine) = Gateway::start(Script::default()).await;
    let reply = gateway.send(Request::get("/openapi.json").without("authorization")).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    let document = reply.json();
    assert_eq!(document["openapi"], "3.1.0");
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let path = path.replace("{name}", "stub");
            for request in requests(method, &path) {
                let reply = gateway.send(request).await;
                let response = &operation["responses"][reply.status.to_string()];
                let kind = reply.header("content-type").expect("a type").split(';').next().expect("text");
                let documented = response["content"].get(kind);
                assert!(documented.is_some(), "{method} {path}: {} {kind} {}", reply.status, reply.body);
                assert!(
                    !matches!(reply.status, 405) && !reply.body.contains("\"code\":\"unknown_url\""),
                    "{path}"
                );
            }
        }
    }
}

/// One with a key and one without; and one that is answered.
fn requests(method: &str, path: &str) -> Vec<Request> {
    if method == "get" {
        return vec![Request::get(path), Request::get(path).without("authorization")];
    }
    let body = match path.rsplit('/').next() {
        Some("completions") if path.contains("chat") => {
            json!({"messages": [{"role": "user", "content": "hi"}], "stream": true})
        }
        Some("completions") => json!({"prompt": "hi"}),
        Some("embeddings") => json!({"input": "hi"}),
        Some("tokenize") => json!({"prompt": "hi"}),
        _ => json!({"tokens": [1]}),
    };
    let post = |body: Value| Request::post(path, body);
    vec![post(body.clone()), post(body).without("authorization"), post(json!({"surprise": 1}))]
}
