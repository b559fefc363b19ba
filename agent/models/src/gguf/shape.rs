//! A model's shape, from its header: what decides how much memory it takes and how fast it is.
//!
//! Which tensor is read for a token follows from the operators that llama.cpp uses it in
//! (`LLM_TENSOR_INFOS` of `llama-arch.cpp`), what is kept of a token from `llama-kv-cache.cpp`.

use nabi_domain::plan::{CacheShape, Experts, GraphShape, ModelShape};

use super::{Array, GgufError, Header, TOKENS, Tensor, Value};

/// Tables of which rows are taken.
const TABLES: [&str; 4] =
    ["token_embd.weight", "position_embd.weight", "token_types.weight", "per_layer_token_embd.weight"];
/// The table of tokens, and the weights that make logits of the last layer: where a model has none, the
/// table is used for that too.
const TOKEN_TABLE: &str = "token_embd.weight";
const OUTPUT: &str = "output.weight";
/// Experts of a layer lie in one tensor.
const EXPERTS: [&str; 2] = ["_exps.", "_chexps."];
/// These encode whole texts, and keep nothing.
const ENCODERS: [&str; 9] = [
    "bert",
    "nomic-bert",
    "nomic-bert-moe",
    "neo-bert",
    "modern-bert",
    "jina-bert-v2",
    "jina-bert-v3",
    "eurobert",
    "gemma-embedding",
];
/// Keys of architectures that keep something else than keys and values, or not for every token.
const OTHER_CACHES: [&str; 6] = [
    "ssm.conv_kernel",
    "ssm.state_size",
    "shortconv.l_cache",
    "wkv.head_size",
    "kda.head_dim",
    "attention.shared_kv_layers",
];

/// Collects a shape over the parts of a model.
#[derive(Debug)]
pub struct ShapeReader {
    /// Layers from here on predict further tokens, and are not loaded.
    layers: u64,
    expert_count: u32,
    experts_used: u32,
    context_tokens: u64,
    /// None where it is not known how that architecture keeps a token.
    cache: Option<CacheShape>,
    graph: GraphShape,
    encodes: bool,
    dense_bytes: u64,
    table_bytes: u64,
    token_table_bytes: u64,
    expert_bytes: u64,
    has_output: bool,
}

impl ShapeReader {
    /// Begins with the header that describes the model, which [`super::describe`] accepts.
    ///
    /// # Errors
    /// When a number is none.
    pub fn new(header: &Header) -> Result<Self, GgufError> {
        let architecture = header.text("general.architecture")?.unwrap_or_default();
        let number = |suffix: &str| -> Result<u64, GgufError> {
            Ok(header.integer(&format!("{architecture}.{suffix}"))?.unwrap_or(0))
        };
        let numbers = |suffix: &str| header.integers(&format!("{architecture}.{suffix}"));
        let has = |suffix: &&str| header.get(&format!("{architecture}.{suffix}")).is_some();
        let most =
            |suffix: &str| -> Result<u64, GgufError> { Ok(numbers(suffix)?.into_iter().max().unwrap_or(0)) };
        let layers = number("block_count")?.saturating_sub(number("nextn_predict_layers")?);
        let (embedding, heads) = (number("embedding_length")?, most("attention.head_count")?);
        let head = embedding.checked_div(heads).unwrap_or(0);
        let key = or(number("attention.key_length")?, head);
        let value = or(number("attention.value_length")?, head);
        let encodes = ENCODERS.contains(&architecture);
        let is_latent = number("attention.key_length_mla")? > 0;
        // One number stands for all layers.
        let shared = match numbers("attention.head_count_kv")? {
            none if none.is_empty() => numbers("attention.head_count")?,
            some => some,
        };
        let heads_of_all: u64 = match shared[..] {
            [] => 0,
            [single] => single.saturating_mul(layers),
            ref each => each.iter().take(layers as usize).fold(0, |sum, &heads| sum.saturating_add(heads)),
        };
        // What a value is can be computed of a latent key. An indexer keeps a key of its own.
        let of_head = if is_latent { key } else { key.saturating_add(value) };
        let indexer = number("attention.indexer.key_length")?.saturating_mul(layers);
        let numbers_per_token = match encodes {
            true => 0,
            false => of_head.saturating_mul(heads_of_all).saturating_add(indexer),
        };
        let is_known = !OTHER_CACHES.iter().any(has);
        let compressed = Compressed {
            ratios: numbers("attention.compress_ratios")?,
            layers,
            window: number("attention.sliding_window")?,
            key,
            indexer: number("attention.indexer.key_length")?,
        };
        let cache = match compressed.ratios.is_empty() {
            true => CacheShape { numbers_per_token, bytes_per_sequence: 0 },
            false => compressed.cache(),
        };
        let vocabulary = match header.get(TOKENS) {
            Some(Value::Array(Array { elements, .. })) => *elements,
            _ => number("vocab_size")?,
        };
        Ok(Self {
            layers,
            expert_count: u32::try_from(number("expert_count")?).unwrap_or(u32::MAX),
            experts_used: u32::try_from(most("expert_used_count")?).unwrap_or(u32::MAX),
            context_tokens: number("context_length")?,
            cache: is_known.then_some(cache),
            graph: GraphShape {
                vocabulary,
                embedding,
                feed_forward: most("feed_forward_length")?,
                expert_feed_forward: number("expert_feed_forward_length")?,
                heads,
                key,
                value: if is_latent { number("attention.kv_lora_rank")? } else { value },
            },
            encodes,
            dense_bytes: 0,
            table_bytes: 0,
            token_table_bytes: 0,
            expert_bytes: 0,
            has_output: false,
        })
    }

