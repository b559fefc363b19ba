//! The engine host: what every engine shares. It accepts connections, queues requests, steps the
//! model from one thread, turns tokens into text, and streams it.
//!
//! An engine brings a [`Vocabulary`] and a [`Backend`]; [`serve::run`] does the rest.

pub mod backend;
mod check;
mod connection;
mod host;
mod pace;
mod request;
mod schedule;
pub mod serve;
pub mod text;
mod ticket;

pub use backend::{
    Backend, Generation, Loaded, Memory, Output, Placed, Score, Slot, StepError, StepLimits, Task,
    Vocabulary, Work,
};
pub use ticket::Interest;
