//! `GET /healthz` and `GET /readyz`: without a key, for whatever watches the appliance.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use nabi_domain::ModelName;
use serde::Serialize;

use crate::http::App;
use crate::serving::Serving;

/// The process lives.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether there is a model, and every one that is configured answers.
#[derive(Debug, Serialize)]
pub(crate) struct Readiness {
    ready: bool,
    draining: bool,
    models: Vec<ModelReadiness>,
}

#[derive(Debug, Serialize)]
struct ModelReadiness {
    name: ModelName,
    ready: bool,
}

/// Says which models are ready; the status is 200 only when all are.
pub(crate) async fn readyz(State(app): State<App>) -> (StatusCode, Json<Readiness>) {
    let readiness = readiness(&app.serving(), app.shutdown.is_draining());
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

fn readiness(serving: &Serving, draining: bool) -> Readiness {
    let model = |model: &crate::serving::Model| ModelReadiness {
        name: model.name.clone(),
        ready: model.session().is_some(),
    };
    let models: Vec<_> = serving.models.iter().map(model).collect();
    let all_answer = !models.is_empty() && models.iter().all(|model| model.ready);
    Readiness { ready: !draining && all_answer, draining, models }
}
