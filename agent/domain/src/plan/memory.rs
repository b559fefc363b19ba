//! Memory that an engine of llama.cpp takes.

use serde::{Deserialize, Serialize};

use super::{CacheShape, GraphShape, ModelShape};

/// llama.cpp rounds the cells of a cache up to this (`llama-context.cpp`, `GGML_PAD(…, 256)`).
const CELLS_STEP: u64 = 256;
/// Tokens of one graph: `n_ubatch` of our engine.
const GRAPH_TOKENS: u64 = 256;
/// What llama.cpp notes of each cell (`llama-kv-cells.h`): 52 bytes, and two nodes of sets in use.
const CELL_BYTES: u64 = 150;
/// llama.cpp's limit of sequences (`LLAMA_MAX_SEQ`).
const SEQUENCES_MAX: u32 = 256;
/// No dimension of a model is as large.
const SIZE_MAX: u64 = 1 << 32;
/// Intermediate results are of four bytes.
const NUMBER_BYTES: u64 = 4;
/// The process without anything of a model, and ggml's work space: measured (docs/benchmarks.md).
const PROCESS_BYTES: u64 = 16 << 20;
/// ggml's work space of each thread.
const THREAD_BYTES: u64 = 1 << 20;
/// A token's text and what finds it: measured.
const VOCABULARY_BYTES: u64 = 200;

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheFormat {
    /// Two bytes each.
    F16,
    /// Four bytes each; attention is computed without its fast way.
    F32,
}

/// How a model is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Requests that run together.
    pub sequences: u32,
    /// Tokens of each.
    pub context_tokens: u32,
    /// Keys and values.
    pub cache: CacheFormat,
    /// Threads that compute.
    pub threads: u32,
}

/// What an engine takes, by what it is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Weights, as stored: repacking does not change their size.
    pub weights_bytes: u64,
    /// Keys and values of all sequences, reserved at once.
    pub cache_bytes: u64,
    /// Intermediate results.
    pub graph_bytes: u64,
    /// The rest: what the program itself takes, its vocabulary, a step's answers.
    pub process_bytes: u64,
}

impl Memory {
    /// Of a model that is run so.
    #[must_use]
    pub fn of(shape: &ModelShape, settings: Settings) -> Self {
        let sequences = u64::from(settings.sequences.clamp(1, SEQUENCES_MAX));
        let cells = cells(sequences, u64::from(settings.context_tokens));
        let number_bytes = match settings.cache {
            CacheFormat::F16 => 2,
            CacheFormat::F32 => 4,
        };
        let token_bytes = shape.cache.numbers_per_token.saturating_mul(number_bytes);
        let cache = (cells * sequences).saturating_mul(token_bytes);
        let states = shape.cache.bytes_per_sequence.saturating_mul(sequences);
        // A step may have more rows of logits, up to 64, where somebody asks for those of a prompt.
        let outputs = sequences;
        let vocabulary = shape.graph.vocabulary.min(SIZE_MAX);
        Self {
            weights_bytes: shape.weights_bytes(),
            cache_bytes: cache.saturating_add(states),
            graph_bytes: graph_bytes(shape, cells, outputs, settings),
            process_bytes: PROCESS_BYTES
                + THREAD_BYTES * u64::from(settings.threads)
                + VOCABULARY_BYTES * vocabulary
                + CELL_BYTES * cells * sequences
                + NUMBER_BYTES * vocabulary * outputs,
        }
    }

    /// Keys and values of a sequence of so many tokens.
    #[must_use]
    pub fn kept_bytes(shape: &ModelShape, tokens: u64) -> u64 {
        let CacheShape { numbers_per_token, bytes_per_sequence } = shape.cache;
        numbers_per_token.saturating_mul(2).saturating_mul(tokens).saturating_add(bytes_per_sequence)
    }

    /// All of it.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        let Self { weights_bytes, cache_bytes, graph_bytes, process_bytes } = self;
        weights_bytes.saturating_add(*cache_bytes).saturating_add(*graph_bytes).saturating_add(*process_bytes)
    }
}

/// Cells of one sequence (`llama-context.cpp`, where the cache is not unified).
fn cells(sequences: u64, context_tokens: u64) -> u64 {
    let all = (sequences * context_tokens).next_multiple_of(CELLS_STEP);
    (all / sequences).next_multiple_of(CELLS_STEP)
}

