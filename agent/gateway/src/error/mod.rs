//! Every answer that is not the wanted one, in OpenAI's form: one enum, from which status, type,
//! parameter and code follow.

mod code;

use std::borrow::Cow;
use std::fmt;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use nabi_domain::ModelName;
use nabi_prompt::RenderError;
use nabi_wire::action::KeyScope;
use nabi_wire::engine::Refusal;
use serde::Serialize;

use crate::body::BODY_BYTES_MAX;
use crate::tenancy::TOTAL_MS_MAX;
pub(crate) use code::Code;

/// What a client is told to wait when too much is under way.
const RETRY_BUSY_S: u16 = 1;
/// What a client is told to wait for an engine that starts.
const RETRY_NOT_READY_S: u16 = 5;
/// Characters of a caller's own text that an error repeats.
const ECHO_CHARS_MAX: usize = 100;

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("no API key was given: send it as `Authorization: Bearer KEY`")]
    KeyMissing,
    #[error("the API key is not valid: ask the operator for a key")]
    KeyWrong,
    #[error("this key is for {}, but this needs one for {}: ask the operator for it", scope(*.has), scope(*.needed))]
    KeyScope { has: KeyScope, needed: KeyScope },
    #[error("nothing is served at {method} {path}")]
    RouteUnknown { method: String, path: String },
    #[error("{method} is not allowed at {path}")]
    MethodWrong { method: String, path: String },
    #[error("the request's body is larger than {BODY_BYTES_MAX} bytes: send less")]
    BodyTooLarge,
    #[error("the request's body did not arrive within {ms_max} ms")]
    BodyTooSlow { ms_max: u64 },
    #[error("the bodies of other requests fill the memory that there is for them: try again later")]
    BodiesFull,
    #[error("the request's body broke off before its end")]
    BodyBroken,
    #[error("the request's body is not valid JSON: {0}")]
    Json(serde_json::Error),
    #[error("the request's body must be a JSON object")]
    NotAnObject,
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error("the model '{}' does not exist: GET /v1/models lists those that do", shown(.0))]
    ModelUnknown(String),
    #[error("the model '{0}' is not ready yet: try again later")]
    ModelNotReady(ModelName),
    #[error("the model '{0}' has no chat template: it only continues text, and cannot take messages")]
    NoTemplate(ModelName),
    #[error(transparent)]
    Prompt(RenderError),
    #[error("the model '{model}' does not {what}: name another model")]
    Unable { model: ModelName, what: &'static str },
    #[error("{refusal}")]
    Refused {
        refusal: Refusal,
        /// The field that it concerns, if any.
        param: Option<String>,
    },
    #[error("the answer was not complete within {TOTAL_MS_MAX} ms")]
    TimeOver,
    #[error("too many requests are under way: try again later")]
    Busy,
    #[error("the model's engine was lost before the answer was complete: send the request again")]
    EngineLost,
    #[error("the model's engine was lost before the request reached it: send the request again")]
    NotSent,
    #[error("the answer was not read fast enough and was ended")]
    ReadTooSlowly,
    #[error("the service is shutting down: send the request again later")]
    ShuttingDown,
    #[error("the gateway failed to make this prompt: the request's id is in its log")]
    Internal,
}

/// What is wrong with one field of a request.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct FieldError {
    /// Where, as in `messages[3].content`.
    pub(crate) param: String,
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl FieldError {
    /// A field that must be there.
    pub(crate) fn missing(field: &str) -> Self {
        let message = format!("'{field}' is required");
        Self { param: field.to_owned(), code: Code::MissingParameter, message }
    }

    /// A value that is not allowed: `rule` continues "'field' …".
    pub(crate) fn invalid(field: &str, rule: impl fmt::Display) -> Self {
        Self { param: field.to_owned(), code: Code::InvalidValue, message: format!("'{field}' {rule}") }
    }
}

fn scope(scope: KeyScope) -> &'static str {
    match scope {
        KeyScope::Inference => "asking models",
        KeyScope::Metrics => "reading metrics",
    }
}

/// A caller's text, cut to a length that a message can carry.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(ECHO_CHARS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// The body of an error answer, and of an error event.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorBody {
    error: ErrorFields,
}

