//! The routes. What is not named here is not served.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware;
use axum::routing::{get, post};
use tokio::sync::watch;

use crate::body::Bodies;
use crate::error::{ApiError, shown};
use crate::metrics::{self, Metrics};
use crate::serving::Serving;
use crate::shutdown::Shutdown;
use crate::tenancy::Secret;
use crate::{chat, completions, embeddings, health, models, openapi, record, tokenize};

/// What handlers can see.
#[derive(Debug, Clone)]
pub(crate) struct App {
    serving: watch::Receiver<Arc<Serving>>,
    pub(crate) shutdown: Shutdown,
    pub(crate) bodies: Bodies,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) secret: Secret,
}

impl App {
    pub(crate) fn new(serving: watch::Receiver<Arc<Serving>>, shutdown: Shutdown, bodies: Bodies) -> Self {
        let (metrics, secret) = (Arc::new(Metrics::new()), Secret::draw());
        Self { serving, shutdown, bodies, metrics, secret }
    }

    /// The configuration of this moment.
    pub(crate) fn serving(&self) -> Arc<Serving> {
        self.serving.borrow().clone()
    }
}

/// All routes.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat::complete))
        .route("/v1/completions", post(completions::complete))
        .route("/v1/embeddings", post(embeddings::embed))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/v1/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
        .route("/v1/detokenize", post(tokenize::detokenize))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{name}", get(models::get))
        .route("/metrics", get(metrics::scrape))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/openapi.json", get(openapi::document))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(app.clone(), record::keep))
        .with_state(app)
}

async fn unknown_route(request: Request) -> ApiError {
    let (method, path) = named(&request);
    ApiError::RouteUnknown { method, path }
}

async fn wrong_method(request: Request) -> ApiError {
    let (method, path) = named(&request);
    ApiError::MethodWrong { method, path }
}

fn named(request: &Request) -> (String, String) {
    (shown(request.method().as_str()).into_owned(), shown(request.uri().path()).into_owned())
}
