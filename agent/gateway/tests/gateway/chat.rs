//! What a chat answers when all is well.

use nabi_domain::Piece;
use nabi_stub_engine::{Script, Step};
use nabi_wire::engine::{Generate, Salt, Sampling};
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};

use crate::client::{Reply, Request, handshake, send_h2};
use crate::engine::{script, text};
use crate::gateway::{Gateway, MODEL};

/// The stream with what differs each time replaced, after a look at its form.
fn transcript(reply: &Reply) -> String {
    let first = reply.body.lines().next().and_then(|line| line.strip_prefix("data: ")).expect("an event");
    let first: Value = serde_json::from_str(first).expect("JSON");
    let id = first["id"].as_str().expect("an id");
    assert!(id.strip_prefix("chatcmpl-").is_some_and(|hex| hex.len() == 32), "{id}");
    let created = first["created"].as_u64().expect("a time");
    assert!(created > 1_700_000_000, "{created}");
    let fingerprint = first["system_fingerprint"].as_str().expect("a fingerprint");
    assert!(fingerprint.starts_with("fp_"), "{fingerprint}");
    let body = reply.body.replace(id, "ID").replace(&created.to_string(), "CREATED");
    body.replace(fingerprint, "FINGERPRINT")
}

const HELLO: &str = "Hello, 세계!";

fn hello() -> Script {
    script([("hello", vec![text("Hello, "), Step::Token(9), text("세계"), text("!")])])
}

#[tokio::test]
async fn a_whole_answer() {
    let (gateway, mut engine) = Gateway::start(hello()).await;
    let reply = gateway.send(Request::say("hello there", json!({}))).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    let body = reply.json();
    let fields: Vec<_> = body.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(fields, ["id", "object", "created", "model", "system_fingerprint", "choices", "usage"]);
    assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &json!(MODEL)));
    let message = json!({"role": "assistant", "content": HELLO, "refusal": null});
    let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"});
    assert_eq!(body["choices"], json!([choice]));
    // Of the ChatML template the stub counts six tokens and words: user, hello there, assistant.
    assert_eq!(
        body["usage"],
        json!({
            "prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11, "prompt_tokens_details": {"cached_tokens": 0},
        })
    );

    let generate = engine.generate().await;
    let expected = [
        Piece::Token(1),
        Piece::Text("user\nhello there".into()),
        Piece::Token(2),
        Piece::Text("\n".into()),
        Piece::Token(1),
        Piece::Text("assistant\n".into()),
    ];
    assert_eq!(generate.pieces, expected);
}

