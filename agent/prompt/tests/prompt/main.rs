//! Chats to pieces: as `transformers` makes them, within limits, and whatever callers send.

mod attacks;
mod history;
mod limits;
mod model;
mod property;
mod reference;