/// The largest of what a graph has at once; ggml gives a place that is free again to the next
/// (`ggml-alloc.c`), so it is a bound and not a sum.
fn graph_bytes(shape: &ModelShape, cells: u64, outputs: u64, settings: Settings) -> u64 {
    // So wide that no product of what a header may say overflows.
    let wide = |number: u64| u128::from(number.min(SIZE_MAX));
    // Who keeps nothing takes a text whole.
    let is_whole = shape.cache == CacheShape::default();
    let tokens = if is_whole { u64::from(settings.context_tokens) } else { GRAPH_TOKENS };
    let (cells, tokens) = (u128::from(cells), u128::from(tokens));
    let is_short = settings.cache == CacheFormat::F16;
    let GraphShape { vocabulary, embedding, feed_forward, expert_feed_forward, heads, key, value } =
        shape.graph;
    let (width, heads) = (wide(embedding), wide(heads));
    // A mask says which token sees which cell.
    let mask_number_bytes = if is_short { 2 } else { 4 };
    let number_bytes = u128::from(NUMBER_BYTES);
    let inputs = mask_number_bytes * cells * tokens + number_bytes * tokens * width;
    let dense = tokens * (3 * width + 3 * wide(feed_forward));
    let used = shape.experts.map_or(0, |experts| u128::from(experts.used));
    let experts = tokens * (3 * width + used * (3 * wide(expert_feed_forward) + width));
    let products = if is_short { 0 } else { cells * heads };
    let attention = tokens * (3 * width + heads * (2 * wide(key) + wide(value)) + products);
    let head = u128::from(outputs.min(GRAPH_TOKENS)) * (wide(vocabulary) + 2 * width);
    let bytes = inputs + number_bytes * dense.max(experts).max(attention).max(head);
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Experts;

    /// DeepSeek-V2-Lite's shape, of whose weights it does not matter how they are stored.
    fn v2_lite() -> ModelShape {
        ModelShape {
            context_tokens: 163_840,
            dense_bytes: 1_500_000_000,
            table_bytes: 200_000_000,
            experts: Some(Experts { bytes: 15_000_000_000, count: 64, used: 6 }),
            cache: CacheShape { numbers_per_token: 27 * 576, bytes_per_sequence: 0 },
            graph: GraphShape {
                vocabulary: 102_400,
                embedding: 2048,
                feed_forward: 10_944,
                expert_feed_forward: 1408,
                heads: 16,
                key: 576,
                value: 512,
            },
        }
    }

    fn settings(sequences: u32, context_tokens: u32) -> Settings {
        Settings { sequences, context_tokens, cache: CacheFormat::F16, threads: 16 }
    }

    #[test]
    fn keys_and_values_are_of_each_token_of_each_sequence() {
        let memory = Memory::of(&v2_lite(), settings(4, 8192));
        assert_eq!(memory.cache_bytes, 4 * 8192 * 31_104);
        let twice = Memory::of(&v2_lite(), Settings { cache: CacheFormat::F32, ..settings(4, 8192) });
        assert_eq!(twice.cache_bytes, 2 * memory.cache_bytes);
        assert!(twice.graph_bytes > memory.graph_bytes);
        let state = CacheShape { numbers_per_token: 0, bytes_per_sequence: 7 };
        let states = Memory::of(&ModelShape { cache: state, ..v2_lite() }, settings(4, 8192));
        assert_eq!(states.cache_bytes, 28);
    }

    #[test]
    fn cells_are_rounded_as_llama_cpp_does() {
        for (sequences, context_tokens, expected) in
            [(1, 1, 256), (1, 256, 256), (3, 300, 512), (4, 8192, 8192), (2, 128, 256)]
        {
            assert_eq!(cells(sequences, context_tokens), expected, "{sequences} x {context_tokens}");
        }
    }

    #[test]
    fn nothing_that_a_header_may_say_overflows() {
        let most = u64::MAX;
        let graph = GraphShape {
            vocabulary: most,
            embedding: most,
            feed_forward: most,
            expert_feed_forward: most,
            heads: most,
            key: most,
            value: most,
        };
        let shape = ModelShape {
            context_tokens: most,
            dense_bytes: most,
            table_bytes: most,
            experts: Some(Experts { bytes: most, count: 0, used: u32::MAX }),
            cache: CacheShape { numbers_per_token: most, bytes_per_sequence: most },
            graph,
        };
        let settings = Settings {
            sequences: u32::MAX,
            context_tokens: u32::MAX,
            cache: CacheFormat::F32,
            threads: u32::MAX,
        };
        assert_eq!(Memory::of(&shape, settings).total_bytes(), most);
        assert_eq!(Memory::kept_bytes(&shape, most), most);
        let nothing =
            Memory::of(&ModelShape::default(), Settings { sequences: 0, context_tokens: 0, ..settings });
        assert!(nothing.total_bytes() > 0);
    }
}
