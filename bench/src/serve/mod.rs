//! The whole appliance against llama.cpp's own server.

mod ask;
mod measure;
mod memory;
mod prompt;
mod server;

use std::path::PathBuf;

use anyhow::Result;
use tempfile::TempDir;

use crate::Common;
use crate::pairs::{self, Side};
use crate::process;
use crate::report::{Machine, Report, Row};
use measure::{Measure, Scale};
pub(crate) use prompt::Prompt;
use prompt::Prompts;
pub(crate) use server::{Server, never_ending};

/// Requests that both sides compute together.
const SEQUENCES: u32 = 16;
/// Context of each of them.
const CONTEXT_TOKENS: u32 = 8192;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Only this measure
    #[arg(long)]
    only: Option<Measure>,
    /// The kernel pack's folder
    #[arg(long)]
    pack: PathBuf,
    /// The GGUF file that both serve
    #[arg(long)]
    model: PathBuf,
    /// llama.cpp's server, built against the pack's libraries
    #[arg(long)]
    llama_server: PathBuf,
}

/// Both servers, idle unless they are asked.
struct Bench {
    nabi: Server,
    peer: Server,
    prompts: Prompts,
    scale: Scale,
    pairs: usize,
    // Dropped after the servers that write into it.
    folder: TempDir,
}

pub(crate) async fn run(arguments: &Arguments) -> Result<Report> {
    let machine = Machine::here();
    let pairs = arguments.common.pairs();
    let bench = Bench::start(arguments, pairs).await?;
    let mut rows = Vec::new();
    for measure in Measure::ALL {
        if arguments.only.is_none_or(|only| only == measure) {
            eprintln!("{measure:?}: {pairs} pairs");
            rows.extend(bench.measure(measure).await?);
        }
    }
    if arguments.only.is_none_or(|only| only == Measure::Memory) {
        rows.push(bench.memory(arguments).await?);
    }
    Ok(Report { machine, pairs, smoke: arguments.common.smoke, rows })
}

impl Bench {
    async fn start(arguments: &Arguments, pairs: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut nabi = Server::nabi(
            &arguments.model,
            &arguments.pack,
            &[("--sequences", SEQUENCES), ("--context-tokens", CONTEXT_TOKENS)],
            folder.path(),
        )
        .await?;
        let mut peer =
            Server::llama_server(arguments, nabi.shape, &folder.path().join("llama-server.log"), &[]).await?;
        if nabi.shape.sequences < SEQUENCES {
            eprintln!("this appliance computes only {} requests together", nabi.shape.sequences);
        }
        let fields = server::never_ending(&peer.end_tokens().await?);
        if nabi.takes(&fields).await? && peer.takes(&fields).await? {
            (nabi.fields, peer.fields) = (fields.clone(), fields);
        } else {
            eprintln!("answers may end early: figures of decoding compare different amounts of work");
        }
        let prompts = Prompts::calibrated(&peer).await?;
        let scale = Scale::new(arguments.common.smoke, nabi.shape.sequences as usize);
        Ok(Self { nabi, peer, prompts, scale, pairs, folder })
    }

    async fn memory(&self, arguments: &Arguments) -> Result<Row> {
        let log = self.folder.path().join("llama-server-buffers.log");
        drop(Server::llama_server(arguments, self.nabi.shape, &log, &["--log-verbosity", "4"]).await?);
        let saved_mib = server::nabi_saved_mib(self.folder.path())?;
        eprintln!("Memory: {saved_mib:.0} MiB of computed prefixes kept by Nabi are not counted");
        memory::row(&self.nabi, &self.peer, memory::kv_mib(&log)?, saved_mib)
    }

    async fn measure(&self, measure: Measure) -> Result<Vec<Row>> {
        let pids: Vec<u32> = [&self.nabi, &self.peer].iter().flat_map(|server| server.pids.clone()).collect();
        let values = pairs::run(self.pairs, async |side, pair| {
            process::at_rest(&pids).await?;
            let server = if side == Side::Nabi { &self.nabi } else { &self.peer };
            let taken = measure.take(server, &self.prompts, &self.scale, pair as u64).await?;
            eprintln!("  {pair} {side:?} {taken:.2?}");
            Ok(taken)
        });
        let values = values.await?;
        let figures = measure.figures().iter().zip(values.nabi.iter().zip(&values.peer));
        Ok(figures.map(|(figure, (nabi, peer))| figure.of_pairs(nabi, peer, server::PEER_NAME)).collect())
    }
}
