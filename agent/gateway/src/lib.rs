//! `nabi-gateway`: TLS, keys and the API. It holds the leaf certificate and the hashes of the
//! keys; it never touches weights, devices or slots.
//!
//! Its parent passes the listening socket (LISTEN_FDS), a configuration file, a socket for
//! notifications (NOTIFY_SOCKET), and a pipe as standard input, with whose end it ends. SIGHUP
//! reads the configuration again; SIGTERM drains, a second one ends the grace.
//!
//! It is a library for one reason: so that tests reach what reads requests ([`mod@read`]).

mod answer;
mod auth;
mod body;
mod caller;
mod chat;
mod completions;
mod embeddings;
mod engine;
mod error;
mod health;
mod http;
mod listener;
mod metrics;
mod models;
mod openapi;
mod places;
mod random;
pub mod read;
mod record;
mod request;
mod serving;
mod shutdown;
mod sse;
mod tenancy;
mod tls;
mod tokenize;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use nabi_wire::{config, lifeline};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::body::Bodies;
use crate::http::App;
use crate::places::Places;
use crate::serving::Serving;
use crate::shutdown::Shutdown;

/// After the grace, so long may the final events take to be sent.
const FINAL_SEND_MS_MAX: u64 = 5_000;

/// Serves the API over TLS
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file, JSON
    #[arg(long)]
    config: PathBuf,
}

/// The whole program.
///
/// # Errors
/// When it cannot start, or cannot go on.
pub fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let listener = listener::inherited()?;
    lifeline::exit_with_parent().context("cannot watch for the end of the parent process")?;
    log_json();
    let config = config::read(&arguments.config)?;
    run(listener, config, &arguments.config)
}

#[tokio::main]
async fn run(
    listener: std::net::TcpListener,
    config: config::GatewayConfig,
    config_path: &Path,
) -> anyhow::Result<()> {
    // Build.
    let mut signals = Signals::new().context("cannot receive signals")?;
    let (publish, serving) = watch::channel(Arc::new(Serving::build(config, None)?));
    let limits = publish.borrow().limits;
    let connections_max = listener::connections_max(&limits, listener::raise_descriptor_limit()?);
    let app = App::new(serving, Shutdown::default(), Bodies::new(&limits));
    let connections = TaskTracker::new();
    // Who comes before waits in the socket's queue.
    app.serving().connected().await;
    let router = http::router(app.clone());
    let places = Places::new(connections_max);
    let accepting = listener::accept(listener, router, app.clone(), places, connections.clone());
    let accepting = tokio::spawn(accepting);
    notify_ready(&publish.borrow());

    // Run.
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.reload.recv() => reload(config_path, &publish).await,
        }
    }

    // Drain.
    let grace = publish.borrow().drain_grace;
    tracing::info!(grace_ms = grace.as_millis() as u64, connections = connections.len(), "draining");
    app.shutdown.drain();
    accepting.await.context("the accepting task failed")?.context("cannot accept connections")?;
    notify(&[NotifyState::Stopping]);
    connections.close();
    tokio::select! {
        () = connections.wait() => return Ok(()),
        () = tokio::time::sleep(grace) => {}
        _ = signals.terminate.recv() => {}
    }
    app.shutdown.end();
    let sent = tokio::time::timeout(Duration::from_millis(FINAL_SEND_MS_MAX), connections.wait()).await;
    if sent.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "some clients did not take the last of their answers"
        );
    }
    Ok(())
}

/// One JSON object a line, on standard error. What a panic says may have a caller's text in it: only
/// its place is told.
fn log_json() {
    tracing_subscriber::fmt().json().flatten_event(true).with_writer(std::io::stderr).init();
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(place = panic.location().map(ToString::to_string), "a task panicked");
    }));
}

struct Signals {
    reload: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { reload: signal(SignalKind::hangup())?, terminate: signal(SignalKind::terminate())? })
    }
}

/// Takes the configuration as it now is; a bad one leaves everything as it was.
async fn reload(path: &Path, publish: &watch::Sender<Arc<Serving>>) {
    let current = Arc::clone(&publish.borrow());
    let next = config::read(path)
        .map_err(anyhow::Error::from)
        .and_then(|config| Ok(Serving::build(config, Some(&current))?));
    match next {
        Ok(next) => {
            let next = Arc::new(next);
            publish.send_replace(next.clone());
            next.connected().await;
            tracing::info!(generation = next.generation, "the configuration is in use");
            notify_ready(&next);
        }
        Err(error) => tracing::error!("the old configuration stays in use: {error:#}"),
    }
}

fn notify_ready(serving: &Serving) {
    let generation = format!("X_NABI_GENERATION={}", serving.generation);
    notify(&[NotifyState::Ready, NotifyState::Custom(&generation)]);
}

/// The parent may be gone, or have no interest: neither concerns those who are served.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("cannot notify the parent process: {error}");
    }
}
