//! Plans of vLLM, on accelerators. Formulas are ours; vLLM measures at its start.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::decide::{CONTEXT_TOKENS_GROWN_MAX, LADDER, at_most, check_context};
use super::{CacheFormat, Devices, Engine, Memory, Placement, Plan, Room, Unfit, WayOut, Wish};
use crate::hardware::Maker;

/// vLLM takes so many hundredths of a device (`gpu_memory_utilization`),
const DEVICE_PERCENT: u64 = 90;
/// of which so much is for intermediate results and recorded graphs.
const GRAPH_BYTES: u64 = 4 << 30;
/// Sequences at most: vLLM's own default.
const SEQUENCES_MAX: u64 = 256;

/// What vLLM takes for a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VllmShape {
    /// Longest context in tokens that it was trained for.
    pub context_tokens: u64,
    /// All weights.
    pub weights_bytes: u64,
    /// Kept of each token.
    pub bytes_per_token: u64,
    /// Kept of each sequence, however short.
    pub bytes_per_sequence: u64,
    /// Heads of keys and values: of several devices, each keeps those of its own, or all of one.
    pub heads: u32,
}

/// A model on some of equal devices.
struct OnDevices<'a> {
    shape: &'a VllmShape,
    group: &'a Devices,
    context_tokens: u32,
}

/// None where there is no device that vLLM computes on.
pub(super) fn on_devices(shape: &VllmShape, wish: Wish, room: &Room) -> Option<Result<Plan, Unfit>> {
    // Other makers' devices need a vLLM of their own.
    let mut groups: Vec<&Devices> =
        room.devices.iter().filter(|group| matches!(group.maker, Maker::Nvidia | Maker::Amd)).collect();
    groups.sort_by_key(|group| Reverse(u64::from(group.count).saturating_mul(group.memory_bytes)));
    let largest = groups.first()?;
    if let Err(why) = check_context(wish, shape.context_tokens) {
        return Some(Err(why));
    }
    let context_tokens =
        wish.context_tokens.unwrap_or(at_most(CONTEXT_TOKENS_GROWN_MAX, shape.context_tokens));
    let on = |group| OnDevices { shape, group, context_tokens };
    let plans = groups.iter().filter_map(|&group| on(group).plan(wish, room));
    Some(plans.max_by_key(|plan| plan.sequences).ok_or_else(|| on(largest).too_large(wish)))
}

impl OnDevices<'_> {
    /// On the fewest devices that hold what was wished, or one sequence at least.
    fn plan(&self, wish: Wish, room: &Room) -> Option<Plan> {
        let enough = u64::from(wish.sequences.unwrap_or(LADDER[0].0));
        let at_least = u64::from(wish.sequences.unwrap_or(1));
        let fewest = |sequences: u64| self.counts().find(|&count| self.sequences_max(count) >= sequences);
        let count = fewest(enough).or_else(|| fewest(at_least))?;
        let sequences = wish.sequences.unwrap_or(self.sequences_max(count) as u32);
        Some(Plan {
            engine: Engine::Vllm,
            placement: Placement::Devices { name: self.group.name.clone(), count },
            threads: room.threads,
            sequences,
            context_tokens: self.context_tokens,
            cache: CacheFormat::F16,
            memory: Memory {
                weights_bytes: self.weights_bytes(count),
                cache_bytes: self.sequence_bytes(count).saturating_mul(u64::from(sequences)),
                graph_bytes: GRAPH_BYTES,
                process_bytes: 0,
            },
            prefixes_bytes_max: 0,
        })
    }

    /// A number of devices must divide the heads of a model: powers of two do.
    fn counts(&self) -> impl Iterator<Item = u32> {
        (0..u32::BITS).map(|power| 1_u32 << power).take_while(|&count| count <= self.group.count)
    }

    /// Of each device, for weights and for keys and values.
    fn usable_bytes(&self) -> u64 {
        (self.group.memory_bytes / 100 * DEVICE_PERCENT).saturating_sub(GRAPH_BYTES)
    }

    /// On each of so many devices.
    fn weights_bytes(&self, count: u32) -> u64 {
        self.shape.weights_bytes.div_ceil(u64::from(count))
    }

    /// Of one sequence, on each of so many devices.
    fn sequence_bytes(&self, count: u32) -> u64 {
        let VllmShape { bytes_per_token, bytes_per_sequence, heads, .. } = *self.shape;
        let shared_by = u64::from(count.min(heads.max(1)));
        let of_tokens = bytes_per_token.saturating_mul(u64::from(self.context_tokens)) / shared_by;
        of_tokens.saturating_add(bytes_per_sequence)
    }

    fn sequences_max(&self, count: u32) -> u64 {
        let left = self.usable_bytes().saturating_sub(self.weights_bytes(count));
        (left / self.sequence_bytes(count).max(1)).min(SEQUENCES_MAX)
    }

    /// Of all devices of the group.
    fn too_large(&self, wish: Wish) -> Unfit {
        let count = self.counts().last().unwrap_or(1);
        let sequences = u64::from(wish.sequences.unwrap_or(1));
        let of_all = |bytes: u64| bytes.saturating_mul(u64::from(count));
        let kept = of_all(self.sequence_bytes(count).saturating_mul(sequences));
        let (needs_bytes, has_bytes) =
            (self.shape.weights_bytes.saturating_add(kept), of_all(self.usable_bytes()));
        let fitting = self.sequences_max(count) as u32;
        let mut ways_out = Vec::new();
        if fitting > 0 {
            ways_out.push(WayOut::Settings { sequences: fitting, context_tokens: self.context_tokens });
        }
        let bytes_max = has_bytes.saturating_sub(kept);
        if bytes_max > 0 {
            ways_out.push(WayOut::SmallerFile { bytes_max });
        }
        Unfit::Memory { needs_bytes, has_bytes, ways_out }
    }
}
