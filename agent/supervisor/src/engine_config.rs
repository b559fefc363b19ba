//! What an engine is started with: the operator's settings, and what follows from the model and
//! the machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nabi_domain::plan::{Candidate, Plan, Room, Unfit, Wish, plan, plan_unknown};
use nabi_domain::{ModelFormat, ModelSummary};
use nabi_models::{Manifest, StoredModel};
use nabi_wire::action::ServeSettings;
use nabi_wire::config::{EngineConfig, KvFormat, SavedPrefixes};
use nix::sys::statvfs::statvfs;

/// Longest wait of a running answer for others' prompts without the operator's word.
const STREAM_GAP_MS_DEFAULT: u32 = 5000;
/// Requests that wait.
const QUEUE_REQUESTS_MAX: u32 = 256;
/// On disk it may keep so much,
const SAVED_DISK_BYTES_MAX: u64 = 16 << 30;
/// as long as such a part of the file system stays free.
const DISK_FREE_DIVISOR: u64 = 5;

/// The model of the self-test: part of the installation, so that nobody imports, serves or stops it.
pub(crate) const SELF_TEST_MODEL: &str = "nabi-self-test";
/// It must run beside whatever the operator serves.
pub(crate) const SELF_TEST_SETTINGS: ServeSettings =
    ServeSettings { sequences: Some(2), context_tokens: Some(512), stream_gap_ms: None, anyway: true };

/// How large the disk is that prefixes may be kept on.
#[derive(Debug, Clone, Copy)]
struct Disk {
    bytes: u64,
    free_bytes: u64,
}

/// Where an engine's files lie.
pub(crate) struct EnginePlaces {
    pub(crate) pack: PathBuf,
    /// For prefixes alone. It exists.
    pub(crate) prefixes: PathBuf,
}

/// How a model is to be run on what there is for it, or why it cannot be.
pub(crate) fn planned(manifest: &Manifest, settings: ServeSettings, room: &Room) -> Result<Plan> {
    let Manifest { summary, shape, .. } = manifest;
    let ModelSummary { name, architecture, .. } = summary;
    if summary.format != ModelFormat::Gguf {
        bail!(
            "{name} is a Hugging Face folder, and no engine here serves that format: import the model as GGUF"
        );
    }
    let ServeSettings { sequences, context_tokens, anyway, .. } = settings;
    let wish = Wish { sequences, context_tokens, anyway };
    let outcome = match shape {
        Some(shape) => plan(Candidate { architecture, llama_cpp: Some(shape), vllm: None }, wish, room),
        None => plan_unknown(summary.context_tokens, wish, room),
    };
    match outcome {
        Ok(plan) => Ok(plan),
        Err(Unfit::Context { trained_tokens, .. }) => bail!(
            "{name} was trained for a context of {trained_tokens} tokens: --context-tokens can be that at most"
        ),
        Err(unfit) => bail!("{name} does not fit: {unfit}; or serve it with --anyway, if that is wrong"),
    }
}

/// The whole configuration.
pub(crate) fn engine_config(
    model: &StoredModel,
    plan: &Plan,
    settings: ServeSettings,
    places: EnginePlaces,
    drain_grace: Duration,
) -> Result<EngineConfig> {
    Ok(EngineConfig {
        name: model.manifest.summary.name.clone(),
        model: model.entry_point(),
        pack: places.pack,
        context_tokens: plan.context_tokens,
        sequences_max: plan.sequences,
        threads: plan.threads,
        kv: KvFormat::F16,
        queue_requests_max: QUEUE_REQUESTS_MAX,
        stream_gap_ms_max: settings.stream_gap_ms.unwrap_or(STREAM_GAP_MS_DEFAULT),
        saved_prefixes: saved_prefixes(plan.prefixes_bytes_max, disk(&places.prefixes)?, places.prefixes),
        drain_grace_ms: drain_grace.as_millis() as u64,
    })
}

