//! What an engine is started with: the operator's settings, and what follows from the model and
//! the machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nabi_domain::{ModelFormat, ModelSummary};
use nabi_models::StoredModel;
use nabi_wire::action::ServeSettings;
use nabi_wire::config::{EngineConfig, KvFormat, SavedPrefixes};
use nix::sys::statvfs::statvfs;
use nix::sys::sysinfo::sysinfo;

/// Longest context that a request gets without the operator's word: more costs memory at once.
const CONTEXT_TOKENS_DEFAULT_MAX: u64 = 8192;
/// Requests that run together without the operator's word.
const SEQUENCES_DEFAULT: u32 = 4;
/// Longest wait of a running answer for others' prompts without the operator's word.
const STREAM_GAP_MS_DEFAULT: u32 = 5000;
/// Requests that wait.
const QUEUE_REQUESTS_MAX: u32 = 256;
/// One engine may keep prefixes in such a part of the machine's memory,
const SAVED_MEMORY_DIVISOR: u64 = 16;
/// but in no more than this.
const SAVED_MEMORY_BYTES_MAX: u64 = 8 << 30;
/// On disk it may keep so much,
const SAVED_DISK_BYTES_MAX: u64 = 16 << 30;
/// as long as such a part of the file system stays free.
const DISK_FREE_DIVISOR: u64 = 5;

/// The model of the self-test: part of the installation, so that nobody imports, serves or stops it.
pub(crate) const SELF_TEST_MODEL: &str = "nabi-self-test";
/// It must run beside whatever the operator serves.
pub(crate) const SELF_TEST_SETTINGS: ServeSettings =
    ServeSettings { sequences: Some(2), context_tokens: Some(512), stream_gap_ms: None };

/// What a machine has for prefixes.
#[derive(Debug, Clone, Copy)]
struct Room {
    memory_bytes: u64,
    disk_bytes: u64,
    disk_free_bytes: u64,
}

/// Where an engine's files lie.
pub(crate) struct EnginePlaces {
    pub(crate) pack: PathBuf,
    /// For prefixes alone. It exists.
    pub(crate) prefixes: PathBuf,
}

/// Refuses settings that this model cannot have.
pub(crate) fn check(summary: &ModelSummary, settings: ServeSettings) -> Result<()> {
    let name = &summary.name;
    if summary.format != ModelFormat::Gguf {
        bail!(
            "{name} is a Hugging Face folder, and no engine here serves that format: import the model as GGUF"
        );
    }
    let model_tokens = summary.context_tokens;
    ensure!(
        settings.context_tokens.is_none_or(|tokens| u64::from(tokens) <= model_tokens),
        "{name} was trained for a context of {model_tokens} tokens: --context-tokens can be that at most"
    );
    Ok(())
}

/// The whole configuration.
pub(crate) fn engine_config(
    model: &StoredModel,
    settings: ServeSettings,
    places: EnginePlaces,
    drain_grace: Duration,
) -> Result<EngineConfig> {
    let summary = &model.manifest.summary;
    check(summary, settings)?;
    Ok(EngineConfig {
        name: summary.name.clone(),
        model: model.entry_point(),
        pack: places.pack,
        context_tokens: settings.context_tokens.unwrap_or(context_tokens_default(summary)),
        sequences_max: settings.sequences.unwrap_or(SEQUENCES_DEFAULT),
        threads: threads(),
        kv: KvFormat::F16,
        queue_requests_max: QUEUE_REQUESTS_MAX,
        stream_gap_ms_max: settings.stream_gap_ms.unwrap_or(STREAM_GAP_MS_DEFAULT),
        saved_prefixes: saved_prefixes(room(&places.prefixes)?, places.prefixes),
        drain_grace_ms: drain_grace.as_millis() as u64,
    })
}

fn context_tokens_default(summary: &ModelSummary) -> u32 {
    u32::try_from(summary.context_tokens.clamp(1, CONTEXT_TOKENS_DEFAULT_MAX)).unwrap_or(u32::MAX)
}

/// ggml's threads spin at barriers: more of them than free cores cost a factor of ten. One core
/// is left to the gateway.
fn threads() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cores.saturating_sub(1).max(1)).unwrap_or(1)
}

fn room(folder: &Path) -> Result<Room> {
    let disk =
        statvfs(folder).with_context(|| format!("cannot tell the free space of {}", folder.display()))?;
    Ok(Room {
        memory_bytes: sysinfo().context("cannot tell the machine's memory")?.ram_total(),
        disk_bytes: disk.blocks() * disk.fragment_size(),
        disk_free_bytes: disk.blocks_available() * disk.fragment_size(),
    })
}

fn saved_prefixes(room: Room, folder: PathBuf) -> SavedPrefixes {
    let spare_bytes = room.disk_free_bytes.saturating_sub(room.disk_bytes / DISK_FREE_DIVISOR);
    let disk_bytes_max = spare_bytes.min(SAVED_DISK_BYTES_MAX);
    SavedPrefixes {
        memory_bytes_max: (room.memory_bytes / SAVED_MEMORY_DIVISOR).min(SAVED_MEMORY_BYTES_MAX),
        disk_bytes_max,
        folder: (disk_bytes_max > 0).then_some(folder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn prefixes_take_a_share_of_the_machine_and_leave_the_disk_its_rest() {
        let kept = |memory: u64, disk: u64, free: u64| {
            let room =
                Room { memory_bytes: memory * GIB, disk_bytes: disk * GIB, disk_free_bytes: free * GIB };
            let kept = saved_prefixes(room, "/prefixes".into());
            (kept.memory_bytes_max / GIB, kept.disk_bytes_max / GIB, kept.folder.is_some())
        };
        assert_eq!(kept(32, 1000, 900), (2, 16, true));
        assert_eq!(kept(1024, 1000, 900), (8, 16, true), "at most so much");
        assert_eq!(kept(32, 50, 15), (2, 5, true), "what is free beyond a fifth");
        assert_eq!(kept(32, 50, 10), (2, 0, false));
        assert_eq!(kept(32, 50, 1), (2, 0, false));
    }

    #[test]
    fn a_context_beyond_the_models_is_refused_and_the_default_is_bounded() {
        let summary = |context_tokens| ModelSummary {
            name: "tiny".parse().expect("a name"),
            format: ModelFormat::Gguf,
            architecture: "deepseek2".into(),
            parameters: 1,
            quantization: "F32".into(),
            context_tokens,
            bytes: 1,
        };
        let wanted = |tokens| ServeSettings { context_tokens: Some(tokens), ..ServeSettings::default() };
        check(&summary(4096), wanted(4096)).expect("fits");
        let said = check(&summary(4096), wanted(4097)).expect_err("refused").to_string();
        assert!(said.contains("4096 tokens") && said.contains("--context-tokens"), "{said}");
        check(&summary(163_840), wanted(163_840)).expect("the operator may ask for all of it");
        assert_eq!(context_tokens_default(&summary(163_840)), 8192);
        assert_eq!(context_tokens_default(&summary(2048)), 2048);
    }
}
