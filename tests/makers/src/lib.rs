//! Makes tiny models with DeepSeek's real layer structure, so that engines can be held against a reference
//! without hundreds of gigabytes of weights.
//!
//! ```text
//! DeepSeek's tokenizer ──cut──┐
//! Kind → Config → tensors ────┴─ Model ─┬─ write_huggingface → config, tokenizer, model.safetensors
//!                                       └─ write_gguf        → one GGUF file for llama.cpp
//! ```
//! [`Standalone`] models are of other families (encoders and decoders that give vectors, a chat model with
//! tools) and have vocabularies of their own. The self-test model is part of the appliance. Wide models
//! ([`write_shape`]) have the real widths, few layers and no sense: for benchmarks.
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
mod self_test;
mod shapes;
mod standalone;
mod tokenizer;
mod weights;

pub use config::Kind;
pub use error::MakeError;
pub use model::Model;
pub use self_test::{KNOWN_FILE, SELF_TEST_NAME, known_answer, write_self_test, write_self_test_huggingface};
pub use shapes::{Quantization, Shape, write_shape};
pub use standalone::{Standalone, StandaloneKind, byte_letter};
pub use tokenizer::{Tokenizer, tokenizer_folder};
