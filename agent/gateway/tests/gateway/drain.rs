//! The end: running answers may end, within a grace.

use nabi_stub_engine::{Script, Step};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::net::TcpStream;

use crate::client::{Connection, Request, Streaming};
use crate::engine::{Engine, script, text};
use crate::gateway::{Gateway, MODEL, folder, model};

fn held() -> Script {
    script([("hold", vec![text("before "), Step::Hold, text("after")])])
}

async fn start(drain_grace_ms: u64) -> (Gateway, Engine) {
    let folder = folder();
    let engine = Engine::start(folder.path(), "engine.sock", held());
    let models = vec![model(MODEL, Some(engine.socket.clone()))];
    let gateway = Gateway::serving(folder, models, |config| config.drain_grace_ms = drain_grace_ms).await;
    gateway.until_ready(true).await;
    (gateway, engine)
}

/// A stream that the engine holds.
async fn begin_stream(gateway: &Gateway) -> (Connection, Streaming) {
    let mut connection = gateway.connect().await;
    let mut stream = connection.send(Request::say("hold", json!({"stream": true}))).await;
    stream.until("before ").await;
    (connection, stream)
}

fn assert_shut_down(stream: &str) {
    let events: Vec<_> = stream.split_terminator("\n\n").collect();
    assert_eq!(events.len(), 2, "{events:#?}");
    assert!(events[0].starts_with("data: {\"error\":{"), "{}", events[0]);
    assert!(
        events[0].ends_with(r#""type":"server_error","param":null,"code":"shutting_down"}}"#),
        "{}",
        events[0]
    );
    assert_eq!(events[1], "data: [DONE]");
}

#[tokio::test]
async fn without_requests_it_ends_at_once() {
    let (mut gateway, _engine) = start(3_600_000).await;
    let mut idle = gateway.connect().await;
    assert_eq!(idle.send(Request::get("/healthz")).await.whole().await.status, 200);
    gateway.signal(Signal::SIGTERM);
    gateway.until_notified("STOPPING=1\n").await;
    assert_eq!(gateway.exit_code().await, Some(0));
}

#[tokio::test]
async fn within_the_grace_answers_end_as_they_should() {
    let (mut gateway, mut engine) = start(3_600_000).await;
    let (_connection, mut stream) = begin_stream(&gateway).await;
    engine.generate().await;
    let mut whole = gateway.connect().await;
    let whole = whole.send(Request::say("hold", json!({})));
    let drain = async {
        engine.generate().await;
        gateway.signal(Signal::SIGTERM);
        gateway.until_notified("STOPPING=1\n").await;
        engine.release();
    };
    let (whole, ()) = tokio::join!(whole, drain);
    assert_eq!(whole.whole().await.json()["choices"][0]["message"]["content"], "before after");
    assert!(stream.until("[DONE]").await.contains("after"));
    assert_eq!(gateway.exit_code().await, Some(0));
}

#[tokio::test]
async fn while_it_drains_nobody_is_let_in() {
    let (mut gateway, engine) = start(3_600_000).await;
    let (_connection, _stream) = begin_stream(&gateway).await;
    gateway.signal(Signal::SIGTERM);
    gateway.until_notified("STOPPING=1\n").await;
    // The system lets it in, since the socket listens for the next gateway; this one must not.
    let waiting = TcpStream::connect(gateway.address).await.expect("connects");
    engine.release();
    assert_eq!(gateway.exit_code().await, Some(0));
    gateway.listener.set_nonblocking(true).expect("a socket");
    let (_, left) = gateway.listener.accept().expect("the connection is still there to be accepted");
    assert_eq!(left, waiting.local_addr().expect("an address"));
}

#[tokio::test]
async fn after_the_grace_each_answer_gets_a_proper_end() {
    let (mut gateway, mut engine) = start(1).await;
    let (_connection, mut stream) = begin_stream(&gateway).await;
    engine.generate().await;
    let mut whole = gateway.connect().await;
    let whole = whole.send(Request::say("hold", json!({})));
    let end = async {
        engine.generate().await;
        gateway.signal(Signal::SIGTERM);
    };
    let (whole, ()) = tokio::join!(whole, end);
    let whole = whole.whole().await;
    assert_eq!(whole.error(), (503, "server_error".into(), None, "shutting_down".into()));
    assert!(whole.header("retry-after").is_some());
    assert_shut_down(&stream.until("[DONE]\n\n").await);
    assert_eq!(gateway.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_the_grace() {
    let (mut gateway, _engine) = start(3_600_000).await;
    let (_connection, mut stream) = begin_stream(&gateway).await;
    gateway.signal(Signal::SIGTERM);
    gateway.until_notified("STOPPING=1\n").await;
    gateway.signal(Signal::SIGTERM);
    assert_shut_down(&stream.until("[DONE]\n\n").await);
    assert_eq!(gateway.exit_code().await, Some(0));
}

#[tokio::test]
async fn it_does_not_outlive_its_parent() {
    let (mut gateway, _engine) = start(3_600_000).await;
    gateway.cut_lifeline();
    assert_eq!(gateway.exit_code().await, Some(i32::from(nabi_wire::lifeline::PARENT_GONE)));
}
