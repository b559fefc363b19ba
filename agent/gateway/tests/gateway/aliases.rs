//! Other names for models, and swaps that nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nabi_stub_engine::{Script, Step};
use serde_json::{Value, json};

use crate::client::Request;
use crate::engine::{Engine, script, text};
use crate::gateway::{Gateway, MODEL, alias, folder, model};
use crate::within_deadline;

/// Requests that must be answered around each swap.
const REQUESTS_EACH_SWAP: u64 = 20;

fn say(model: &str, stream: bool) -> Request {
    Request::say("one two three", json!({"model": model, "stream": stream}))
}

fn ids(list: &Value) -> Vec<&str> {
    list["data"].as_array().expect("a list").iter().map(|card| card["id"].as_str().expect("an id")).collect()
}

#[tokio::test]
async fn an_alias_is_listed_and_answered_by_its_model() {
    let (mut gateway, _engine) = Gateway::start(Script::default()).await;
    assert_eq!(gateway.send(say("chat", false)).await.error().3, "model_not_found");
    gateway.reload(|config| config.aliases = vec![alias("chat", MODEL), alias("stale", "gone")]).await;
    let reply = gateway.send(say("chat", false)).await;
    assert_eq!((reply.status, &reply.json()["model"]), (200, &MODEL.into()), "{}", reply.body);
    assert_eq!(ids(&gateway.send(Request::get("/v1/models")).await.json()), [MODEL, "chat"]);
    let one = gateway.send(Request::get("/v1/models/chat")).await;
    assert_eq!((&one.json()["id"], &one.json()["owned_by"]), (&"chat".into(), &"nabi".into()));
    assert_eq!(gateway.send(say("stale", false)).await.error().3, "model_not_found");
    assert_eq!(gateway.send(Request::get("/v1/models/stale")).await.error().3, "model_not_found");
    gateway.reload(|config| config.aliases.clear()).await;
    assert_eq!(gateway.send(say("chat", false)).await.error().3, "model_not_found");
}

#[tokio::test]
async fn an_answer_under_way_ends_on_the_model_that_it_began_with() {
    let folder = folder();
    let held = script([("one", vec![text("before "), Step::Hold, text("after")])]);
    let old = Engine::start(folder.path(), "old.sock", held);
    let new = Engine::start(folder.path(), "new.sock", Script::default());
    let models = vec![model("old", Some(old.socket.clone())), model("new", Some(new.socket.clone()))];
    let mut gateway =
        Gateway::serving(folder, models, |config| config.aliases = vec![alias("chat", "old")]).await;
    let mut connection = gateway.connect().await;
    let mut stream = connection.send(say("chat", true)).await;
    stream.until("before ").await;
    gateway.reload(|config| config.aliases = vec![alias("chat", "new")]).await;
    gateway.reload(|config| drop(config.models.remove(0))).await;
    assert_eq!(gateway.send(say("chat", false)).await.json()["model"], "new");
    old.release();
    assert!(stream.until("[DONE]").await.contains("after"));
    gateway.until_logged("the engine's connection is closed").await;
}

/// Asks without rest until told to stop; panics at the first request that is not answered.
async fn ask_for_ever(gateway: Arc<Gateway>, stream: bool, answered: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    let mut connection = gateway.connect().await;
    while !stop.load(Ordering::Relaxed) {
        let reply = connection.send(say("chat", stream)).await.whole().await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert!(!reply.body.contains("\"error\""), "{}", reply.body);
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn swaps_refuse_no_request() {
    let folder = folder();
    let mut running = Engine::start(folder.path(), "e0.sock", Script::default());
    let first = vec![model("v0", Some(running.socket.clone()))];
    let gateway = Gateway::serving(folder, first, |config| config.aliases = vec![alias("chat", "v0")]).await;
    let gateway = Arc::new(gateway);
    let mut config = gateway.config.clone();
    let (answered, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let ask = |stream| tokio::spawn(ask_for_ever(gateway.clone(), stream, answered.clone(), stop.clone()));
    let askers = [ask(false), ask(true), ask(false), ask(true)];
    let more_answers = async || {
        let enough = answered.load(Ordering::Relaxed) + REQUESTS_EACH_SWAP;
        within_deadline("requests are answered", async {
            while answered.load(Ordering::Relaxed) < enough {
                assert!(!askers.iter().any(|asker| asker.is_finished()), "a request was not answered");
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    for version in 1..=8 {
        // As the supervisor does: the new engine is proven, the alias swapped, the old model
        // unknown to the gateway, and only then its engine told to end.
        let name = format!("v{version}");
        let new = Engine::start(gateway.folder(), &format!("e{version}.sock"), Script::default());
        config.models.push(model(&name, Some(new.socket.clone())));
        gateway.use_config(&mut config).await;
        more_answers().await;
        config.aliases = vec![alias("chat", &name)];
        gateway.use_config(&mut config).await;
        more_answers().await;
        config.models.remove(0);
        gateway.use_config(&mut config).await;
        more_answers().await;
        let closed = || gateway.log().matches("the engine's connection is closed").count();
        within_deadline("the old session ends", async {
            while closed() < version {
                tokio::time::sleep(crate::LOOK_INTERVAL).await;
            }
        })
        .await;
        running = new;
    }
    more_answers().await;
    stop.store(true, Ordering::Relaxed);
    for asker in askers {
        within_deadline("the askers stop", asker).await.expect("every request was answered");
    }
    drop(running);
}
