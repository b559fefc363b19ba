//! `GET /v1/models` and `GET /v1/models/{name}`.

use axum::Json;
use axum::extract::{Path, State};
use nabi_domain::ModelName;
use serde::Serialize;

use crate::auth::AuthenticatedKey;
use crate::error::ApiError;
use crate::http::App;
use crate::serving::Model;

#[derive(Debug, Serialize)]
pub(crate) struct ModelList {
    object: &'static str,
    data: Vec<ModelCard>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ModelCard {
    id: ModelName,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

fn card(model: &Model) -> ModelCard {
    ModelCard { id: model.name.clone(), object: "model", created: model.created_unix_s, owned_by: "nabi" }
}

/// All models, ready or not.
pub(crate) async fn list(State(app): State<App>, _key: AuthenticatedKey) -> Json<ModelList> {
    let data = app.serving().models.iter().map(card).collect();
    Json(ModelList { object: "list", data })
}

/// One model.
pub(crate) async fn get(
    State(app): State<App>,
    _key: AuthenticatedKey,
    Path(name): Path<String>,
) -> Result<Json<ModelCard>, ApiError> {
    let serving = app.serving();
    serving.model(&name).map(card).map(Json).ok_or(ApiError::ModelUnknown(name))
}
