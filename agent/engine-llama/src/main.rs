//! `nabi-engine-llama`: serves one GGUF model by llama.cpp, loaded from a kernel pack.

mod backend;
mod pack;
mod sample;
mod vocabulary;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use nabi_domain::ChatTemplate;
use nabi_engine::serve::LoadProgress;
use nabi_engine::{Interest, Loaded};
use nabi_llama_sys::{Context, ContextParams, KvType, Library, Model};
use nabi_wire::config::{self, EngineConfig, KvFormat};
use nabi_wire::engine::ModelCard;
use nabi_wire::lifeline;

use crate::backend::{LlamaBackend, STEP_TOKENS_MAX};
use crate::pack::Pack;
use crate::vocabulary::LlamaVocabulary;

/// Serves one model on the socket that comes by LISTEN_FDS.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration that the supervisor wrote
    #[arg(long)]
    config: PathBuf,
}

fn main() {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).with_target(false).init();
    let status = match run() {
        Ok(()) => 0,
        Err(error) => {
            lifeline::refuse(&error);
            lifeline::REFUSED
        }
    };
    // The step thread may still load: SIGTERM does not wait for that.
    nabi_llama_sys::exit_now(status)
}

fn run() -> Result<()> {
    let arguments = Arguments::parse();
    lifeline::on_parent_gone(|| nabi_llama_sys::exit_now(lifeline::PARENT_GONE))
        .context("cannot watch standard input")?;
    let config: EngineConfig = config::read(&arguments.config)?;
    let listener = listenfd::ListenFd::from_env().take_unix_listener(0).context("cannot take the socket")?;
    let listener =
        listener.context("no socket came by LISTEN_FDS: engines are started by nabi-supervisor")?;
    let for_load = config.clone();
    nabi_engine::serve::run(listener, &config, move |progress, interest| load(&for_load, progress, interest))
}

/// Loads the pack and the model, and reserves the memory for keys and values.
fn load(config: &EngineConfig, mut progress: LoadProgress, interest: Interest) -> Result<Loaded> {
    let pack = Pack::read(&config.pack)?;
    let library = Library::load(&pack.files, &pack.manifest.headers_sha256)?;
    let model = Model::load(library, &config.model, |done| {
        progress((done.clamp(0.0, 1.0) * 1000.0) as u16);
        true
    })?;
    let model = Arc::new(model);
    ensure!(model.vocabulary_tokens() > 0, "{} has no vocabulary", config.model.display());
    let params = ContextParams {
        sequence_tokens_max: config.context_tokens,
        sequences_max: config.sequences_max,
        step_tokens_max: STEP_TOKENS_MAX,
        threads: config.threads,
        kv: match config.kv {
            KvFormat::F16 => KvType::F16,
            KvFormat::F32 => KvType::F32,
        },
    };
    let context = Context::new(model.clone(), params, Box::new(move || !interest.any()))?;
    // Only to differ from one start to the next: a request that wants the same text brings a seed.
    let first_seed = RandomState::new().hash_one(config.name.as_str());
    Ok(Loaded {
        card: card(config, library, &model),
        vocabulary: Arc::new(LlamaVocabulary::new(model)?),
        backend: Box::new(LlamaBackend::new(context, first_seed)),
        kv_tokens_max: u64::from(config.context_tokens) * u64::from(config.sequences_max),
    })
}

fn card(config: &EngineConfig, library: &Library, model: &Model) -> ModelCard {
    let text = |token: Option<u32>| token.and_then(|id| model.token_text(id)).unwrap_or_default();
    let template = model.metadata("tokenizer.chat_template").map(|jinja| ChatTemplate {
        jinja,
        bos_token: text(model.bos()),
        eos_token: text(model.eos()),
    });
    ModelCard {
        name: config.name.clone(),
        architecture: model.metadata("general.architecture").unwrap_or_default(),
        context_tokens: config.context_tokens,
        vocabulary_tokens: model.vocabulary_tokens(),
        template,
        added_tokens: vocabulary::added_tokens(model),
        bos: model.adds_bos().then(|| model.bos()).flatten(),
        engine: format!("llama.cpp {}", library.version()),
        kernel: library.backend().to_owned(),
        sequences_max: config.sequences_max,
    }
}
