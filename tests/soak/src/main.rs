//! `nabi-soak`: an hour of mixed load with kills. Fails when a request did not end as it must, or
//! memory grew.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use nabi_makers::Kind;
use nabi_soak::{Kills, Plan, run};
use nabi_tests::engine::Tiny;

/// Load an appliance for a while, and kill its processes
#[derive(Parser)]
struct Arguments {
    /// How long
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// What is asked and killed follows from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Users that ask at the same time
    #[arg(long, default_value_t = 12)]
    users: usize,
    /// Kill nothing: then the engine's memory is that of one process
    #[arg(long)]
    calm: bool,
    /// A GGUF file, in place of a tiny DeepSeek model with random weights
    #[arg(long)]
    model: Option<PathBuf>,
    /// Write the report as JSON too
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let kills = match arguments.calm {
        true => Kills { engine_s: None, gateway_s: None },
        false => Kills { engine_s: Some([20, 60]), gateway_s: Some([300, 900]) },
    };
    let plan = Plan {
        duration: Duration::from_secs(arguments.minutes * 60),
        seed: arguments.seed,
        users: arguments.users,
        kills,
    };
    let tiny = arguments.model.is_none().then(|| Tiny::make(Kind::DeepseekV3, None));
    let made = tiny.as_ref().map(Tiny::path);
    let model = arguments.model.or(made).context("no model")?;
    let report = run(&plan, &model);
    print!("{report}");
    if let Some(out) = arguments.out {
        let json = serde_json::to_vec_pretty(&report)?;
        fs::write(&out, json).with_context(|| format!("writing {}", out.display()))?;
    }
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
