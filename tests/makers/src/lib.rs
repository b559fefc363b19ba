//! Makes tiny models with DeepSeek's real layer structure, so that engines can be held against a reference
//! without hundreds of gigabytes of weights.
//!
//! ```text
//! DeepSeek's tokenizer ──cut──┐
//! Kind → Config → tensors ────┴─ Model ─┬─ write_huggingface → config, tokenizer, model.safetensors
//!                                       └─ write_gguf        → one GGUF file for llama.cpp
//! ```
//!
//! Weights come from a counter-based generator that uses exactly rounded operations alone: the files have
//! the same SHA-256 on every machine (`tests/golden/models.sha256`).

mod config;
mod error;
mod generator;
mod gguf;
mod huggingface;
mod llama_cpp;
mod model;
mod tokenizer;
mod weights;

pub use config::Kind;
pub use error::MakeError;
pub use model::Model;
pub use tokenizer::{Tokenizer, tokenizer_folder};
