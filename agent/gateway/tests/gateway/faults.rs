//! Engines that start, die and come back; clients that vanish.

use nabi_stub_engine::{Script, Step};
use nabi_wire::engine::ToEngine;
use serde_json::{Value, json};

use crate::client::Request;
use crate::engine::{Engine, script, text};
use crate::gateway::{Gateway, MODEL, folder, model};

const LOST: &str = r#""type":"server_error","param":null,"code":"engine_lost"}}"#;

#[tokio::test]
async fn an_engine_that_dies_in_mid_stream_and_comes_back() {
    let dies = vec![text("half "), Step::Die];
    let (gateway, mut engine) = Gateway::start(script([("die", dies)])).await;
    let mut connection = gateway.connect().await;
    let reply = connection.send(Request::say("die", json!({"stream": true}))).await.whole().await;
    assert_eq!(reply.status, 200);
    let events: Vec<_> = reply.body.split_terminator("\n\n").collect();
    assert_eq!(events.len(), 4, "{events:#?}");
    assert!(events[1].contains(r#"{"content":"half "}"#));
    assert!(
        events[2].starts_with(r#"data: {"error":{"message":""#) && events[2].ends_with(LOST),
        "{}",
        events[2]
    );
    assert_eq!(events[3], "data: [DONE]");

    engine.died().await;
    gateway.until_ready(false).await;
    let reply = connection.send(Request::say("hi", json!({}))).await.whole().await;
    let not_ready = (503, "server_error".into(), Some("model".into()), "model_not_ready".into());
    assert_eq!(reply.error(), not_ready);

    engine.restart();
    gateway.until_ready(true).await;
    assert_eq!(connection.send(Request::say("hi", json!({}))).await.status(), 200);
    gateway.until_logged(r#""error":"engine_lost""#).await;
}

#[tokio::test]
async fn an_engine_that_dies_in_a_whole_answer() {
    let dies = vec![text("half "), Step::Die];
    let (gateway, _engine) = Gateway::start(script([("die", dies)])).await;
    let reply = gateway.send(Request::say("die", json!({}))).await;
    assert_eq!(reply.error(), (502, "server_error".into(), None, "engine_lost".into()));
}

#[tokio::test]
async fn all_answers_of_a_lost_engine_end() {
    let (gateway, mut engine) =
        Gateway::start(script([("hold", vec![text("a"), Step::Hold]), ("die", vec![Step::Die])])).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut connection = gateway.connect().await;
        let streaming = connection.send(Request::say("hold", json!({"stream": true}))).await;
        held.push((connection, streaming));
    }
    assert_eq!(gateway.send(Request::say("die", json!({}))).await.error().3, "engine_lost");
    engine.died().await;
    for (_connection, streaming) in held {
        assert!(streaming.whole().await.body.contains(LOST));
    }
}

#[tokio::test]
async fn models_whose_engine_is_not_ready_say_so() {
    let folder = folder();
    let ready = Engine::start(folder.path(), "ready.sock", Script::default());
    let loading = Script { loading_ms: 3_600_000, ..Script::default() };
    let loading = Engine::start(folder.path(), "loading.sock", loading);
    let models = vec![
        model("ready", Some(ready.socket.clone())),
        model("loading", Some(loading.socket.clone())),
        model("starting", None),
        model("absent", Some(folder.path().join("absent.sock"))),
    ];
    let gateway = Gateway::serving(folder, models, |_| {}).await;
    gateway.until_logged("the engine is ready").await;
    for name in ["loading", "starting", "absent"] {
        let reply = gateway.send(Request::say("hi", json!({"model": name}))).await;
        let expected = (503, "server_error".into(), Some("model".into()), "model_not_ready".into());
        assert_eq!(reply.error(), expected, "{name}");
        assert!(reply.header("retry-after").is_some());
    }
    assert_eq!(gateway.send(Request::say("hi", json!({"model": "ready"}))).await.status, 200);
    let readyz = gateway.send(Request::get("/readyz")).await;
    assert_eq!((readyz.status, &readyz.json()["ready"]), (503, &json!(false)));
    let states: Vec<Value> = readyz.json()["models"].as_array().expect("models").clone();
    let ready: Vec<_> = states.iter().map(|model| model["ready"] == true).collect();
    assert_eq!(ready, [true, false, false, false]);
    assert_eq!(gateway.send(Request::get("/healthz")).await.status, 200);
}

/// A client closes its connection while the engine holds the answer to `content`.
async fn vanish(content: &str, stream: bool) {
    let steps = vec![text("a"), Step::Hold];
    let (gateway, mut engine) = Gateway::start(script([("now", steps), ("silent", vec![Step::Hold])])).await;
    let mut connection = gateway.connect().await;
    let request = Request::say(content, json!({"stream": stream}));
    let id = if content == "now" && stream {
        let mut streaming = connection.send(request).await;
        streaming.until(r#"{"content":"a"}"#).await;
        drop(streaming);
        engine.generate().await.id
    } else {
        // No head of an answer comes: wait for the request at the engine instead.
        tokio::select! {
            _ = connection.send(request) => panic!("an answer to a held request"),
            generate = engine.generate() => generate.id,
        }
    };
    drop(connection);
    assert_eq!(engine.received().await, ToEngine::Abort { id });
    // The process goes on, and the log says that nobody was there to take an answer.
    assert_eq!(gateway.send(Request::say("hi", json!({"model": MODEL}))).await.status, 200);
}

#[tokio::test]
async fn a_client_that_vanishes_in_mid_stream_frees_its_place() {
    vanish("now", true).await;
}

#[tokio::test]
async fn a_client_that_vanishes_before_a_stream_begins_frees_its_place() {
    vanish("silent", true).await;
}

#[tokio::test]
async fn a_client_that_vanishes_from_a_whole_answer_frees_its_place() {
    vanish("now", false).await;
}
