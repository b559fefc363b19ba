//! One line in the log, and some counts, for each request: who, what, how long; never a prompt, an
//! answer, or any other text of the caller's.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use nabi_domain::{KeyName, ModelName};
use nabi_wire::engine::Usage;

use crate::engine::Event;
use crate::error::ErrorCode;
use crate::http::App;
use crate::metrics::{Ended, Held, Metrics};
use crate::random;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is known of a request by its end. The line is written when the last holder lets go: the
/// answer's body, or the connection that was lost before there was one.
#[derive(Debug)]
pub(crate) struct Record {
    id: String,
    /// Absent for a method that we do not know: it could be any text.
    method: Option<&'static str>,
    /// As the router has it; absent for a path that nothing is served at.
    route: Option<MatchedPath>,
    started: Instant,
    first_token_after: OnceLock<Duration>,
    metrics: Arc<Metrics>,
    _in_flight: Held,
    pub(crate) key: OnceLock<KeyName>,
    pub(crate) model: OnceLock<ModelName>,
    pub(crate) usage: OnceLock<Usage>,
    /// The first error, in an answer or in its stream.
    pub(crate) error: OnceLock<&'static str>,
    status: OnceLock<u16>,
}

/// Draws an id of our own, keeps a [`Record`] with the request, and names the id in the answer.
/// A caller's own id is never used: it could carry anything, and be anyone's.
pub(crate) async fn keep(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let record = Arc::new(Record {
        id: format!("req_{}", random::hex()),
        method: known(request.method()),
        route: request.extensions().get().cloned(),
        started: Instant::now(),
        first_token_after: OnceLock::new(),
        _in_flight: app.metrics.request(),
        metrics: app.metrics,
        key: OnceLock::new(),
        model: OnceLock::new(),
        usage: OnceLock::new(),
        error: OnceLock::new(),
        status: OnceLock::new(),
    });
    request.extensions_mut().insert(Arc::clone(&record));
    let mut response = next.run(request).await;
    // Neither can be set twice: this function alone sets the status, and once.
    let _ = record.status.set(response.status().as_u16());
    if let Some(ErrorCode(code)) = response.extensions().get() {
        let _ = record.error.set(code);
    }
    let id = HeaderValue::from_str(&record.id).expect("hexadecimal digits are a header's value");
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn known(method: &Method) -> Option<&'static str> {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        .into_iter()
        .find(|known| method.as_str() == *known)
}

impl Record {
    /// Notes when the engine has chosen its first token.
    pub(crate) fn see(&self, event: &Event) {
        if matches!(event, Event::Delta(_)) {
            self.first_token_after.get_or_init(|| self.started.elapsed());
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let usage = self.usage.get();
        let took = self.started.elapsed();
        let route = self.route.as_ref().map(MatchedPath::as_str);
        let first_token_after = self.first_token_after.get().copied();
        self.metrics.ended(&Ended {
            route,
            status: self.status.get().copied(),
            model: self.model.get(),
            usage,
            took,
            first_token_after,
        });
        tracing::info!(
            id = self.id,
            method = self.method,
            route,
            key = self.key.get().map(KeyName::as_str),
            model = self.model.get().map(ModelName::as_str),
            // None: the client went before there was an answer.
            status = self.status.get(),
            error = self.error.get(),
            prompt_tokens = usage.map(|usage| usage.prompt_tokens),
            cached_tokens = usage.map(|usage| usage.cached_tokens),
            completion_tokens = usage.map(|usage| usage.completion_tokens),
            first_token_ms = first_token_after.map(|after| after.as_millis() as u64),
            ms = took.as_millis() as u64,
            "request"
        );
    }
}
