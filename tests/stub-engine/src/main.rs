//! The stub engine as a program, for benchmarks and for tests of whole appliances.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Parser;
use listenfd::ListenFd;
use nabi_stub_engine::{End, Script, serve};
use nabi_wire::engine::ToEngine;
use tokio::sync::mpsc;

/// An engine that answers by a script.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Listen on this socket; without it, on the one passed by LISTEN_FDS
    #[arg(long)]
    socket: Option<PathBuf>,
    /// How to answer, JSON; without it, the prompt's words come back
    #[arg(long)]
    script: Option<PathBuf>,
    /// Append each received frame to this file, one JSON object a line
    #[arg(long)]
    record: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let listener = listener(&arguments)?;
    let script = match &arguments.script {
        Some(path) => nabi_wire::config::read(path)?,
        None => Script::default(),
    };
    let record = arguments.record.as_deref().map(append).transpose()?;
    match run(listener, script, record)? {
        End::Died => std::process::abort(),
    }
}

fn listener(arguments: &Arguments) -> anyhow::Result<UnixListener> {
    if let Some(path) = &arguments.socket {
        return UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()));
    }
    let passed = ListenFd::from_env().take_unix_listener(0).context("the passed socket cannot be used")?;
    passed.context("no socket: name one with --socket, or pass one by LISTEN_FDS")
}

/// Opens a record so that an engine that is started again goes on with it.
fn append(path: &Path) -> anyhow::Result<File> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.with_context(|| format!("cannot write the record {}", path.display()))
}

#[tokio::main]
async fn run(listener: UnixListener, script: Script, record: Option<File>) -> anyhow::Result<End> {
    let (controls, served) = serve(listener, script, record.is_some())?;
    let served = tokio::spawn(served);
    if let Some(file) = record {
        write_record(controls.received, BufWriter::new(file)).await.context("cannot write the record")?;
    }
    Ok(served.await??)
}

async fn write_record(
    mut received: mpsc::UnboundedReceiver<ToEngine>,
    mut file: impl Write,
) -> std::io::Result<()> {
    while let Some(frame) = received.recv().await {
        serde_json::to_writer(&mut file, &frame)?;
        file.write_all(b"\n")?;
        file.flush()?;
    }
    Ok(())
}
