//! How our processes speak: frames on Unix sockets, the actions of an operator, the engine's
//! requests and answers, and the configuration files that the supervisor writes.

pub mod action;
pub mod config;
pub mod engine;
pub mod frame;
pub mod import;
pub mod lifeline;
pub mod log;
pub mod probe;
pub mod reply;
