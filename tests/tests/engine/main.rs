//! The engine of llama.cpp as a process with the built kernel pack, over its wire.
//!
//! No test's verdict depends on time: each waits for what must come, with a deadline that only a
//! hang meets. An answer that must still run when something happens is one that only its test ends.

mod flow;
mod golden;
mod life;
mod refusals;
mod sampling;
mod texts;

use nabi_domain::Piece;
use nabi_wire::engine::{Generate, Sampling};

/// A prompt of text alone.
fn text(text: &str) -> Vec<Piece> {
    vec![Piece::Text(text.to_owned())]
}

/// A request that runs on to the context's end: at this temperature all tokens are about as likely,
/// and the end token is one of 49,152.
fn endless() -> Generate {
    let sampling = Sampling { temperature: 100.0, seed: Some(1), ..Sampling::default() };
    Generate { id: 0, pieces: text("Once"), sampling, stop: Vec::new(), tokens_max: None, logprobs: false }
}
