//! The engine host: what every engine shares. It accepts connections, queues requests, steps the
//! model from one thread, turns tokens into text, and streams it.
//!
//! An engine brings a [`Vocabulary`] and a [`Backend`]; [`serve::run`] does the rest.

pub mod backend;
mod connection;
mod host;
pub mod serve;
pub mod text;
mod ticket;

pub use backend::{Backend, Chosen, Loaded, Slot, StepError, Vocabulary};
pub use ticket::Interest;
