//! `nabi-engine-llama`: serves one GGUF model by llama.cpp, loaded from a kernel pack.
//!
//! It is a library for one reason: so that tests reach what compiles grammars ([`grammar`]).

mod backend;
pub mod grammar;
mod hangul;
mod pack;
mod prefix;
mod sample;
mod sequence;
mod slots;
mod vocabulary;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use nabi_domain::ChatTemplate;
use nabi_engine::serve::{Failure, LoadProgress};
use nabi_engine::{Interest, Loaded, StepLimits};
use nabi_llama_sys::{Context, ContextParams, KvType, Library, Model, Pooling, Use};
use nabi_wire::config::{self, EngineConfig, KvFormat};
use nabi_wire::engine::{FillIn, ModelCard};
use nabi_wire::lifeline;

use crate::backend::LlamaBackend;
use crate::pack::Pack;
use crate::prefix::{PrefixRule, Saved};
use crate::slots::Slots;
use crate::vocabulary::LlamaVocabulary;

/// Tokens of one graph: on processors more are no faster, and from 512 on a little slower.
const GRAPH_TOKENS_MAX: u32 = 256;
/// Tokens of one step. The host asks for fewer where so many would take too long.
const STEP_TOKENS_MAX: u32 = 2048;
/// Tokens of one step after which logits can be wanted, at least. Each takes four bytes for each
/// token of the vocabulary.
const STEP_OUTPUTS_MIN: u32 = 64;

/// Exit status of an engine that another process may do better than.
const BROKE: u8 = 1;

/// Serves one model on the socket that comes by LISTEN_FDS.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration that the supervisor wrote
    #[arg(long)]
    config: PathBuf,
}

/// The whole program.
pub fn main() -> ! {
    tracing_subscriber::fmt().json().flatten_event(true).with_writer(io::stderr).init();
    let status = match run() {
        Ok(()) => 0,
        Err(Failure::Refused(error)) => {
            lifeline::refuse(&error);
            lifeline::REFUSED
        }
        Err(Failure::Broke(error)) => {
            tracing::error!("{error:#}");
            BROKE
        }
    };
    // The step thread may still load: SIGTERM does not wait for that.
    nabi_llama_sys::exit_now(status)
}

fn run() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    lifeline::on_parent_gone(|| nabi_llama_sys::exit_now(lifeline::PARENT_GONE))
        .context("cannot watch standard input")?;
    let config: EngineConfig = config::read(&arguments.config).map_err(anyhow::Error::from)?;
    let listener = listenfd::ListenFd::from_env().take_unix_listener(0).context("cannot take the socket")?;
    let listener =
        listener.context("no socket came by LISTEN_FDS: engines are started by nabi-supervisor")?;
    let for_load = config.clone();
    nabi_engine::serve::run(listener, &config, move |progress, interest| load(&for_load, progress, interest))
}

/// Loads the pack and the model, and reserves the memory for keys and values.
fn load(
    config: &EngineConfig,
    mut progress: LoadProgress,
    interest: Interest,
) -> Result<Loaded<LlamaVocabulary, LlamaBackend>> {
    let pack = Pack::read(&config.pack)?;
    let library = Library::load(&pack.files, &pack.manifest.headers_sha256)?;
    let model = Model::load(library, &config.model, |done| {
        progress((done.clamp(0.0, 1.0) * 1000.0) as u16);
        true
    })?;
    let model = Arc::new(model);
    ensure!(model.vocabulary_tokens() > 0, "{} has no vocabulary", config.model.display());
    let to = purpose(config, &model)?;
    let params = context_params(config, to);
    let context = Context::new(model.clone(), params, Box::new(move || !interest.any()))?;
    let card = card(config, library, &model, to);
    let rule = PrefixRule::of(&card.architecture, model.forgets());
    let slots = Slots::new(config.sequences_max, Saved::new(&config.saved_prefixes, rule)?, rule);
    // Only to differ from one start to the next: a request that wants the same text brings a seed.
    let first_seed = RandomState::new().hash_one(config.name.as_str());
    Ok(Loaded {
        card,
        vocabulary: Arc::new(LlamaVocabulary::new(model, to != Use::Generate)?),
        backend: LlamaBackend::new(context, to, slots, first_seed),
        step: StepLimits { tokens_max: params.step_tokens_max, outputs_max: params.step_outputs_max },
        kv_tokens_max: u64::from(config.context_tokens) * u64::from(config.sequences_max),
    })
}

/// What the model is for.
fn purpose(config: &EngineConfig, model: &Model) -> Result<Use> {
    Ok(match model.pooling() {
        None => Use::Generate,
        Some(Pooling::Last) => Use::EmbedLast,
        Some(pooling @ (Pooling::Mean | Pooling::First)) => Use::EmbedWhole(pooling),
        Some(Pooling::Rank) => bail!(
            "{} is a reranker, which this engine does not serve: take a chat or an embedding model",
            config.model.display()
        ),
    })
}

fn context_params(config: &EngineConfig, to: Use) -> ContextParams {
    let (step_tokens_max, graph_tokens_max, step_outputs_max) = match to {
        Use::Generate => (STEP_TOKENS_MAX, GRAPH_TOKENS_MAX, STEP_OUTPUTS_MIN.max(config.sequences_max)),
        // Every token of such a step is an output.
        Use::EmbedWhole(_) => [config.context_tokens; 3].into(),
        Use::EmbedLast => (config.context_tokens, GRAPH_TOKENS_MAX, config.sequences_max),
    };
    ContextParams {
        sequence_tokens_max: config.context_tokens,
        sequences_max: config.sequences_max,
        step_tokens_max,
        graph_tokens_max,
        step_outputs_max,
        to,
        threads: config.threads,
        kv: match config.kv {
            KvFormat::F16 => KvType::F16,
            KvFormat::F32 => KvType::F32,
        },
    }
}

fn card(config: &EngineConfig, library: &Library, model: &Model, to: Use) -> ModelCard {
    let text = |token: Option<u32>| token.and_then(|id| model.token_text(id)).unwrap_or_default();
    let template = model.metadata("tokenizer.chat_template").map(|jinja| ChatTemplate {
        jinja,
        bos_token: text(model.bos()),
        eos_token: text(model.eos()),
    });
    let generates = to == Use::Generate;
    ModelCard {
        name: config.name.clone(),
        architecture: model.metadata("general.architecture").unwrap_or_default(),
        context_tokens: config.context_tokens,
        vocabulary_tokens: model.vocabulary_tokens(),
        template: template.filter(|_| generates),
        added_tokens: vocabulary::added_tokens(model),
        // A model that gives vectors gets its texts' ends from the vocabulary.
        bos: (generates && model.adds_bos()).then(|| model.bos()).flatten(),
        engine: format!("llama.cpp {}", library.version()),
        kernel: library.backend().to_owned(),
        sequences_max: config.sequences_max,
        generates,
        embedding_numbers: (!generates).then(|| model.vector_numbers()),
        fill_in: model.fill_in().filter(|_| generates).map(|[prefix, suffix, middle]| FillIn {
            prefix,
            suffix,
            middle,
        }),
    }
}
