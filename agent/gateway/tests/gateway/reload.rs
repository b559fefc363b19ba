//! A new configuration: keys, certificates, engines.

use nabi_stub_engine::{Script, Step};
use nabi_wire::engine::Refusal;
use nix::sys::signal::Signal;
use rustls::version::TLS13;
use serde_json::json;

use crate::client::{Request, handshake};
use crate::engine::{Engine, script, text};
use crate::gateway::{Gateway, KEY, MODEL, key, model};

fn held() -> Script {
    script([("hold", vec![text("before "), Step::Hold, text("after")])])
}

#[tokio::test]
async fn keys_come_and_go() {
    let (mut gateway, _engine) = Gateway::start(Script::default()).await;
    let with = |key: &str| Request::get("/v1/models").header("authorization", &format!("Bearer {key}"));
    assert_eq!(gateway.send(with("nabi-second")).await.status, 401);
    gateway.reload(|config| config.keys.push(key("second", "nabi-second"))).await;
    assert_eq!(gateway.send(with("nabi-second")).await.status, 200);
    assert_eq!(gateway.send(with(KEY)).await.status, 200);
    let mut open = gateway.connect().await;
    assert_eq!(open.send(with(KEY)).await.status(), 200);
    gateway.reload(|config| drop(config.keys.remove(0))).await;
    assert_eq!(gateway.send(with("nabi-second")).await.status, 200);
    assert_eq!(gateway.send(with(KEY)).await.status, 401);
    assert_eq!(open.send(with(KEY)).await.status(), 401, "a revoked key on an open connection");
}

#[tokio::test]
async fn a_new_certificate_is_used_at_once_and_drops_no_connection() {
    let (mut gateway, engine) = Gateway::start(held()).await;
    let certificate = async |gateway: &Gateway| {
        let client = gateway.authority.client(&[&TLS13]);
        let stream = handshake(gateway.address, client, &[b"http/1.1"]).await.expect("a TLS handshake");
        stream.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec()
    };
    let first = certificate(&gateway).await;
    let mut connection = gateway.connect().await;
    let mut stream = connection.send(Request::say("hold", json!({"stream": true}))).await;
    stream.until("before ").await;

    let leaf = gateway.authority.leaf();
    gateway
        .reload(|config| {
            config.certificate_pem = leaf.certificate_pem;
            config.private_key_pem = leaf.private_key_pem;
        })
        .await;
    assert_ne!(certificate(&gateway).await, first);
    engine.release();
    assert!(stream.until("[DONE]").await.contains("after"));
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing() {
    let (gateway, _engine) = Gateway::start(Script::default()).await;
    let whole = serde_json::to_value(&gateway.config).expect("serializes");
    let changed = |name: &str, value: serde_json::Value| {
        let mut config = whole.clone();
        config["keys"] = json!([]);
        config[name] = value;
        config.to_string()
    };
    let other_key = gateway.authority.leaf().private_key_pem;
    let bad = [
        "".to_owned(),
        "{}".to_owned(),
        whole.to_string()[1..].to_owned(),
        changed("surprise", json!(1)),
        changed("certificate_pem", json!("")),
        changed("private_key_pem", json!("none")),
        changed("private_key_pem", json!(other_key)),
    ];
    for (count, config) in bad.iter().enumerate() {
        gateway.spoil_config(config);
        gateway.signal(Signal::SIGHUP);
        let said = || gateway.log().matches("the old configuration stays in use").count();
        crate::within_deadline("the gateway says that it keeps the old configuration", async {
            while said() <= count {
                tokio::time::sleep(crate::LOOK_INTERVAL).await;
            }
        })
        .await;
        assert_eq!(gateway.send(Request::get("/v1/models")).await.status, 200, "{config}");
    }
    gateway.until_ready(true).await;
}

#[tokio::test]
async fn a_model_that_moves_to_another_engine_ends_its_answers_on_the_old_one() {
    let (mut gateway, mut old) = Gateway::start(held()).await;
    let mut connection = gateway.connect().await;
    let mut stream = connection.send(Request::say("hold", json!({"stream": true}))).await;
    stream.until("before ").await;

    let mut new = Engine::start(gateway.folder(), "new.sock", Script::default());
    let socket = new.socket.clone();
    gateway.reload(|config| config.models = vec![model(MODEL, Some(socket))]).await;
    gateway.until_ready(true).await;
    assert_eq!(gateway.send(Request::say("for the new one", json!({}))).await.status, 200);
    new.generate().await;

    old.generate().await;
    old.release();
    assert!(stream.until("[DONE]").await.contains("after"));
    gateway.until_logged("the engine's connection is closed").await;
}

#[tokio::test]
async fn a_model_that_is_served_no_longer_is_unknown() {
    let (mut gateway, _engine) = Gateway::start(Script::default()).await;
    gateway.reload(|config| config.models.clear()).await;
    assert_eq!(gateway.send(Request::say("hi", json!({}))).await.error().3, "model_not_found");
    assert_eq!(gateway.send(Request::get("/readyz")).await.status, 503, "there is nothing to ask");
    gateway.until_logged("the engine's connection is closed").await;
}

/// A model is replaced while a request is on its way to the engine that goes.
#[tokio::test]
async fn a_request_that_a_leaving_engine_refuses_goes_to_its_successor() {
    let leaving = [("hello", vec![Step::Hold, Step::Refuse(Refusal::Draining)])];
    let (mut gateway, mut old) = Gateway::start(script(leaving)).await;
    for stream in [false, true] {
        let mut new = Engine::start(gateway.folder(), &format!("new-{stream}.sock"), Script::default());
        let before = gateway.config.models.clone();
        let mut connection = gateway.connect().await;
        let reply = connection.send(Request::say("hello", json!({"stream": stream})));
        let swapped = async {
            old.generate().await;
            let socket = new.socket.clone();
            gateway.reload(|config| config.models = vec![model(MODEL, Some(socket))]).await;
            gateway.until_ready(true).await;
            old.release();
        };
        let (reply, ()) = tokio::join!(reply, swapped);
        let reply = reply.whole().await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert!(reply.body.contains("hello"), "{}", reply.body);
        new.generate().await;
        gateway.reload(|config| config.models = before).await;
        gateway.until_ready(true).await;
    }
}
