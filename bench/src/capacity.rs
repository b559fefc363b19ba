//! What `nabi capacity` says of a model against what it then takes, and how fast it then is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nabi_makers::{Quantization, Shape, write_shape};
use serde_json::{Map, Value};

use crate::Common;
use crate::process;
use crate::report::{Goal, Machine, Report, Row, median};
use crate::serve::{Prompt, Server, never_ending};

/// Tokens of the prompt: the quarter of the context that speeds are told for.
const PROMPT_TOKENS: usize = 2048;
const ANSWER_TOKENS: usize = 48;
const SMOKE_TOKENS: usize = 8;
const NAME: &str = "bench";
/// Of the bytes' vocabulary, `<|endoftext|>` and those after it; of SmolLM2's, its first.
const ENDS_WIDE: [u64; 3] = [262, 263, 264];
const ENDS_DEMO: [u64; 3] = [0, 1, 2];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The kernel pack's folder
    #[arg(long)]
    pack: PathBuf,
    /// A real model, as `make run` serves it
    #[arg(long)]
    model: PathBuf,
}

/// What is served.
enum Model {
    Demo,
    Wide(Shape, Quantization),
}

impl Model {
    /// The memory of formats that are repacked (Q4_0, Q4_K) cannot be told from outside: their pages in the
    /// file's mapping are no longer used, and stay until somebody wants the memory.
    const ALL: [Self; 5] = [
        Self::Demo,
        Self::Wide(Shape::Qwen2Wide, Quantization::Q8_0),
        Self::Wide(Shape::DeepseekV2LiteWide, Quantization::Q8_0),
        Self::Wide(Shape::DeepseekV2LiteWide, Quantization::Q6K),
        Self::Wide(Shape::Qwen2Wide, Quantization::Q4_0),
    ];

    fn name(&self) -> String {
        match self {
            Self::Demo => "SmolLM2-135M Q4_1".into(),
            Self::Wide(shape, quantization) => format!("{} {quantization:?}", shape.name()),
        }
    }

    fn is_repacked(&self) -> bool {
        matches!(self, Self::Wide(_, Quantization::Q4_0 | Quantization::Q4K | Quantization::Q4KM))
    }

    fn file(&self, arguments: &Arguments, folder: &Path) -> Result<PathBuf> {
        match self {
            Self::Demo => Ok(arguments.model.clone()),
            Self::Wide(shape, quantization) => {
                let file = folder.join("model.gguf");
                write_shape(*shape, *quantization, &file).context("making a model")?;
                Ok(file)
            }
        }
    }

    fn ends(&self) -> [u64; 3] {
        match self {
            Self::Demo => ENDS_DEMO,
            Self::Wide(..) => ENDS_WIDE,
        }
    }
}

pub(crate) async fn run(arguments: &Arguments) -> Result<Report> {
    let machine = Machine::here();
    let rounds = arguments.common.pairs();
    let mut rows = Vec::new();
    for model in Model::ALL.iter().take(if arguments.common.smoke { 1 } else { usize::MAX }) {
        eprintln!("{}", model.name());
        rows.extend(measure(model, arguments, rounds).await?);
    }
    Ok(Report { machine, pairs: rounds, smoke: arguments.common.smoke, rows })
}

async fn measure(model: &Model, arguments: &Arguments, rounds: usize) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let file = model.file(arguments, folder.path())?;
    let mut server = Server::nabi(&file, &arguments.pack, &[], folder.path()).await?;
    server.fields = never_ending(&model.ends());
    let (prompt_tokens, answer_tokens) =
        if arguments.common.smoke { (64, SMOKE_TOKENS) } else { (PROMPT_TOKENS, ANSWER_TOKENS) };
    let (mut told, mut seen) = (Vec::new(), Vec::new());
    let mut plan = Map::new();
    for round in 0..=rounds as u64 {
        process::at_rest(&server.pids).await?;
        let fits = capacity(folder.path())?;
        let speed = fits["speed"]["one_tokens_per_s"].as_f64().context("capacity tells no speed")?;
        plan = fits["plan"]["memory"].as_object().context("capacity tells no memory")?.clone();
        let prompt = Prompt::of_length(&server, prompt_tokens, round).await?;
        let answer = server.answer(&prompt, answer_tokens).await?;
        let tokens_per_s = (answer_tokens - 1) as f64 / Duration::as_secs_f64(&(answer.last - answer.first));
        eprintln!("  told {speed:.1}, seen {tokens_per_s:.1} tokens/s");
        // The first warms up.
        if round > 0 {
            told.push(speed);
            seen.push(tokens_per_s);
        }
    }
    let name = model.name();
    let mut rows = vec![row(format!("{name}: tokens/s of one answer"), "tokens/s", 0.15, &told, &seen)];
    if !model.is_repacked() {
        let part = |part: &str| plan[part].as_f64().context("capacity tells no such part");
        let beside = part("cache_bytes")? + part("graph_bytes")? + part("process_bytes")?;
        let weights = part("weights_bytes")?;
        let taken = process::resident_bytes_but(server.engine, ".gguf")? as f64;
        let measure = format!("{name}: memory");
        rows.push(row(measure, "GB", 0.05, &[(weights + beside) / 1e9], &[(weights + taken) / 1e9]));
        rows.push(Row::plain(format!("{name}: of it, beside weights, planned"), "GB", beside / 1e9));
        rows.push(Row::plain(format!("{name}: of it, beside weights, taken"), "GB", taken / 1e9));
    }
    Ok(rows)
}

/// What was told against what was seen.
fn row(measure: String, unit: &'static str, within: f64, told: &[f64], seen: &[f64]) -> Row {
    let ratios: Vec<f64> = told.iter().zip(seen).map(|(told, seen)| told / seen).collect();
    let (ratio, goal) = (median(&ratios), Goal::RatioWithin(within));
    Row {
        measure,
        unit,
        nabi: median(told),
        peer: Some(median(seen)),
        peer_name: Some("measured".into()),
        ratio: Some(ratio),
        goal: goal.text(),
        met: goal.is_met(median(told), Some(ratio)),
    }
}

/// Of the model that is served.
fn capacity(folder: &Path) -> Result<Value> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    let mut command = Command::new(own.with_file_name("nabi"));
    command.arg("--state").arg(folder.join("state")).args(["--json", "capacity"]);
    let said = command.output().context("cannot ask `nabi capacity`")?;
    ensure!(said.status.success(), "nabi capacity: {}", String::from_utf8_lossy(&said.stderr));
    let said: Value = serde_json::from_slice(&said.stdout).context("`nabi capacity` gives no JSON")?;
    let models = said["capacity"]["models"].as_array().context("capacity lists no models")?;
    let model = models.iter().find(|model| model["name"] == NAME && model["is_stored"] == true);
    Ok(model.context("capacity does not list the model")?["outcome"]["fits"].clone())
}
