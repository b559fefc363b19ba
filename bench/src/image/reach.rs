//! How soon a computer is of use.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use nabi_machine::Setup;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::appliance::Appliance;
use crate::http::Target;

const MODEL: &str = "nabi-self-test";
/// Of ours that the peer boots without; what sets up the network stays.
const OURS: [&str; 6] = [
    "nabi-supervisor.service",
    "nabi-supervisor.socket",
    "nabi-health.service",
    "nabi-trial-deadline.timer",
    "nabi-screen@tty1.service",
    "nabi-screen@ttyS0.service",
];
const BANNER: &[u8] = b"SSH-2.0-";
/// A computer that is not reached yet leaves a connection without an answer: so the next one is tried
/// beside it, and it is given up later.
const NEXT_MS: u64 = 500;
const GIVE_UP_MS: u64 = 10_000;
/// Only ends a hang.
const BOOT_S_MAX: u64 = 1200;

/// Seconds from switching on to the first text of an answer.
pub(crate) async fn first_token(appliance: &Appliance) -> Result<f64> {
    let computer = appliance.computer()?;
    let target = appliance.target(&computer)?;
    let started = Instant::now();
    let _machine = computer.boot(&Setup::default())?;
    first_success(started, async || answer(&target).await).await
}

async fn answer(target: &Target) -> Result<()> {
    let mut connection = target.connect().await?;
    let body = json!({
        "model": MODEL, "stream": true, "max_tokens": 1,
        "messages": [{"role": "user", "content": "hello"}],
    });
    let mut stream = connection.stream("/v1/chat/completions", Bytes::from(body.to_string())).await?;
    while let Some(arrived) = stream.next().await? {
        if arrived.event.has_text() {
            return Ok(());
        }
    }
    bail!("an answer without text")
}

/// Seconds from switching on, without our services, to what an SSH server says first.
pub(crate) async fn ssh_banner(appliance: &Appliance) -> Result<f64> {
    let computer = appliance.computer()?;
    let masks = OURS.map(|unit| format!("systemd.mask={unit}")).join(" ");
    let arguments = format!("io.systemd.stub.kernel-cmdline-extra={masks}");
    let started = Instant::now();
    let _machine = computer.boot(&Setup { firmware_strings: vec![arguments], ..Setup::default() })?;
    first_success(started, async || banner(computer.ssh_port()).await).await
}

async fn banner(port: u16) -> Result<()> {
    let mut banner = [0; BANNER.len()];
    TcpStream::connect(("127.0.0.1", port)).await?.read_exact(&mut banner).await?;
    ensure!(banner == BANNER, "no SSH server");
    Ok(())
}

/// Tries again and again, and gives the seconds until it went well.
async fn first_success(started: Instant, attempt: impl AsyncFn() -> Result<()>) -> Result<f64> {
    let mut attempts = FuturesUnordered::new();
    let mut last = None;
    while started.elapsed() < Duration::from_secs(BOOT_S_MAX) {
        attempts.push(tokio::time::timeout(Duration::from_millis(GIVE_UP_MS), attempt()));
        let pause = tokio::time::sleep(Duration::from_millis(NEXT_MS));
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                Some(outcome) = attempts.next() => match outcome {
                    Ok(Ok(())) => return Ok(started.elapsed().as_secs_f64()),
                    Ok(Err(error)) => last = Some(error),
                    Err(_) => {}
                },
            }
        }
    }
    bail!("not within {BOOT_S_MAX} s: {last:?}")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn an_attempt_without_answer_does_not_hold_up_the_next() {
        let attempts = Cell::new(0);
        let outcome = first_success(Instant::now(), async || {
            attempts.set(attempts.get() + 1);
            match attempts.get() {
                1 => std::future::pending().await,
                2 => bail!("not yet"),
                _ => Ok(()),
            }
        });
        outcome.await.expect("the third goes well");
        assert_eq!(attempts.get(), 3);
    }
}
