//! Every answer that is not the wanted one, in OpenAI's form: one enum, from which status, type,
//! parameter and code follow.

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use nabi_domain::ModelName;
use nabi_prompt::RenderError;
use nabi_wire::engine::Refusal;
use serde::Serialize;

use crate::body::{BODY_BYTES_MAX, BODY_READ_MS_MAX};

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
    #[error("nothing is served at {method} {path}")]
    RouteUnknown { method: String, path: String },
    #[error("{method} is not allowed at {path}")]
    MethodWrong { method: String, path: String },
    #[error("the request's body is larger than {BODY_BYTES_MAX} bytes: send less")]
    BodyTooLarge,
    #[error("the request's body did not arrive within {BODY_READ_MS_MAX} ms")]
    BodyTooSlow,
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
    #[error(transparent)]
    Refused(Refusal),
    #[error("too many requests are under way: try again later")]
    Busy,
    #[error("the model's engine was lost before the answer was complete: send the request again")]
    EngineLost,
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
    pub(crate) code: &'static str,
    pub(crate) message: String,
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
        use StatusCode as S;
        match self {
            Self::KeyMissing | Self::KeyWrong => S::UNAUTHORIZED,
            Self::RouteUnknown { .. } | Self::ModelUnknown(_) => S::NOT_FOUND,
            Self::MethodWrong { .. } => S::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge => S::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => S::REQUEST_TIMEOUT,
            Self::BodyBroken | Self::Json(_) | Self::NotAnObject | Self::Field(_) => S::BAD_REQUEST,
            Self::NoTemplate(_) | Self::Prompt(_) => S::BAD_REQUEST,
            Self::Refused(refusal) => match refusal {
                Refusal::QueueFull { .. } => S::TOO_MANY_REQUESTS,
                Refusal::Draining => S::SERVICE_UNAVAILABLE,
                Refusal::Failed { .. } | Refusal::TokenUnknown { .. } => S::INTERNAL_SERVER_ERROR,
                Refusal::PromptTooLong { .. } | Refusal::PromptEmpty | Refusal::OutOfRange { .. } => {
                    S::BAD_REQUEST
                }
            },
            Self::Busy => S::TOO_MANY_REQUESTS,
            Self::EngineLost => S::BAD_GATEWAY,
            Self::ModelNotReady(_) | Self::ShuttingDown => S::SERVICE_UNAVAILABLE,
            Self::ReadTooSlowly => S::REQUEST_TIMEOUT,
            Self::Internal => S::INTERNAL_SERVER_ERROR,
        }
    }

    /// What programs tell errors apart by.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::KeyMissing | Self::KeyWrong => "invalid_api_key",
            Self::RouteUnknown { .. } => "unknown_url",
            Self::MethodWrong { .. } => "method_not_allowed",
            Self::BodyTooLarge => "request_too_large",
            Self::BodyTooSlow => "request_timeout",
            Self::BodyBroken | Self::NotAnObject => "invalid_body",
            Self::Json(_) => "invalid_json",
            Self::Field(field) => field.code,
            Self::ModelUnknown(_) => "model_not_found",
            Self::ModelNotReady(_) => "model_not_ready",
            Self::NoTemplate(_) => "no_chat_template",
            Self::Prompt(_) => "invalid_messages",
            Self::Refused(refusal) => match refusal {
                Refusal::PromptTooLong { .. } => "context_length_exceeded",
                Refusal::PromptEmpty => "prompt_empty",
                Refusal::OutOfRange { .. } => "invalid_value",
                Refusal::QueueFull { .. } => "queue_full",
                Refusal::Draining => "engine_draining",
                Refusal::Failed { .. } | Refusal::TokenUnknown { .. } => "engine_failed",
            },
            Self::Busy => "too_many_requests",
            Self::EngineLost => "engine_lost",
            Self::ReadTooSlowly => "read_too_slowly",
            Self::ShuttingDown => "shutting_down",
            Self::Internal => "internal_error",
        }
    }

    fn kind(&self) -> &'static str {
        match self.status() {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }

    fn param(&self) -> Option<String> {
        match self {
            Self::Field(field) => Some(field.param.clone()),
            Self::ModelUnknown(_) | Self::ModelNotReady(_) | Self::NoTemplate(_) => Some("model".into()),
            Self::Prompt(_) | Self::Refused(Refusal::PromptTooLong { .. } | Refusal::PromptEmpty) => {
                Some("messages".into())
            }
            Self::Refused(Refusal::OutOfRange { field, .. }) => Some(field.clone()),
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
            code: self.code(),
        };
        ErrorBody { error: fields }
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
        response.extensions_mut().insert(ErrorCode(self.code()));
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
