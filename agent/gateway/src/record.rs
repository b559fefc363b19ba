//! One line in the log for each request: who, what, how long; never a prompt or an answer.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use nabi_domain::{KeyName, ModelName};
use nabi_wire::engine::Usage;

use crate::error::{ErrorCode, shown};
use crate::random;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is known of a request by its end. The line is written when the last holder lets go: the
/// answer's body, or the connection that was lost before there was one.
#[derive(Debug)]
pub(crate) struct Record {
    id: String,
    method: String,
    path: String,
    started: Instant,
    pub(crate) key: OnceLock<KeyName>,
    pub(crate) model: OnceLock<ModelName>,
    pub(crate) usage: OnceLock<Usage>,
    /// The first error, in an answer or in its stream.
    pub(crate) error: OnceLock<&'static str>,
    status: OnceLock<u16>,
}

/// Draws an id of our own, keeps a [`Record`] with the request, and names the id in the answer.
/// A caller's own id is never used: it could carry anything, and be anyone's.
pub(crate) async fn keep(mut request: Request, next: Next) -> Response {
    let record = Arc::new(Record {
        id: format!("req_{}", random::hex()),
        method: shown(request.method().as_str()).into_owned(),
        path: shown(request.uri().path()).into_owned(),
        started: Instant::now(),
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

impl Drop for Record {
    fn drop(&mut self) {
        let usage = self.usage.get();
        tracing::info!(
            id = self.id,
            method = self.method,
            path = self.path,
            key = self.key.get().map(KeyName::as_str),
            model = self.model.get().map(ModelName::as_str),
            // None: the client went before there was an answer.
            status = self.status.get(),
            error = self.error.get(),
            prompt_tokens = usage.map(|usage| usage.prompt_tokens),
            completion_tokens = usage.map(|usage| usage.completion_tokens),
            ms = self.started.elapsed().as_millis() as u64,
            "request"
        );
    }
}
