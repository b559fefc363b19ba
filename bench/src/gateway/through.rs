//! Load through the gateway: HTTPS on connections that stay.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use serde::Deserialize;
use serde_json::json;

use super::arrivals::{Arrival, Schedule};
use super::programs::{MODEL, ONE_TOKEN, STREAM_TOKENS};
use super::times::Replies;
use crate::http::{Connection, Target, Usage};

const PATH: &str = "/v1/chat/completions";
/// Opened before the load: as many as streams run together at any time, with room.
const CONNECTIONS_OPEN: usize = 256;
/// TLS handshakes under way together, while idle connections are opened.
const HANDSHAKES_MAX: usize = 16;

fn body(content: &str, stream: bool) -> Bytes {
    let mut body =
        json!({"model": MODEL, "messages": [{"role": "user", "content": content}], "stream": stream});
    if stream {
        body["stream_options"] = json!({"include_usage": true});
    }
    body.to_string().into()
}

/// Each stream's wait for its first token, counted from when it was due.
pub(super) async fn streams(target: &Target, schedule: &Schedule) -> Result<Vec<Duration>> {
    let mut idle = try_join_all((0..CONNECTIONS_OPEN).map(|_| target.connect())).await?;
    let body = body("Hello", true);
    let (mut arrivals, mut running) = (schedule.begin(), FuturesUnordered::new());
    let mut waits = Vec::with_capacity(schedule.len());
    while waits.len() < schedule.len() {
        tokio::select! {
            biased;
            Some(arrival) = arrivals.recv() => {
                let connection = idle.pop().context("more streams run together than connections are open")?;
                running.push(stream(connection, arrival, body.clone()));
            }
            Some(done) = running.next() => {
                let (wait, connection) = done?;
                waits.push(wait);
                idle.push(connection);
            }
        }
    }
    Ok(waits)
}

async fn stream(mut connection: Connection, arrival: Arrival, body: Bytes) -> Result<(Duration, Connection)> {
    let mut stream = connection.stream(PATH, body).await?;
    let (mut first, mut usage) = (None, None);
    while let Some(arrived) = stream.next().await? {
        if arrived.event.has_text() {
            first = first.or(Some(arrived.at));
        }
        usage = arrived.event.usage.or(usage);
    }
    let tokens = usage.map(|Usage { completion_tokens, .. }| completion_tokens);
    ensure!(tokens == Some(STREAM_TOKENS as u64), "stream {} had {tokens:?} tokens", arrival.number);
    Ok((first.context("a stream without text")? - arrival.due, connection))
}

/// Clients that ask for one token, again and again, each on its own connection.
pub(super) async fn replies(target: &Target, clients: usize, seconds: f64) -> Result<Replies> {
    let connections = try_join_all((0..clients).map(|_| target.connect())).await?;
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(seconds);
    let counts = try_join_all(connections.into_iter().map(|connection| ask_until(connection, end))).await?;
    Ok(Replies { count: counts.iter().sum(), within: start.elapsed() })
}

#[derive(Deserialize)]
struct Whole {
    usage: Usage,
}

async fn ask_until(mut connection: Connection, end: Instant) -> Result<u64> {
    let (body, mut count) = (body(ONE_TOKEN, false), 0);
    while count == 0 || Instant::now() < end {
        let answer = connection.post(PATH, body.clone()).await?;
        let answer: Whole = serde_json::from_slice(&answer).context("not an answer")?;
        ensure!(answer.usage.completion_tokens == 1, "{} tokens", answer.usage.completion_tokens);
        count += 1;
    }
    Ok(count)
}

/// Opens connections that rest, each after one request where `served` says so.
pub(super) async fn idle_connections(target: &Target, count: usize, served: bool) -> Result<Vec<Connection>> {
    let opening = (0..count).map(async |at| {
        let mut connection = target.connect().await.with_context(|| format!("after {at} connections"))?;
        if served {
            connection.get("/healthz").await.with_context(|| format!("after {at} connections"))?;
        }
        anyhow::Ok(connection)
    });
    let mut opening = futures_util::stream::iter(opening).buffer_unordered(HANDSHAKES_MAX);
    let mut held = Vec::with_capacity(count);
    while let Some(connection) = opening.next().await {
        held.push(connection?);
    }
    Ok(held)
}
