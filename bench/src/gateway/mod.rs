//! The gateway before a stub engine, against the stub engine alone on its Unix socket.

mod arrivals;
mod direct;
mod programs;
mod through;
mod times;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::Common;
use crate::pairs::{self, Side};
use crate::process;
use crate::report::{Figure, Goal, Machine, Report, Row};
use arrivals::Schedule;
use programs::{Gateway, Stub};

const PEER_NAME: &str = "the stub engine alone";
const MIB: f64 = 1_048_576.0;
/// After its last answer a connection is given this long to come to rest.
const CONNECTIONS_REST_MS: u64 = 2_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Only this measure
    #[arg(long)]
    only: Option<Measure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measure {
    /// Streams that arrive on their own
    Streams,
    /// One-token replies, one after the other on each connection
    Replies,
    Memory,
}

/// How large the loads are.
#[derive(Debug, Clone, Copy)]
struct Scale {
    streams_per_s: f64,
    streams_s: f64,
    /// Clients that each ask again when they have an answer.
    clients: usize,
    replies_s: f64,
    idle_connections: usize,
}

const FULL: Scale =
    Scale { streams_per_s: 150.0, streams_s: 6.0, clients: 32, replies_s: 4.0, idle_connections: 10_000 };
const SMOKE: Scale =
    Scale { streams_per_s: 20.0, streams_s: 0.5, clients: 4, replies_s: 0.2, idle_connections: 50 };

const ADDED: [Figure; 3] = [
    figure("time to first token at 150 streams/s of 64 tokens, p50", "ms", Goal::None),
    figure("time to first token at 150 streams/s of 64 tokens, p99", "ms", Goal::None),
    figure("gateway's CPU for each streamed token, its share of the request included", "µs", Goal::None),
];
const ADDED_P99: Figure = figure("added time to first token, p99", "ms", Goal::AtMost(1.0));
const REPLIES: [Figure; 2] = [
    figure("one-token replies, keep-alive, load generator on the same cores", "1/s", Goal::AtLeast(5000.0)),
    figure("gateway's CPU for each one-token reply", "µs", Goal::None),
];

const UNASKED: Figure =
    figure("gateway's memory with 10,000 TLS connections that asked nothing yet", "MiB", Goal::AtMost(200.0));
const SERVED: Figure = figure(
    "gateway's memory with 10,000 TLS connections that rest after a request",
    "MiB",
    Goal::AtMost(200.0),
);

const fn figure(measure: &'static str, unit: &'static str, goal: Goal) -> Figure {
    Figure { measure, unit, goal }
}

pub(crate) async fn run(arguments: &Arguments) -> Result<Report> {
    let machine = Machine::here();
    let pairs = arguments.common.pairs();
    let scale = if arguments.common.smoke { SMOKE } else { FULL };
    let wanted = |measure| arguments.only.is_none_or(|only| only == measure);
    let folder = tempfile::tempdir()?;
    let stub = Stub::start(folder.path())?;
    let gateway = Gateway::start(folder.path(), &stub).await?;
    // After both were started, which inherit the limit that they have as services.
    programs::raise_open_files(scale.idle_connections)?;
    let bench = Bench { stub, gateway, scale, pairs };
    let mut rows = Vec::new();
    if wanted(Measure::Memory) {
        rows.push(bench.memory_idle()?);
    }
    if wanted(Measure::Streams) {
        rows.extend(bench.streams().await?);
    }
    if wanted(Measure::Replies) {
        rows.extend(bench.replies().await?);
    }
    if wanted(Measure::Memory) {
        rows.extend(bench.memory_connected().await?);
    }
    Ok(Report { machine, pairs, smoke: arguments.common.smoke, rows })
}

struct Bench {
    stub: Stub,
    gateway: Gateway,
    scale: Scale,
    pairs: usize,
}

