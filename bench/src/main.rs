//! `nabi-bench`: measures Nabi and what it is compared with, in one run, one after the other in
//! turns, and writes `bench/NAME.json`.
//!
//! Rules that hold for each measure: the load generator is one thread; a load runs only while the
//! other side is at rest, which is looked at and not assumed; each answer's status and tokens are
//! checked; a first run of each side warms up and does not count.

mod capacity;
mod gateway;
mod http;
mod image;
mod pairs;
mod process;
mod report;
mod serve;
mod sse;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};

use crate::report::Report;

/// Pairs of runs that a published figure needs at least.
const PAIRS_MIN: usize = 7;

/// Measures both sides in one run, alternating
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Debug, Subcommand)]
enum Suite {
    /// The whole appliance over HTTPS against llama-server over plain HTTP
    Serve(serve::Arguments),
    /// The gateway before a stub engine against the stub engine alone
    Gateway(gateway::Arguments),
    /// The image in a virtual computer: size, memory, time to the first token
    Image(image::Arguments),
    /// What `nabi capacity` tells of memory and speed against what is then taken and seen
    Capacity(capacity::Arguments),
}

/// What all suites take.
#[derive(Debug, clap::Args)]
struct Common {
    /// Write the figures into this file, JSON
    #[arg(long)]
    out: PathBuf,
    /// Pairs of runs; medians need an odd number
    #[arg(long, default_value_t = PAIRS_MIN)]
    pairs: usize,
    /// One pair of tiny runs: shows that the benchmark works, and measures nothing
    #[arg(long)]
    smoke: bool,
}

impl Common {
    fn pairs(&self) -> usize {
        if self.smoke { 1 } else { self.pairs }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nabi-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let (report, out) = match Arguments::parse().suite {
        Suite::Serve(arguments) => (serve::run(&arguments).await?, arguments.common.out),
        Suite::Gateway(arguments) => (gateway::run(&arguments).await?, arguments.common.out),
        Suite::Image(arguments) => (image::run(&arguments).await?, arguments.common.out),
        Suite::Capacity(arguments) => (capacity::run(&arguments).await?, arguments.common.out),
    };
    ensure!(!report.rows.is_empty(), "nothing was measured");
    print!("{}", report.markdown());
    save(&report, &out)
}

fn save(report: &Report, path: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(report).context("cannot write the figures as JSON")?;
    std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}
