//! Who sends a request, and what it may use.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use nabi_domain::ModelName;
use nabi_wire::engine::{Salt, Share};

use crate::auth::AuthenticatedKey;
use crate::engine::Session;
use crate::error::ApiError;
use crate::http::App;
use crate::record::Record;

/// Bodies up to this size are worked on where they arrive; larger ones, which take milliseconds,
/// beside the threads that serve connections.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// An authenticated caller, with the request's record.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) app: App,
    pub(crate) record: Arc<Record>,
    pub(crate) share: Share,
    pub(crate) salt: Salt,
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let key = AuthenticatedKey::from_request_parts(parts, app).await?;
        let record = parts.extensions.get::<Arc<Record>>().ok_or(ApiError::Internal)?;
        let (share, salt) = app.secret.tenancy(key.name());
        Ok(Self { app: app.clone(), record: Arc::clone(record), share, salt })
    }
}

/// A model that answers.
#[derive(Debug, Clone)]
pub(crate) struct ReadyModel {
    pub(crate) name: ModelName,
    pub(crate) session: Arc<Session>,
}

/// What a request wants of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Text,
    Vectors,
    /// What every model can give.
    Tokens,
}

impl Caller {
    /// The model of this name, as the configuration is now.
    pub(crate) fn model(&self, name: &str, wanted: Wanted) -> Result<ReadyModel, ApiError> {
        let serving = self.app.serving();
        let model = serving.model(name).ok_or_else(|| ApiError::ModelUnknown(name.to_owned()))?;
        // Set before if the request is sent anew; the log keeps the first.
        let _ = self.record.model.set(model.name.clone());
        let session = model.session().ok_or_else(|| ApiError::ModelNotReady(model.name.clone()))?;
        let card = &session.model.card;
        let unable = match wanted {
            Wanted::Text if !card.generates => Some("generate text: it gives embeddings"),
            Wanted::Vectors if card.embedding_numbers.is_none() => Some("give embeddings"),
            _ => None,
        };
        match unable {
            Some(what) => Err(ApiError::Unable { model: model.name.clone(), what }),
            None => Ok(ReadyModel { name: model.name.clone(), session }),
        }
    }
}

/// Does work of a duration that follows from a body's size, where it holds up no other request.
pub(crate) async fn work<T: Send + 'static>(
    body_bytes: usize,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    if body_bytes <= INLINE_BYTES_MAX {
        return work();
    }
    // An error is a panic: the runtime has logged where.
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(ApiError::Internal))
}