#[tokio::test]
async fn a_stream_byte_for_byte() {
    let (gateway, _engine) = Gateway::start(hello()).await;
    let reply = gateway.send(Request::say("hello", json!({"stream": true}))).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(reply.header("cache-control"), Some("no-cache"));
    let head = r#"data: {"id":"ID","object":"chat.completion.chunk","created":CREATED,"model":"stub","system_fingerprint":"FINGERPRINT","choices":[{"index":0,"delta":"#;
    let open = r#","logprobs":null,"finish_reason":null}]}"#;
    let expected = [
        format!(r#"{head}{{"role":"assistant","content":""}}{open}"#),
        format!(r#"{head}{{"content":"Hello, "}}{open}"#),
        format!(r#"{head}{{"content":"세계"}}{open}"#),
        format!(r#"{head}{{"content":"!"}}{open}"#),
        format!(r#"{head}{{}},"logprobs":null,"finish_reason":"stop"}}]}}"#),
        "data: [DONE]".to_owned(),
    ];
    assert_eq!(transcript(&reply), expected.map(|event| event + "\n\n").concat());
}

#[tokio::test]
async fn a_stream_with_usage_has_it_at_its_end_and_null_before() {
    let (gateway, _engine) = Gateway::start(hello()).await;
    let fields = json!({"stream": true, "stream_options": {"include_usage": true}});
    let reply = gateway.send(Request::say("hello", fields)).await;
    let transcript = transcript(&reply);
    let events: Vec<_> = transcript.split_terminator("\n\n").collect();
    let (done, events) = events.split_last().expect("events");
    let (last, events) = events.split_last().expect("events");
    assert_eq!(events.len(), 5);
    assert!(events.iter().all(|event| event.ends_with(r#","usage":null}"#)), "{transcript}");
    let usage = r#","choices":[],"usage":{"prompt_tokens":6,"completion_tokens":4,"total_tokens":10,"prompt_tokens_details":{"cached_tokens":0}}}"#;
    assert!(last.ends_with(usage), "{last}");
    assert_eq!(*done, "data: [DONE]");
}

#[tokio::test]
async fn an_answer_cut_by_its_length_says_so() {
    let (gateway, _engine) = Gateway::start(Script::default()).await;
    let whole = gateway.send(Request::say("a b c", json!({"max_tokens": 2}))).await.json();
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!(whole["choices"][0]["message"]["content"], "user\na ");
    let stream = gateway.send(Request::say("a b c", json!({"max_tokens": 2, "stream": true}))).await;
    assert!(stream.body.contains(r#""finish_reason":"length""#), "{}", stream.body);
}

#[tokio::test]
async fn what_is_asked_for_reaches_the_engine() {
    let (gateway, mut engine) = Gateway::start(Script::default()).await;
    let fields = json!({
        "temperature": 0.5, "top_p": 0.25, "top_k": 40, "min_p": 0.125, "seed": 7, "stop": ["\n", "END"],
        "max_completion_tokens": 3,
    });
    assert_eq!(gateway.send(Request::say("x", fields)).await.status, 200);
    let generate = engine.generate().await;
    let sampling = Sampling {
        temperature: 0.5,
        top_p: 0.25,
        top_k: 40,
        min_p: 0.125,
        seed: Some(7),
        ..Sampling::default()
    };
    let expected = Generate {
        sampling,
        stop: vec!["\n".into(), "END".into()],
        tokens_max: Some(3),
        share: generate.share,
        salt: generate.salt,
        ..Generate::new(generate.id, generate.pieces.clone())
    };
    assert_ne!((generate.share.flow, generate.salt), (0, Salt::default()));
    assert_eq!(generate, expected);

    assert_eq!(gateway.send(Request::say("x", json!({}))).await.status, 200);
    let plain = engine.generate().await;
    assert_ne!(plain.id, generate.id);
    assert_eq!((plain.sampling, plain.stop, plain.tokens_max), (Sampling::default(), vec![], None));
}

#[tokio::test]
async fn the_same_over_http_2_and_each_version_of_tls() {
    let (gateway, _engine) = Gateway::start(hello()).await;
    for version in [&TLS12, &TLS13] {
        let client = gateway.authority.client(&[version]);
        let reply = send_h2(gateway.address, client.clone(), Request::say("hello", json!({}))).await;
        assert_eq!(reply.json()["choices"][0]["message"]["content"], HELLO);
        let stream = handshake(gateway.address, client, &[b"http/1.1"]).await.expect("a TLS handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        if version.version == rustls::ProtocolVersion::TLSv1_3 {
            let group = stream.get_ref().1.negotiated_key_exchange_group().expect("a key exchange");
            assert_eq!(group.name(), rustls::NamedGroup::X25519MLKEM768);
        }
    }
}

#[tokio::test]
async fn requests_on_many_connections_get_their_own_answers() {
    let (gateway, mut engine) = Gateway::start(script([("held", vec![Step::Hold, text("late")])])).await;
    let mut held = gateway.connect().await;
    let held = held.send(Request::say("held", json!({"stream": true})));
    let others = async {
        engine.generate().await;
        for n in 0..20 {
            let word = format!("word-{n}");
            let reply = gateway.send(Request::say(&word, json!({}))).await.json();
            let content = reply["choices"][0]["message"]["content"].as_str().expect("text").to_owned();
            assert!(content.contains(&format!("\n{word}")), "{content}");
        }
        engine.release();
    };
    let (held, ()) = tokio::join!(held, others);
    assert!(held.whole().await.body.contains("late"));
}

#[tokio::test]
async fn models_are_listed_with_the_time_of_their_import() {
    let (gateway, _engine) = Gateway::start(Script::default()).await;
    let model = json!({"id": MODEL, "object": "model", "created": 1_700_000_000, "owned_by": "nabi"});
    let list = gateway.send(Request::get("/v1/models")).await.json();
    assert_eq!(list, json!({"object": "list", "data": [model]}));
    assert_eq!(gateway.send(Request::get("/v1/models/stub")).await.json(), model);
}

#[tokio::test]
async fn health_and_readiness_need_no_key() {
    let (gateway, _engine) = Gateway::start(Script::default()).await;
    let healthz = gateway.send(Request::get("/healthz").without("authorization")).await;
    assert_eq!((healthz.status, healthz.body.as_str()), (200, "ok\n"));
    let readyz = gateway.send(Request::get("/readyz").without("authorization")).await;
    let ready = json!({"ready": true, "draining": false, "models": [{"name": MODEL, "ready": true}]});
    assert_eq!((readyz.status, readyz.json()), (200, ready));
}
