//! What programs tell errors apart by.

use axum::http::StatusCode;

/// Declares the codes, each once, with its status and its text.
macro_rules! codes {
    ($($code:ident = $status:literal $text:literal,)+) => {
        /// An error's code. Each has one status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code {
            $($code,)+
        }

        impl Code {
            /// All of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$code,)+];

            /// As answers have it.
            pub(crate) fn text(self) -> &'static str {
                match self {
                    $(Self::$code => $text,)+
                }
            }

            fn status_number(self) -> u16 {
                match self {
                    $(Self::$code => $status,)+
                }
            }
        }
    };
}

codes! {
    InvalidJson = 400 "invalid_json",
    InvalidBody = 400 "invalid_body",
    InvalidType = 400 "invalid_type",
    InvalidValue = 400 "invalid_value",
    MissingParameter = 400 "missing_required_parameter",
    UnknownParameter = 400 "unknown_parameter",
    UnsupportedParameter = 400 "unsupported_parameter",
    ContextLengthExceeded = 400 "context_length_exceeded",
    PromptEmpty = 400 "prompt_empty",
    InvalidMessages = 400 "invalid_messages",
    InvalidGrammar = 400 "invalid_grammar",
    NoChatTemplate = 400 "no_chat_template",
    ModelUnable = 400 "model_unable",
    InvalidApiKey = 401 "invalid_api_key",
    KeyScope = 403 "key_scope",
    ModelNotFound = 404 "model_not_found",
    UnknownUrl = 404 "unknown_url",
    MethodNotAllowed = 405 "method_not_allowed",
    RequestTimeout = 408 "request_timeout",
    ReadTooSlowly = 408 "read_too_slowly",
    RequestTooLarge = 413 "request_too_large",
    QueueFull = 429 "queue_full",
    TooManyRequests = 429 "too_many_requests",
    EngineFailed = 500 "engine_failed",
    InternalError = 500 "internal_error",
    EngineLost = 502 "engine_lost",
    BodiesFull = 503 "bodies_full",
    ModelNotReady = 503 "model_not_ready",
    EngineDraining = 503 "engine_draining",
    QueueTimeOver = 503 "queue_time_over",
    ShuttingDown = 503 "shutting_down",
    TimeOver = 504 "time_over",
}

impl Code {
    /// The status that goes with it.
    pub(crate) fn status(self) -> StatusCode {
        StatusCode::from_u16(self.status_number()).expect("the statuses above are valid ones")
    }
}
