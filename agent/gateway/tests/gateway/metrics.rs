//! Metrics: who may read them, and exactly which series there are.

use std::collections::BTreeSet;

use nabi_stub_engine::Script;
use nabi_wire::action::KeyScope;
use serde_json::json;

use crate::client::{Reply, Request};
use crate::gateway::{Gateway, MODEL, alias, key, model};
use crate::within_deadline;

const METRICS_KEY: &str = "nabi-metrics-key";

async fn start() -> (Gateway, crate::engine::Engine) {
    let (mut gateway, engine) = Gateway::start(Script::default()).await;
    let mut watch = key("watch", METRICS_KEY);
    watch.scope = KeyScope::Metrics;
    gateway.reload(|config| config.keys.push(watch)).await;
    (gateway, engine)
}

fn with_metrics_key(path: &str) -> Request {
    Request::get(path).header("authorization", &format!("Bearer {METRICS_KEY}"))
}

async fn scrape(gateway: &Gateway) -> Reply {
    let reply = gateway.send(with_metrics_key("/metrics")).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert!(reply.body.ends_with("# EOF\n"));
    reply
}

/// The value of a series.
fn value(page: &Reply, series: &str) -> String {
    let line = page.body.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {}", page.body)).to_owned()
}

/// All series, those of a histogram as one.
fn series(page: &Reply) -> BTreeSet<String> {
    let samples = page.body.lines().filter(|line| !line.starts_with('#'));
    let named = samples.map(|line| line.rsplit_once(' ').expect("a value").0);
    let whole = |series: &str| !series.contains("_bucket{") && !series.contains("_sum{");
    named.filter(|series| whole(series)).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_key_of_one_scope_is_refused_in_the_other() {
    let (gateway, _engine) = start().await;
    let refused = (403, "permission_error".into(), None, "key_scope".into());
    let reply = gateway.send(Request::get("/metrics")).await;
    assert_eq!(reply.error(), refused);
    assert!(reply.message().contains("reading metrics"), "{}", reply.message());
    assert_eq!(gateway.send(with_metrics_key("/v1/models")).await.error(), refused);
    let ask = Request::say("hi", json!({})).header("authorization", &format!("Bearer {METRICS_KEY}"));
    assert_eq!(gateway.send(ask).await.error(), refused);
    let without = Request::get("/metrics").without("authorization");
    assert_eq!(gateway.send(without).await.error().3, "invalid_api_key");
    let page = scrape(&gateway).await;
    let form = page.header("content-type").expect("a type");
    assert!(form.starts_with("application/openmetrics-text; version=1.0.0"), "{form}");
}

#[tokio::test]
async fn the_series_are_known_beforehand() {
    let (mut gateway, _engine) = start().await;
    gateway
        .reload(|config| {
            config.aliases = vec![alias("chat", MODEL)];
            config.models.push(model("starting", None));
        })
        .await;
    for (request, status) in [
        (Request::say("one two", json!({})), 200),
        (Request::say("one two", json!({"model": "chat", "stream": true})), 200),
        (Request::say("hi", json!({"model": "unheard-of"})), 404),
        (Request::say("hi", json!({"model": "starting"})), 503),
        (Request::say("hi", json!({"temperature": 9})), 400),
        (Request::get("/v1/models/unheard-of"), 404),
        (Request::get("/unheard-of/1"), 404),
        (Request::get("/unheard-of/2"), 404),
        (Request::new("BREW", "/v1/models"), 405),
        (Request::new("BREW", "/unheard-of/3"), 404),
        (Request::get("/v1/models").header("authorization", "Bearer unheard-of"), 401),
    ] {
        assert_eq!(gateway.send(request).await.status, status);
    }
    // The first scrape is a request itself. What has ended is counted when its last holder lets go.
    scrape(&gateway).await;
    let page = within_deadline("all others have ended", async {
        loop {
            let page = scrape(&gateway).await;
            let alone = ["nabi_http_requests_in_flight", "nabi_connections_open"];
            if alone.iter().all(|gauge| value(&page, gauge) == "1") {
                break page;
            }
        }
    })
    .await;
    let mut expected: BTreeSet<String> = [
        "nabi_http_requests_in_flight",
        "nabi_connections_open",
        "nabi_connections_accepted_total",
        "nabi_connections_refused_total",
        "nabi_tls_handshake_failures_total",
        "nabi_process_resident_memory_bytes",
        r#"nabi_request_duration_seconds_count{model="stub"}"#,
        r#"nabi_request_duration_seconds_count{model="starting"}"#,
        r#"nabi_time_to_first_token_seconds_count{model="stub"}"#,
        r#"nabi_prompt_tokens_total{model="stub"}"#,
        r#"nabi_cached_prompt_tokens_total{model="stub"}"#,
        r#"nabi_completion_tokens_total{model="stub"}"#,
        r#"nabi_engine_up{model="stub"}"#,
        r#"nabi_engine_up{model="starting"}"#,
    ]
    .map(str::to_owned)
    .into();
    let engine = [
        "requests_waiting",
        "requests_running",
        "kv_tokens_used",
        "kv_tokens_limit",
        "saved_memory_bytes",
        "saved_disk_bytes",
        "steps_total",
        "preemptions_total",
    ];
    expected.extend(engine.map(|name| format!(r#"nabi_engine_{name}{{model="stub"}}"#)));
    let requests = [
        ("/v1/chat/completions", 200),
        ("/v1/chat/completions", 400),
        ("/v1/chat/completions", 404),
        ("/v1/chat/completions", 503),
        ("/v1/models/{name}", 404),
        ("/v1/models", 405),
        ("/v1/models", 401),
        ("/readyz", 200),
        ("/metrics", 200),
        ("none", 404),
    ];
    let request =
        |(route, status)| format!(r#"nabi_http_requests_total{{route="{route}",status="{status}"}}"#);
    expected.extend(requests.map(request));
    let mut found = series(&page);
    // Whether it was asked before its engine was ready depends on the machine.
    found.remove(&request(("/readyz", 503)));
    assert_eq!(found, expected);

    for (series, count) in [
        (request(("none", 404)), "3"),
        (request(("/v1/chat/completions", 200)), "2"),
        (r#"nabi_time_to_first_token_seconds_count{model="stub"}"#.into(), "2"),
        (r#"nabi_request_duration_seconds_count{model="stub"}"#.into(), "2"),
        (r#"nabi_completion_tokens_total{model="stub"}"#.into(), "10"),
        (r#"nabi_engine_up{model="stub"}"#.into(), "1"),
        (r#"nabi_engine_up{model="starting"}"#.into(), "0"),
    ] {
        assert_eq!(value(&page, &series), count, "{series}");
    }
    assert!(!page.body.contains("unheard-of"), "{}", page.body);
}
