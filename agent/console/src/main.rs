//! `nabi`: the operator's program. Verbs over the supervisor's admin socket; it has no powers of
//! its own.

mod client;
mod show;
mod up;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use nabi_wire::action::Action;

use crate::client::Client;
use crate::show::ProgressLine;

/// Operate Nabi
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Folder of models, keys, certificates and logs
    #[arg(long, global = true, default_value = ".nabi")]
    state: PathBuf,
    /// Folder of sockets [default: STATE/run]
    #[arg(long, global = true)]
    run: Option<PathBuf>,
    /// Print the reply as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start everything in the foreground (development); Ctrl-C drains, a second one hurries
    Up(up::Up),
    #[command(flatten)]
    Action(Action),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nabi: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let run = arguments.run.unwrap_or_else(|| arguments.state.join("run"));
    match arguments.verb {
        Verb::Up(up) => up.run(&arguments.state, &run).await,
        Verb::Action(action) => {
            let mut line = ProgressLine::default();
            let reply =
                Client::new(&run).act(client::absolute(action)?, |progress| line.show(progress)).await;
            line.end();
            let reply = reply?;
            let text = if arguments.json {
                serde_json::to_string_pretty(&reply)? + "\n"
            } else {
                show::reply(&reply)
            };
            // Not by print!, which panics: a reader may be gone.
            io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
        }
    }
}
