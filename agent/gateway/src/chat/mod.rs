//! `POST /v1/chat/completions`.

mod answer;
mod fields;
mod messages;
mod place;
mod prepare;
mod request;
mod stream;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use crate::auth::AuthenticatedKey;
use crate::body;
use crate::error::ApiError;
use crate::http::App;
use crate::record::Record;
use answer::Head;

/// Answers a chat, whole or as a stream.
pub(crate) async fn complete(
    State(app): State<App>,
    _key: AuthenticatedKey,
    Extension(record): Extension<Arc<Record>>,
    body: Body,
) -> Result<Response, ApiError> {
    let body = body::read(body).await?;
    let prepared = prepare::off_thread(body, app.serving(), Arc::clone(&record)).await?;
    let head = Head::new(&prepared.model, &prepared.session);
    let answer = prepared.session.generate(prepared.generate)?;
    if prepared.stream {
        stream::respond(answer, head, prepared.include_usage, app.shutdown, record).await
    } else {
        let completion = answer::whole(answer, head, &app.shutdown, &record).await?;
        Ok(Json(completion).into_response())
    }
}