#[derive(Debug, Serialize)]
struct ErrorFields {
    message: String,
    r#type: &'static str,
    param: Option<String>,
    code: &'static str,
}

impl ApiError {
    /// The HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        self.code().status()
    }

    /// What programs tell errors apart by.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::KeyMissing | Self::KeyWrong => Code::InvalidApiKey,
            Self::KeyScope { .. } => Code::KeyScope,
            Self::RouteUnknown { .. } => Code::UnknownUrl,
            Self::MethodWrong { .. } => Code::MethodNotAllowed,
            Self::BodyTooLarge => Code::RequestTooLarge,
            Self::BodiesFull => Code::BodiesFull,
            Self::BodyTooSlow { .. } => Code::RequestTimeout,
            Self::BodyBroken | Self::NotAnObject => Code::InvalidBody,
            Self::Json(_) => Code::InvalidJson,
            Self::Field(field) => field.code,
            Self::ModelUnknown(_) => Code::ModelNotFound,
            Self::ModelNotReady(_) => Code::ModelNotReady,
            Self::NoTemplate(_) => Code::NoChatTemplate,
            Self::Prompt(_) => Code::InvalidMessages,
            Self::Unable { .. } => Code::ModelUnable,
            Self::Refused { refusal, .. } => refusal_code(refusal),
            Self::TimeOver => Code::TimeOver,
            Self::Busy => Code::TooManyRequests,
            Self::EngineLost | Self::NotSent => Code::EngineLost,
            Self::ReadTooSlowly => Code::ReadTooSlowly,
            Self::ShuttingDown => Code::ShuttingDown,
            Self::Internal => Code::InternalError,
        }
    }

    /// Whether no engine has begun with the request, nor ever will: another may take it.
    pub(crate) fn is_untouched(&self) -> bool {
        matches!(self, Self::NotSent | Self::Refused { refusal: Refusal::Draining, .. })
    }

    fn kind(&self) -> &'static str {
        match self.status() {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }

    fn param(&self) -> Option<String> {
        match self {
            Self::Field(field) => Some(field.param.clone()),
            Self::ModelUnknown(_) | Self::ModelNotReady(_) | Self::NoTemplate(_) => Some("model".into()),
            Self::Unable { .. } => Some("model".into()),
            Self::Prompt(_) => Some("messages".into()),
            Self::Refused { param, .. } => param.clone(),
            _ => None,
        }
    }

    fn retry_after_s(&self) -> Option<u16> {
        match self.status() {
            StatusCode::TOO_MANY_REQUESTS => Some(RETRY_BUSY_S),
            StatusCode::SERVICE_UNAVAILABLE => Some(RETRY_NOT_READY_S),
            _ => None,
        }
    }

    /// The body of this error.
    pub(crate) fn body(&self) -> ErrorBody {
        let fields = ErrorFields {
            message: self.to_string(),
            r#type: self.kind(),
            param: self.param(),
            code: self.code().text(),
        };
        ErrorBody { error: fields }
    }
}

fn refusal_code(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::PromptTooLong { .. } => Code::ContextLengthExceeded,
        Refusal::PromptEmpty => Code::PromptEmpty,
        Refusal::OutOfRange { .. } => Code::InvalidValue,
        Refusal::Grammar { .. } => Code::InvalidGrammar,
        Refusal::Unable { .. } => Code::ModelUnable,
        Refusal::QueueFull { .. } => Code::QueueFull,
        Refusal::QueueTimeOver { .. } => Code::QueueTimeOver,
        Refusal::TimeOver { .. } => Code::TimeOver,
        Refusal::Draining => Code::EngineDraining,
        // The gateway sends no token that the vocabulary lacks.
        Refusal::Failed { .. } | Refusal::TokenUnknown { .. } => Code::EngineFailed,
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(self.body())).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_s() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(ErrorCode(self.code().text()));
        response
    }
}

/// Put beside an error answer, for the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ErrorCode(pub(crate) &'static str);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_text_is_cut_between_characters() {
        assert_eq!(shown("short"), "short");
        assert_eq!(shown(&"모".repeat(ECHO_CHARS_MAX)), "모".repeat(ECHO_CHARS_MAX));
        assert_eq!(shown(&"모".repeat(ECHO_CHARS_MAX + 1)), format!("{}…", "모".repeat(ECHO_CHARS_MAX)));
    }
}
