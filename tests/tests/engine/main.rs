//! The engine of llama.cpp as a process with the built kernel pack, over its wire.
//!
//! No test's verdict depends on time: each waits for what must come, with a deadline that only a
//! hang meets. An answer that must still run when something happens is one that only its test ends.

mod embed;
mod flow;
mod golden;
mod grammar;
mod life;
mod prefix;
mod refusals;
mod sampling;
mod scores;
mod self_test;
mod sharing;
mod texts;

use nabi_domain::Piece;
use nabi_tests::engine::greedy;
use nabi_wire::engine::Generate;

/// A prompt of text alone.
fn text(text: &str) -> Vec<Piece> {
    vec![Piece::Text(text.to_owned())]
}

/// A request that runs on to the context's end: after so many ones, another is the likeliest.
fn endless() -> Generate {
    Generate { tokens_max: None, ..greedy(text(&"1 ".repeat(16)), 1) }
}