impl Bench {
    async fn streams(&self) -> Result<Vec<Row>> {
        let pids = [self.stub.pid(), self.gateway.pid()];
        let values = pairs::run(self.pairs, async |side, pair| {
            process::at_rest(&pids).await?;
            let schedule = Schedule::random(self.scale.streams_per_s, self.scale.streams_s, pair as u64);
            let before = process::cpu_time(self.gateway.pid())?;
            let waits = match side {
                Side::Nabi => through::streams(&self.gateway.target, &schedule).await?,
                Side::Peer => direct::streams(self.stub.socket(), &schedule).await?,
            };
            let used = process::cpu_time(self.gateway.pid())? - before;
            let tokens = (schedule.len() * programs::STREAM_TOKENS) as f64;
            let [p50, p99] = times::percentiles_ms(&waits, [0.5, 0.99])?;
            let taken = vec![p50, p99, used.as_secs_f64() * 1e6 / tokens];
            eprintln!("  {pair} {side:?} {taken:.3?}");
            Ok(taken)
        });
        let values = values.await?;
        let mut rows: Vec<Row> =
            (0..2).map(|at| ADDED[at].of_pairs(&values.nabi[at], &values.peer[at], PEER_NAME)).collect();
        // Against the stub's usual wait, not its own 99th percentile: the machine's hiccups count
        // against the gateway.
        let added = values.nabi[1].iter().zip(&values.peer[0]).map(|(nabi, peer)| nabi - peer);
        rows.push(ADDED_P99.alone(&added.collect::<Vec<_>>()));
        rows.push(ADDED[2].alone(&values.nabi[2]));
        Ok(rows)
    }

    async fn replies(&self) -> Result<Vec<Row>> {
        let pids = [self.stub.pid(), self.gateway.pid()];
        let Scale { clients, replies_s, .. } = self.scale;
        let values = pairs::run(self.pairs, async |side, pair| {
            process::at_rest(&pids).await?;
            let before = process::cpu_time(self.gateway.pid())?;
            let replies = match side {
                Side::Nabi => through::replies(&self.gateway.target, clients, replies_s).await?,
                Side::Peer => direct::replies(self.stub.socket(), clients, replies_s).await?,
            };
            let used = process::cpu_time(self.gateway.pid())? - before;
            let taken = vec![replies.per_second(), used.as_secs_f64() * 1e6 / replies.count as f64];
            eprintln!("  {pair} {side:?} {taken:.1?}");
            Ok(taken)
        });
        let values = values.await?;
        Ok(vec![
            REPLIES[0].of_pairs(&values.nabi[0], &values.peer[0], PEER_NAME),
            REPLIES[1].alone(&values.nabi[1]),
        ])
    }

    fn memory_idle(&self) -> Result<Row> {
        let figure = figure("gateway's memory, just started", "MiB", Goal::AtMost(30.0));
        Ok(figure.alone(&[process::resident_bytes(self.gateway.pid())? as f64 / MIB]))
    }

    /// With clients that rest: those that never asked, and those that were served once.
    async fn memory_connected(&self) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for (served, figure) in [(false, UNASKED), (true, SERVED)] {
            // Those of an earlier measure are closed by then.
            process::at_rest(&[self.gateway.pid()]).await?;
            let wanted = self.scale.idle_connections;
            let files_before = process::open_files(self.gateway.pid())?;
            let held = through::idle_connections(&self.gateway.target, wanted, served).await?;
            tokio::time::sleep(Duration::from_millis(CONNECTIONS_REST_MS)).await;
            process::at_rest(&[self.gateway.pid()]).await?;
            let open = process::open_files(self.gateway.pid())?.saturating_sub(files_before);
            ensure!(open == wanted, "the gateway holds {open} connections instead of {wanted}");
            rows.push(figure.alone(&[process::resident_bytes(self.gateway.pid())? as f64 / MIB]));
            // It still serves.
            through::replies(&self.gateway.target, 1, 0.0).await?;
            drop(held);
        }
        Ok(rows)
    }
}
