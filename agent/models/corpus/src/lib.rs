//! Small models and hostile files, made by code: no binary lies in the repository.
//!
//! [`gguf`] and [`safetensors`] write files byte by byte, also wrong ones; [`hostile`] is the table
//! of files that must be refused, each with words that the error must contain.

pub mod folder;
pub mod gguf;
pub mod hostile;
pub mod safetensors;
