//! `GET /metrics`: figures for Prometheus, in the text form of OpenMetrics 1.0.
//!
//! Labels are bounded: routes as the router has them, statuses, names of served models. What a
//! caller chooses (paths, methods, names of models that are not served) is never one.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use nabi_domain::ModelName;
use nabi_wire::engine::{Stats, Usage};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::auth::MetricsKey;
use crate::error::ApiError;
use crate::http::App;
use crate::serving::Serving;

/// An engine that does not tell its figures within this time is left out of a scrape.
const STATS_MS_MAX: u64 = 1_000;
/// Bounds of the buckets for whole requests and for first tokens, in seconds.
const BUCKETS_S: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    /// As the router has it; `none` for all others.
    route: String,
    /// `none` when the client went before there was an answer.
    status: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ModelLabel {
    model: String,
}

type ByModel<M> = Family<ModelLabel, M>;
type SecondsByModel = Family<ModelLabel, Histogram, fn() -> Histogram>;

/// What the gateway itself counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    requests_in_flight: Gauge,
    connections_open: Gauge,
    connections_accepted: Counter,
    connections_refused: Counter,
    handshakes_failed: Counter,
    request_seconds: SecondsByModel,
    first_token_seconds: SecondsByModel,
    prompt_tokens: ByModel<Counter>,
    cached_tokens: ByModel<Counter>,
    completion_tokens: ByModel<Counter>,
}

/// Counted down when it is dropped.
#[derive(Debug)]
pub(crate) struct Held(Gauge);

impl Held {
    fn hold(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A request at its end.
#[derive(Debug)]
pub(crate) struct Ended<'a> {
    pub(crate) route: Option<&'a str>,
    pub(crate) status: Option<u16>,
    pub(crate) model: Option<&'a ModelName>,
    pub(crate) usage: Option<&'a Usage>,
    pub(crate) took: Duration,
    pub(crate) first_token_after: Option<Duration>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(BUCKETS_S);
        let metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            requests_in_flight: Gauge::default(),
            connections_open: Gauge::default(),
            connections_accepted: Counter::default(),
            connections_refused: Counter::default(),
            handshakes_failed: Counter::default(),
            request_seconds: Family::new_with_constructor(seconds),
            first_token_seconds: Family::new_with_constructor(seconds),
            prompt_tokens: Family::default(),
            cached_tokens: Family::default(),
            completion_tokens: Family::default(),
        };
        Self { registry: metrics.registered(), ..metrics }
    }

    fn registered(&self) -> Registry {
        let mut all = Registry::with_prefix("nabi");
        all.register("http_requests", "Requests by route and status", self.requests.clone());
        all.register("http_requests_in_flight", "Requests under way", self.requests_in_flight.clone());
        all.register("connections_open", "Connections that are open", self.connections_open.clone());
        all.register("connections_accepted", "Connections taken in", self.connections_accepted.clone());
        all.register(
            "connections_refused",
            "Connections closed at once, since requests ran on all others",
            self.connections_refused.clone(),
        );
        all.register("tls_handshake_failures", "TLS handshakes that failed", self.handshakes_failed.clone());
        all.register_with_unit(
            "request_duration",
            "From a request's headers to the end of its answer",
            Unit::Seconds,
            self.request_seconds.clone(),
        );
        all.register_with_unit(
            "time_to_first_token",
            "From a request's headers to the first token of its answer",
            Unit::Seconds,
            self.first_token_seconds.clone(),
        );
        all.register("prompt_tokens", "Tokens of prompts", self.prompt_tokens.clone());
        all.register(
            "cached_prompt_tokens",
            "Those tokens of prompts that had been computed before",
            self.cached_tokens.clone(),
        );
        all.register("completion_tokens", "Tokens of answers", self.completion_tokens.clone());
        all
    }

    pub(crate) fn connection(&self) -> Held {
        self.connections_accepted.inc();
        Held::hold(&self.connections_open)
    }

    pub(crate) fn connection_refused(&self) {
        self.connections_refused.inc();
    }

    pub(crate) fn handshake_failed(&self) {
        self.handshakes_failed.inc();
    }

    pub(crate) fn request(&self) -> Held {
        Held::hold(&self.requests_in_flight)
    }

    pub(crate) fn ended(&self, ended: &Ended<'_>) {
        let none = || "none".to_owned();
        let labels = RequestLabels {
            route: ended.route.map_or_else(none, str::to_owned),
            status: ended.status.map_or_else(none, |status| status.to_string()),
        };
        self.requests.get_or_create(&labels).inc();
        let Some(model) = ended.model.map(label) else { return };
        self.request_seconds.get_or_create(&model).observe(ended.took.as_secs_f64());
        if let Some(after) = ended.first_token_after {
            self.first_token_seconds.get_or_create(&model).observe(after.as_secs_f64());
        }
        if let Some(usage) = ended.usage {
            self.prompt_tokens.get_or_create(&model).inc_by(usage.prompt_tokens.into());
            self.cached_tokens.get_or_create(&model).inc_by(usage.cached_tokens.into());
            self.completion_tokens.get_or_create(&model).inc_by(usage.completion_tokens.into());
        }
    }
}

