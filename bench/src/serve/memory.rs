//! Memory of an engine above ggml's own buffers.

use std::fs;

use anyhow::{Context, Result};

use super::server::{PEER_NAME, Server};
use crate::process;
use crate::report::{Figure, Goal, Row};

const MIB: f64 = 1_048_576.0;

/// Resident memory without the mapped model and without keys and values, after all other measures.
/// Keys and values are also those of computed prefixes that Nabi keeps for later, which it counts and
/// limits; what llama-server keeps of them is in its figure.
/// ggml's buffers for one step (some 20 MiB) count in, since no engine tells how much of them is
/// resident: the figure is an upper bound.
pub(super) fn row(nabi: &Server, peer: &Server, kv_mib: f64, nabi_saved_mib: f64) -> Result<Row> {
    let own = |server: &Server, kept_mib: f64| -> Result<f64> {
        Ok(process::resident_bytes_but(server.engine, ".gguf")? as f64 / MIB - kept_mib)
    };
    let figure = Figure {
        measure: "engine's memory above ggml's buffers for weights, keys and values",
        unit: "MiB",
        goal: Goal::AtMost(100.0),
    };
    Ok(figure.of_pairs(&[own(nabi, kv_mib + nabi_saved_mib)?], &[own(peer, kv_mib)?], PEER_NAME))
}

/// Size of the keys and values, from the log of a llama-server that tells it.
pub(super) fn kv_mib(log: &std::path::Path) -> Result<f64> {
    let text = fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    let sizes = text.lines().filter(|line| line.contains("KV buffer size"));
    let sizes =
        sizes.filter_map(|line| line.split('=').next_back()?.trim().strip_suffix(" MiB")?.parse().ok());
    sizes
        .reduce(|sum: f64, size| sum + size)
        .with_context(|| format!("llama-server tells no KV buffer: {text}"))
}
