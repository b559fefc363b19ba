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

fn card(id: &ModelName, model: &Model) -> ModelCard {
    ModelCard { id: id.clone(), object: "model", created: model.created_unix_s, owned_by: "nabi" }
}

/// All models, ready or not, and their aliases.
pub(crate) async fn list(State(app): State<App>, _key: AuthenticatedKey) -> Json<ModelList> {
    let serving = app.serving();
    let models = serving.models.iter().map(|model| (&model.name, model));
    let data = models.chain(serving.aliases()).map(|(id, model)| card(id, model)).collect();
    Json(ModelList { object: "list", data })
}

/// One model, under its name or an alias.
pub(crate) async fn get(
    State(app): State<App>,
    _key: AuthenticatedKey,
    Path(name): Path<String>,
) -> Result<Json<ModelCard>, ApiError> {
    let serving = app.serving();
    let found = serving.model(&name).zip(name.parse().ok());
    found.map(|(model, id)| Json(card(&id, model))).ok_or(ApiError::ModelUnknown(name))
}
