//! The same load on the stub engine's Unix socket, by one connection as the gateway has.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use nabi_domain::Piece;
use nabi_wire::engine::{FromEngine, Generate, Greeting, ToEngine, Usage};
use nabi_wire::frame::{self, Reader, Writer};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::arrivals::Schedule;
use super::programs::{ONE_TOKEN, STREAM_TOKENS};
use super::times::Replies;

/// A connection to a loaded engine.
struct Engine {
    reader: Reader<OwnedReadHalf, FromEngine>,
    writer: Writer<OwnedWriteHalf, ToEngine>,
}

impl Engine {
    async fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).await.context("the stub engine does not listen")?;
        let (read, write) = stream.into_split();
        let mut engine = Self { reader: frame::reader(read), writer: frame::writer(write) };
        engine.writer.send(ToEngine::Greeting(Greeting::OURS)).await?;
        while !matches!(engine.next().await?, FromEngine::Ready(_)) {}
        Ok(engine)
    }

    async fn next(&mut self) -> Result<FromEngine> {
        Ok(self.reader.next().await.context("the stub engine is gone")??)
    }

    async fn ask(&mut self, id: u64, text: &str) -> Result<()> {
        let generate = Generate::new(id, vec![Piece::Text(text.into())]);
        Ok(self.writer.send(ToEngine::Generate(Box::new(generate))).await?)
    }
}

/// Each stream's wait for its first token, counted from when it was due.
pub(super) async fn streams(socket: &Path, schedule: &Schedule) -> Result<Vec<Duration>> {
    let mut engine = Engine::connect(socket).await?;
    let mut arrivals = schedule.begin();
    let mut due: HashMap<u64, Instant> = HashMap::new();
    let mut waits = Vec::with_capacity(schedule.len());
    let mut ended = 0;
    while ended < schedule.len() {
        tokio::select! {
            biased;
            Some(arrival) = arrivals.recv() => {
                due.insert(arrival.number as u64, arrival.due);
                engine.ask(arrival.number as u64, "Hello").await?;
            }
            frame = engine.reader.next() => match frame.context("the stub engine is gone")?? {
                FromEngine::Delta(delta) => waits.extend(due.remove(&delta.id).map(|due| due.elapsed())),
                FromEngine::Finish { usage, .. } => {
                    check(usage, STREAM_TOKENS)?;
                    ended += 1;
                }
                other => bail!("the stub engine answers {other:?}"),
            }
        }
    }
    Ok(waits)
}

/// As many requests under way as there are clients, each followed by the next.
pub(super) async fn replies(socket: &Path, clients: usize, seconds: f64) -> Result<Replies> {
    let mut engine = Engine::connect(socket).await?;
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(seconds);
    let (mut count, mut under_way) = (0, clients);
    for id in 0..clients as u64 {
        engine.ask(id, ONE_TOKEN).await?;
    }
    while under_way > 0 {
        match engine.next().await? {
            FromEngine::Delta(_) => {}
            FromEngine::Finish { id, usage, .. } => {
                check(usage, 1)?;
                count += 1;
                if Instant::now() < end {
                    engine.ask(id, ONE_TOKEN).await?;
                } else {
                    under_way -= 1;
                }
            }
            other => bail!("the stub engine answers {other:?}"),
        }
    }
    Ok(Replies { count, within: start.elapsed() })
}

fn check(usage: Usage, tokens: usize) -> Result<()> {
    ensure!(usage.completion_tokens as usize == tokens, "{} tokens, not {tokens}", usage.completion_tokens);
    Ok(())
}