    /// Adds the tensors of a part.
    pub fn add(&mut self, tensors: &[Tensor]) {
        for tensor in tensors {
            let name = tensor.name.as_str();
            if layer(name).is_some_and(|layer| layer >= self.layers) {
                continue;
            }
            let sum = if EXPERTS.iter().any(|mark| name.contains(mark)) {
                &mut self.expert_bytes
            } else if TABLES.contains(&name) {
                &mut self.table_bytes
            } else {
                &mut self.dense_bytes
            };
            *sum = sum.saturating_add(tensor.bytes);
            self.has_output |= name == OUTPUT;
            if name == TOKEN_TABLE {
                self.token_table_bytes = tensor.bytes;
            }
        }
    }

    /// The shape; none where it is not known what that architecture keeps of a token.
    #[must_use]
    pub fn finish(mut self) -> Option<ModelShape> {
        if !self.has_output && !self.encodes {
            // It is in memory once, and read for every token.
            self.table_bytes -= self.token_table_bytes;
            self.dense_bytes = self.dense_bytes.saturating_add(self.token_table_bytes);
        }
        let experts = Experts { bytes: self.expert_bytes, count: self.expert_count, used: self.experts_used };
        Some(ModelShape {
            context_tokens: self.context_tokens,
            dense_bytes: self.dense_bytes,
            table_bytes: self.table_bytes,
            experts: (experts.bytes > 0 && experts.count > 0).then_some(experts),
            cache: self.cache?,
            graph: self.graph,
        })
    }
}

/// DeepSeek-V4 keeps a window of tokens, and of those before it one row for several
/// (`llama-kv-cache-dsv4.cpp`).
struct Compressed {
    /// Of each layer: 0 keeps the window alone.
    ratios: Vec<u64>,
    layers: u64,
    window: u64,
    key: u64,
    /// Numbers of the key by which rows are chosen.
    indexer: u64,
}

impl Compressed {
    /// Layers of this ratio choose among their rows.
    const CHOOSING: u64 = 4;
    /// Layers of this one take all.
    const DENSE: u64 = 128;
    /// Tokens of one graph, which a window must hold besides.
    const GRAPH_TOKENS: u64 = 256;
    const CELLS_STEP: u64 = 256;

    fn cache(&self) -> CacheShape {
        let ratios = || self.ratios.iter().take(self.layers as usize);
        let count = |ratio: u64| ratios().filter(|&&of_layer| of_layer == ratio).count() as u64;
        let (choosing, dense) = (count(Self::CHOOSING), count(Self::DENSE));
        let rows = choosing.saturating_mul(self.key.saturating_add(self.indexer)) / Self::CHOOSING;
        let numbers_per_token = rows.saturating_add(dense.saturating_mul(self.key) / Self::DENSE);
        // Rows of two bytes; what becomes a row next is kept in four bytes, twice.
        let cells =
            (self.window.min(u64::from(u32::MAX)) + Self::GRAPH_TOKENS).next_multiple_of(Self::CELLS_STEP);
        let window = self.layers.saturating_mul(cells).saturating_mul(self.key).saturating_mul(2);
        let states = |layers: u64, tokens: u64, numbers: u64| {
            layers.saturating_mul(tokens).saturating_mul(numbers).saturating_mul(2 * 4)
        };
        let twice = 2 * Self::CHOOSING;
        let bytes_per_sequence = window
            .saturating_add(states(choosing, twice, self.key.saturating_mul(2)))
            .saturating_add(states(choosing, twice, self.indexer.saturating_mul(2)))
            .saturating_add(states(dense, Self::DENSE, self.key));
        CacheShape { numbers_per_token, bytes_per_sequence }
    }
}

fn or(number: u64, otherwise: u64) -> u64 {
    if number > 0 { number } else { otherwise }
}

