//! How fast a plan will be, as far as it can be told before it runs.

use serde::{Deserialize, Serialize};

use super::{Memory, ModelShape, Plan, Room};

/// Where nothing was measured, a core is taken to read so much in a second: less than any server of the
/// last ten years.
const CORE_READS_BYTES_PER_S: u64 = 5_000_000_000;

/// Of what they could read, the kernels of llama.cpp take such a part: one thread with AVX2 took 51 to 60 % of
/// wide models, and 25 % of a small one in an old format (docs/benchmarks.md). Kernels that are measured on
/// the machine will tell.
const KERNELS_DIVISOR: u64 = 2;

/// Tokens in a second. Estimates, all of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speed {
    /// Of an answer that has the machine for itself.
    pub one_tokens_per_s: f64,
    /// Of all answers together, as many as the plan has sequences.
    pub all_tokens_per_s: f64,
    /// Whether it rests on what was measured of this machine's memory.
    pub is_measured: bool,
}

/// Of a model on processors, in answers that have a quarter of the context behind them. A token needs its
/// weights, and what is kept of those before it, from memory once.
#[must_use]
pub fn speed(shape: &ModelShape, plan: &Plan, room: &Room) -> Speed {
    let threads = u64::from(plan.threads.max(1));
    let (reads, is_measured) = match room.read_bytes_per_s {
        Some(read) => (read, true),
        None => (CORE_READS_BYTES_PER_S * threads, false),
    };
    let read = reads / KERNELS_DIVISOR;
    let kept = Memory::kept_bytes(shape, u64::from(plan.context_tokens / 4));
    let tokens_per_s = |sequences: u32| {
        let bytes = shape.step_bytes(sequences).saturating_add(kept.saturating_mul(u64::from(sequences)));
        f64::from(sequences) * read as f64 / bytes.max(1) as f64
    };
    Speed {
        one_tokens_per_s: tokens_per_s(1),
        all_tokens_per_s: tokens_per_s(plan.sequences.max(1)),
        is_measured,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{CacheFormat, CacheShape, Engine, Experts, Placement};

    #[test]
    fn answers_together_share_the_weights_that_all_of_them_use() {
        let shape = ModelShape {
            context_tokens: 8192,
            dense_bytes: 1_000_000_000,
            cache: CacheShape { numbers_per_token: 0, bytes_per_sequence: 0 },
            ..ModelShape::default()
        };
        let plan = Plan {
            engine: Engine::LlamaCpp,
            placement: Placement::Processors,
            threads: 4,
            sequences: 4,
            context_tokens: 8192,
            cache: CacheFormat::F16,
            memory: Memory::default(),
            prefixes_bytes_max: 0,
        };
        let room = |read_bytes_per_s| Room {
            memory_bytes: 1,
            taken_bytes: 0,
            threads: 4,
            sockets: 1,
            read_bytes_per_s,
            devices: Vec::new(),
            engines: Vec::new(),
        };
        let dense = speed(&shape, &plan, &room(Some(20_000_000_000)));
        assert_eq!((dense.one_tokens_per_s, dense.all_tokens_per_s, dense.is_measured), (10.0, 40.0, true));
        let unmeasured = speed(&shape, &plan, &room(None));
        assert_eq!((unmeasured.one_tokens_per_s, unmeasured.is_measured), (10.0, false));
        let experts = Some(Experts { bytes: 8_000_000_000, count: 64, used: 8 });
        let mixture = speed(&ModelShape { experts, ..shape.clone() }, &plan, &room(Some(20_000_000_000)));
        assert_eq!(mixture.one_tokens_per_s, 5.0);
        assert!(mixture.all_tokens_per_s > 5.0 && mixture.all_tokens_per_s < 20.0, "{mixture:?}");
        // Half a gigabyte is kept of the 2048 tokens before.
        let cache = CacheShape { numbers_per_token: 122_070, bytes_per_sequence: 0 };
        let kept = speed(&ModelShape { cache, ..shape }, &plan, &room(Some(20_000_000_000)));
        assert!((kept.one_tokens_per_s - 10.0 / 1.5).abs() < 0.01, "{kept:?}");
    }
}