fn label(model: &ModelName) -> ModelLabel {
    ModelLabel { model: model.as_str().to_owned() }
}

/// All figures, the engines' own included.
pub(crate) async fn scrape(State(app): State<App>, _key: MetricsKey) -> Result<Response, ApiError> {
    let engines = engines(&ask_all(&app.serving()).await);
    let process = process();
    let mut page = String::new();
    for registry in [&app.metrics.registry, &engines, &process] {
        text::encode_registry(&mut page, registry).map_err(|_| ApiError::Internal)?;
    }
    text::encode_eof(&mut page).map_err(|_| ApiError::Internal)?;
    let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, form)], page).into_response())
}

/// One engine, and what it told, if it did.
type Told = (ModelName, Option<Stats>);

async fn ask_all(serving: &Arc<Serving>) -> Vec<Told> {
    let ask = async |model: &crate::serving::Model| {
        let stats = async { model.session()?.stats().await };
        let told = tokio::time::timeout(Duration::from_millis(STATS_MS_MAX), stats).await;
        (model.name.clone(), told.ok().flatten())
    };
    futures_util::future::join_all(serving.models.iter().map(ask)).await
}

fn engines(told: &[Told]) -> Registry {
    let mut all = Registry::with_prefix("nabi_engine");
    let up = ByModel::<Gauge>::default();
    for (model, stats) in told {
        up.get_or_create(&label(model)).set(stats.is_some().into());
    }
    all.register("up", "Whether the engine told its figures", up);
    let mut gauge = |name, help, figure: fn(&Stats) -> u64| {
        let family = ByModel::<Gauge>::default();
        for (model, stats) in told {
            let Some(stats) = stats else { continue };
            family.get_or_create(&label(model)).set(i64::try_from(figure(stats)).unwrap_or(i64::MAX));
        }
        all.register(name, help, family);
    };
    gauge("requests_waiting", "Requests that wait for a place", |stats| stats.waiting.into());
    gauge("requests_running", "Requests that run", |stats| stats.running.into());
    gauge("kv_tokens_used", "Places of the key-value cache in use", |stats| stats.kv_used_tokens);
    gauge("kv_tokens_limit", "Places of the key-value cache", |stats| stats.kv_tokens_max);
    gauge("saved_memory_bytes", "Computed prefixes kept in memory", |stats| stats.saved_memory_bytes);
    gauge("saved_disk_bytes", "Computed prefixes kept on disk", |stats| stats.saved_disk_bytes);
    let mut counter = |name, help, figure: fn(&Stats) -> u64| {
        let family = ByModel::<Counter>::default();
        for (model, stats) in told {
            let Some(stats) = stats else { continue };
            family.get_or_create(&label(model)).inc_by(figure(stats));
        }
        all.register(name, help, family);
    };
    counter("steps", "Steps of the model", |stats| stats.steps);
    counter("preemptions", "Requests that lost their place for a while", |stats| stats.preemptions);
    all
}

fn process() -> Registry {
    let mut all = Registry::with_prefix("nabi_process");
    let resident: Gauge = Gauge::default();
    resident.set(resident_bytes().and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(0));
    all.register("resident_memory_bytes", "Memory of the gateway", resident);
    all
}

/// Of `VmRSS:   1234 kB`.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processs_memory_is_told() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn an_engine_that_tells_nothing_is_down_and_has_no_figures() {
        let name = |name: &str| name.parse::<ModelName>().expect("a name");
        let stats = Stats { waiting: 3, steps: 7, ..Stats::default() };
        let mut page = String::new();
        let told = engines(&[(name("up"), Some(stats)), (name("down"), None)]);
        text::encode_registry(&mut page, &told).expect("encodes");
        for line in [
            r#"nabi_engine_up{model="up"} 1"#,
            r#"nabi_engine_up{model="down"} 0"#,
            r#"nabi_engine_requests_waiting{model="up"} 3"#,
            r#"nabi_engine_steps_total{model="up"} 7"#,
        ] {
            assert!(page.lines().any(|other| other == line), "{line} in {page}");
        }
        assert_eq!(page.matches("down").count(), 1, "{page}");
    }
}