/// Of `blk.12.attn_k.weight`, 12.
fn layer(name: &str) -> Option<u64> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use nabi_model_corpus::gguf::{Gguf, value_type};

    use super::*;
    use crate::gguf::read_header;

    fn shape(gguf: &Gguf) -> Option<ModelShape> {
        let bytes = gguf.build();
        let header = read_header(&bytes[..], bytes.len() as u64, &[TOKENS]).expect("valid");
        let mut reader = ShapeReader::new(&header).expect("numbers");
        reader.add(&header.tensors);
        reader.finish()
    }

    fn deepseek() -> Gguf {
        Gguf::empty()
            .text("general.architecture", "deepseek2")
            .u32("deepseek2.context_length", 4096)
            .u32("deepseek2.embedding_length", 64)
            .u32("deepseek2.block_count", 3)
            .u32("deepseek2.nextn_predict_layers", 1)
            .u32("deepseek2.feed_forward_length", 128)
            .u32("deepseek2.expert_feed_forward_length", 32)
            .u32("deepseek2.expert_count", 8)
            .u32("deepseek2.expert_used_count", 2)
            .u32("deepseek2.attention.head_count", 4)
            .u32("deepseek2.attention.head_count_kv", 1)
            .u32("deepseek2.attention.key_length", 48)
            .u32("deepseek2.attention.value_length", 32)
            .u32("deepseek2.attention.key_length_mla", 24)
            .u32("deepseek2.attention.value_length_mla", 16)
            .u32("deepseek2.attention.kv_lora_rank", 32)
            .f32("token_embd.weight", &[64, 10])
            .f32("output.weight", &[64, 10])
            .f32("blk.0.attn_k_b.weight", &[64, 2])
            .f32("blk.1.ffn_up_exps.weight", &[64, 32, 8])
            .f32("blk.1.ffn_up_shexp.weight", &[64, 32])
            .f32("blk.2.ffn_up_exps.weight", &[64, 32, 8])
    }

    #[test]
    fn a_latent_mixture_reads_some_experts_and_keeps_one_key_of_each_layer() {
        let shape = shape(&deepseek()).expect("known");
        let experts = Experts { bytes: 64 * 32 * 8 * 4, count: 8, used: 2 };
        assert_eq!(shape.experts, Some(experts), "the layer that predicts is not loaded");
        assert_eq!(shape.dense_bytes, (64 * 10 + 64 * 2 + 64 * 32) * 4);
        assert_eq!(shape.table_bytes, 64 * 10 * 4);
        assert_eq!(shape.cache.numbers_per_token, 2 * 48);
        assert_eq!((shape.graph.key, shape.graph.value, shape.graph.heads), (48, 32, 4));
    }

    #[test]
    fn heads_of_each_layer_are_added_and_a_tied_table_is_read_for_every_token() {
        let heads: Vec<u8> = [2_u32, 0, 4].iter().flat_map(|heads| heads.to_le_bytes()).collect();
        let gguf = Gguf::empty()
            .text("general.architecture", "llama")
            .u32("llama.context_length", 128)
            .u32("llama.embedding_length", 64)
            .u32("llama.block_count", 3)
            .u32("llama.attention.head_count", 4)
            .array("llama.attention.head_count_kv", value_type::U32, 3, &heads)
            .f32("token_embd.weight", &[64, 10]);
        let shape = shape(&gguf).expect("known");
        assert_eq!(shape.cache.numbers_per_token, 6 * (16 + 16));
        assert_eq!((shape.dense_bytes, shape.table_bytes), (64 * 10 * 4, 0));
        assert_eq!(shape.experts, None);
    }

    #[test]
    fn compressed_rows_are_kept_as_llama_cpp_does() {
        // DeepSeek-V4-Flash: two layers with the window alone, then by turns.
        let mut ratios = vec![0, 0];
        ratios.extend([4, 128].repeat(20));
        ratios.extend([4, 0]);
        let compressed = Compressed { ratios, layers: 43, window: 128, key: 512, indexer: 128 };
        let fixed =
            43 * 512 * 512 * 2 + 21 * 2 * 8 * 1024 * 4 + 20 * 2 * 128 * 512 * 4 + 21 * 2 * 8 * 256 * 4;
        assert_eq!(compressed.cache(), CacheShape { numbers_per_token: 3440, bytes_per_sequence: fixed });
        let huge =
            Compressed { ratios: vec![4; 9], layers: u64::MAX, window: 1 << 40, key: u64::MAX, indexer: 1 };
        assert_eq!(huge.cache().bytes_per_sequence, u64::MAX);
    }

    #[test]
    fn what_keeps_something_else_is_not_guessed() {
        assert_eq!(shape(&deepseek().u32("deepseek2.ssm.conv_kernel", 4)), None);
        let encoder = Gguf::empty()
            .text("general.architecture", "bert")
            .u32("bert.context_length", 512)
            .u32("bert.embedding_length", 64)
            .u32("bert.block_count", 2)
            .u32("bert.attention.head_count", 4)
            .f32("token_embd.weight", &[64, 10])
            .f32("blk.0.attn_q.weight", &[64, 64]);
        let shape = shape(&encoder).expect("known");
        assert_eq!((shape.cache.numbers_per_token, shape.table_bytes), (0, 64 * 10 * 4));
        assert_eq!(shape.dense_bytes, 64 * 64 * 4);
    }
}
