//! Model files as they come from outside: bounded readers of GGUF and safetensors headers, what an
//! import takes from a folder, the manifest of a stored model, and the store.
//!
//! Nothing here runs, deserialises or maps what it reads, and nothing writes but
//! [`manifest::Manifest::write`] and [`atomic_file`].

pub mod atomic_file;
pub mod folder;
pub mod gguf;
pub mod inspect;
pub mod manifest;
pub mod regular_file;
pub mod safetensors;
pub mod search;
pub mod store;

pub use inspect::{InspectError, Inspected, SourceFile, inspect, inspect_among};
pub use manifest::{Manifest, StoredFile};
pub use search::Parts;
pub use store::{Store, StoreError, StoredModel};
