//! llama.cpp, loaded at run time from a kernel pack: a safe layer over generated bindings.
//!
//! Nothing is linked. [`Library::load`] compares each file with its pinned hash and the pack's
//! headers with those that the bindings were generated from, then opens the libraries; they stay
//! for the life of the process, since backends cannot be unloaded safely.
//!
//! What this layer cannot prevent: a `GGML_ASSERT` within llama.cpp ends the process. Hence one
//! process for each model, and headers of model files are checked before they come here.

mod context;
mod library;
mod model;

/// What bindgen made of the pack's headers.
// Generated code names things as C does and has no documentation of its own.
#[allow(
    missing_docs,
    dead_code,
    non_camel_case_types,
    non_snake_case,
    unreachable_pub,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
mod bindings;

pub use bindings::HEADERS_SHA256;
pub use context::{BatchToken, Context, ContextError, ContextParams, DecodeError, KvType, Use};
pub use library::{Library, LoadError, PackFiles, PinnedFile, exit_now};
pub use model::{Model, ModelError, Pooling, TokenKind, TokenizeError};
