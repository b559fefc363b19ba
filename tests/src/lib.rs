//! What the end-to-end tests share: the built programs, what they were built to serve, and
//! fixtures that start them.

pub mod appliance;
pub mod engine;
pub mod gateway;
pub mod programs;