fn disk(folder: &Path) -> Result<Disk> {
    let disk =
        statvfs(folder).with_context(|| format!("cannot tell the free space of {}", folder.display()))?;
    Ok(Disk {
        bytes: disk.blocks() * disk.fragment_size(),
        free_bytes: disk.blocks_available() * disk.fragment_size(),
    })
}

fn saved_prefixes(memory_bytes_max: u64, disk: Disk, folder: PathBuf) -> SavedPrefixes {
    let spare_bytes = disk.free_bytes.saturating_sub(disk.bytes / DISK_FREE_DIVISOR);
    let disk_bytes_max = spare_bytes.min(SAVED_DISK_BYTES_MAX);
    SavedPrefixes { memory_bytes_max, disk_bytes_max, folder: (disk_bytes_max > 0).then_some(folder) }
}

#[cfg(test)]
mod tests {
    use nabi_domain::hardware::{Cpu, Inventory, Memory};
    use nabi_domain::plan::{Engine, ModelShape};

    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn prefixes_leave_the_disk_its_rest() {
        let kept = |disk: u64, free: u64| {
            let disk = Disk { bytes: disk * GIB, free_bytes: free * GIB };
            let kept = saved_prefixes(2 * GIB, disk, "/prefixes".into());
            (kept.memory_bytes_max / GIB, kept.disk_bytes_max / GIB, kept.folder.is_some())
        };
        assert_eq!(kept(1000, 900), (2, 16, true), "at most so much");
        assert_eq!(kept(50, 15), (2, 5, true), "what is free beyond a fifth");
        assert_eq!(kept(50, 10), (2, 0, false));
        assert_eq!(kept(50, 1), (2, 0, false));
    }

    fn manifest(context_tokens: u64, shape: Option<ModelShape>) -> Manifest {
        let summary = ModelSummary {
            name: "tiny".parse().expect("a name"),
            format: ModelFormat::Gguf,
            architecture: "deepseek2".into(),
            parameters: 1,
            quantization: "F32".into(),
            context_tokens,
            bytes: 1,
        };
        Manifest::new(summary, shape, Vec::new())
    }

    fn room() -> Room {
        let machine = Inventory {
            memory: Memory { total_bytes: 16 * GIB, ..Memory::default() },
            cpu: Cpu { cores: 4, threads: 8, ..Cpu::default() },
            ..Inventory::default()
        };
        Room::of(&machine, vec![Engine::LlamaCpp])
    }

    #[test]
    fn a_context_beyond_the_models_is_refused_and_the_default_is_bounded() {
        let wanted = |tokens| ServeSettings { context_tokens: tokens, ..ServeSettings::default() };
        let tokens = |trained, asked| {
            let plan = planned(&manifest(trained, None), wanted(asked), &room());
            plan.map(|plan| plan.context_tokens).map_err(|error| error.to_string())
        };
        assert_eq!(tokens(4096, Some(4096)), Ok(4096));
        let said = tokens(4096, Some(4097)).expect_err("refused");
        assert!(said.contains("4096 tokens") && said.contains("--context-tokens"), "{said}");
        assert_eq!(tokens(163_840, Some(163_840)), Ok(163_840), "the operator may ask for all of it");
        assert_eq!(tokens(163_840, None), Ok(8192));
        assert_eq!(tokens(2048, None), Ok(2048));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_ways_out_unless_the_operator_insists() {
        let shape = ModelShape { context_tokens: 8192, dense_bytes: 20_000_000_000, ..ModelShape::default() };
        let manifest = manifest(8192, Some(shape));
        let said = planned(&manifest, ServeSettings::default(), &room()).expect_err("too large").to_string();
        for part in ["needs 20 GB", "15 GB are free", "smaller quantisation", "--anyway"] {
            assert!(said.contains(part), "{said:?} has no {part:?}");
        }
        let insisting = ServeSettings { anyway: true, sequences: Some(3), ..ServeSettings::default() };
        let plan = planned(&manifest, insisting, &room()).expect("as the operator wants");
        assert_eq!((plan.sequences, plan.context_tokens, plan.threads), (3, 512, 3));
        assert_eq!(plan.prefixes_bytes_max, 0);
    }
}
