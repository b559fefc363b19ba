//! Models with the layers of published ones at full width, few of them, and random weights in the formats
//! that files are published in: for benchmarks, which need the real sizes and no sense.

mod blocks;

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use self::blocks::Block;
use crate::config::{Config, Kind};
use crate::error::{MakeError, create_folder};
use crate::generator::Generator;
use crate::gguf::{ALIGNMENT_BYTES, Entry, Value, header};
use crate::llama_cpp;
use crate::standalone::padded_byte_tokens;

const SEED: u64 = 12;
/// Written together.
const CHUNK_BYTES: usize = 4 << 20;

/// Whose layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Shape {
    /// DeepSeek-V2-Lite: 4 of its 27 layers.
    DeepseekV2LiteWide,
    /// DeepSeek-V3 and R1: a dense layer and one with 32 of its 256 experts.
    DeepseekV3Wide,
    /// Qwen2-1.5B, of which the smallest R1 distill is made: 8 of its 28 layers.
    Qwen2Wide,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::DeepseekV2LiteWide, Self::DeepseekV3Wide, Self::Qwen2Wide];

    /// The name used on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::DeepseekV2LiteWide => "deepseek-v2-lite-wide",
            Self::DeepseekV3Wide => "deepseek-v3-wide",
            Self::Qwen2Wide => "qwen2-wide",
        }
    }
}

/// In which format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Quantization {
    /// All in Q8_0.
    Q8_0,
    /// All in Q4_0.
    Q4_0,
    /// Q4_K, and Q5_0 where rows do not divide.
    Q4K,
    /// Q6_K, and Q8_0 where rows do not divide.
    Q6K,
    /// All in BF16.
    Bf16,
    /// As Q4_K_M mixes: Q4_K, Q6_K for what matters most, Q5_0 and Q8_0 where rows do not divide.
    Q4KM,
}

/// A tensor that is to be written.
struct Planned {
    name: String,
    shape: Vec<usize>,
    block: Block,
    deviation: f32,
}

impl Planned {
    fn weights(&self) -> usize {
        self.shape.iter().product()
    }

    fn bytes(&self) -> usize {
        self.weights() / self.block.weights() * self.block.bytes()
    }
}

/// Writes such a model as a GGUF file.
///
/// # Errors
/// [`MakeError::Write`] if the file cannot be written.
pub fn write_shape(shape: Shape, quantization: Quantization, path: &Path) -> Result<(), MakeError> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    let failed = |source: io::Error| MakeError::Write { path: path.to_owned(), source };
    let (metadata, tensors) = plan(shape, quantization);
    let entries: Vec<Entry<'_>> = tensors
        .iter()
        .map(|tensor| Entry {
            name: &tensor.name,
            shape: &tensor.shape,
            format: tensor.block.number(),
            bytes: tensor.bytes(),
        })
        .collect();
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    file.write_all(&header(&metadata, &entries)).map_err(failed)?;
    tensors.iter().try_for_each(|tensor| write_tensor(tensor, &mut file)).map_err(failed)?;
    file.flush().map_err(failed)
}

fn write_tensor(tensor: &Planned, file: &mut impl io::Write) -> io::Result<()> {
    let generator = Generator::new(SEED, &tensor.name);
    let size = tensor.block.bytes();
    let (mut from, mut left) = (0, tensor.bytes());
    let mut chunk = vec![0; CHUNK_BYTES / size * size];
    while left > 0 {
        let bytes = left.min(chunk.len());
        tensor.block.fill(&generator, tensor.deviation, from, &mut chunk[..bytes]);
        file.write_all(&chunk[..bytes])?;
        from += (bytes / size) as u64;
        left -= bytes;
    }
    let zeros = tensor.bytes().next_multiple_of(ALIGNMENT_BYTES) - tensor.bytes();
    file.write_all(&[0; ALIGNMENT_BYTES][..zeros])
}

fn plan(shape: Shape, quantization: Quantization) -> (Vec<(String, Value)>, Vec<Planned>) {
    let (vocabulary, name, metadata, tensors) = match shape {
        Shape::DeepseekV2LiteWide => deepseek(v2_lite(), "deepseek v2-lite wide", quantization),
        Shape::DeepseekV3Wide => deepseek(v3(), "deepseek v3 wide", quantization),
        Shape::Qwen2Wide => qwen2(quantization),
    };
    let general = [
        ("general.type", Value::String("model".into())),
        ("general.name", Value::String(format!("nabi {name}"))),
        ("general.quantization_version", Value::U32(2)),
    ];
    let general = general.map(|(key, value)| (key.to_owned(), value));
    let metadata = metadata.into_iter().chain(general).chain(padded_byte_tokens(vocabulary)).collect();
    (metadata, tensors)
}

type Described = (usize, &'static str, Vec<(String, Value)>, Vec<Planned>);

fn v2_lite() -> Config {
    Config {
        hidden_size: 2048,
        intermediate_size: 10_944,
        moe_intermediate_size: 1408,
        num_hidden_layers: 4,
        num_attention_heads: 16,
        num_key_value_heads: 16,
        kv_lora_rank: 512,
        qk_nope_head_dim: 128,
        qk_rope_head_dim: 64,
        v_head_dim: 128,
        n_routed_experts: 64,
        num_experts_per_tok: 6,
        max_position_embeddings: 8192,
        // llama.cpp asks for it unless there are 27 layers, and takes none from 0.
        q_lora_rank: Some(0),
        ..Config::new(Kind::DeepseekV2Lite, 102_400)
    }
}

fn v3() -> Config {
    Config {
        hidden_size: 7168,
        intermediate_size: 18_432,
        moe_intermediate_size: 2048,
        num_hidden_layers: 2,
        num_attention_heads: 128,
        num_key_value_heads: 128,
        q_lora_rank: Some(1536),
        kv_lora_rank: 512,
        qk_nope_head_dim: 128,
        qk_rope_head_dim: 64,
        v_head_dim: 128,
        n_routed_experts: 32,
        num_experts_per_tok: 8,
        n_group: 8,
        topk_group: 4,
        max_position_embeddings: 8192,
        ..Config::new(Kind::DeepseekV3, 129_280)
    }
}

fn deepseek(config: Config, name: &'static str, quantization: Quantization) -> Described {
    let mut metadata = vec![("general.architecture".to_owned(), Value::String("deepseek2".into()))];
    metadata.extend(llama_cpp::hyperparameters(&config));
    let mut tensors = Tensors::new(quantization);
    let (width, heads) = (config.hidden_size, config.num_attention_heads);
    tensors.matrix("token_embd", &[config.vocab_size, width], Part::Plain);
    for layer in 0..config.num_hidden_layers {
        tensors.layer = format!("blk.{layer}.");
        tensors.norm("attn_norm", width);
        match config.q_lora_rank {
            None | Some(0) => tensors.matrix("attn_q", &[heads * config.qk_head_dim(), width], Part::Plain),
            Some(rank) => {
                tensors.matrix("attn_q_a", &[rank, width], Part::Plain);
                tensors.norm("attn_q_a_norm", rank);
                tensors.matrix("attn_q_b", &[heads * config.qk_head_dim(), rank], Part::Plain);
            }
        }
        let rank = config.kv_lora_rank;
        tensors.matrix("attn_kv_a_mqa", &[rank + config.qk_rope_head_dim, width], Part::Plain);
        tensors.norm("attn_kv_a_norm", rank);
        tensors.matrix("attn_k_b", &[heads, rank, config.qk_nope_head_dim], Part::Plain);
        tensors.matrix("attn_v_b", &[heads, config.v_head_dim, rank], Part::Important);
        tensors.matrix("attn_output", &[width, heads * config.v_head_dim], Part::Plain);
        tensors.norm("ffn_norm", width);
        if layer < config.first_k_dense_replace {
            tensors.gated("", &[], width, config.intermediate_size);
            continue;
        }
        let experts = config.n_routed_experts;
        tensors.plain("ffn_gate_inp.weight", &[experts, width], 1.0 / (width as f32).sqrt());
        if config.has_correction_bias() {
            tensors.plain("exp_probs_b.bias", &[experts], 0.01);
        }
        tensors.gated("_exps", &[experts], width, config.moe_intermediate_size);
        tensors.gated("_shexp", &[], width, config.n_shared_experts * config.moe_intermediate_size);
    }
    tensors.layer.clear();
    tensors.norm("output_norm", width);
    tensors.matrix("output", &[config.vocab_size, width], Part::Important);
    (config.vocab_size, name, metadata, tensors.planned)
}

fn qwen2(quantization: Quantization) -> Described {
    const VOCABULARY: usize = 151_936;
    const LAYERS: usize = 8;
    const WIDTH: usize = 1536;
    const FEED_FORWARD: usize = 8960;
    const SHARED: usize = 2 * 128;
    let size = |value: usize| Value::U32(value as u32);
    let metadata = [
        ("general.architecture", Value::String("qwen2".into())),
        ("qwen2.block_count", size(LAYERS)),
        ("qwen2.context_length", size(8192)),
        ("qwen2.embedding_length", size(WIDTH)),
        ("qwen2.feed_forward_length", size(FEED_FORWARD)),
        ("qwen2.attention.head_count", size(12)),
        ("qwen2.attention.head_count_kv", size(2)),
        ("qwen2.attention.layer_norm_rms_epsilon", Value::F32(1e-6)),
        ("qwen2.rope.freq_base", Value::F32(10_000.0)),
    ]
    .map(|(key, value)| (key.to_owned(), value));
    let mut tensors = Tensors::new(quantization);
    tensors.matrix("token_embd", &[VOCABULARY, WIDTH], Part::Plain);
    for layer in 0..LAYERS {
        tensors.layer = format!("blk.{layer}.");
        tensors.norm("attn_norm", WIDTH);
        for (name, rows, part) in [
            ("attn_q", WIDTH, Part::Plain),
            ("attn_k", SHARED, Part::Plain),
            ("attn_v", SHARED, Part::Important),
        ] {
            tensors.matrix(name, &[rows, WIDTH], part);
            tensors.plain(&format!("{name}.bias"), &[rows], 0.1);
        }
        tensors.matrix("attn_output", &[WIDTH, WIDTH], Part::Plain);
        tensors.norm("ffn_norm", WIDTH);
        tensors.gated("", &[], WIDTH, FEED_FORWARD);
    }
    tensors.layer.clear();
    tensors.norm("output_norm", WIDTH);
    tensors.matrix("output", &[VOCABULARY, WIDTH], Part::Important);
    (VOCABULARY, "qwen2 wide", metadata.into(), tensors.planned)
}

/// How much a matrix matters to Q4_K_M.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Plain,
    Important,
}

struct Tensors {
    quantization: Quantization,
    /// Begins the names.
    layer: String,
    planned: Vec<Planned>,
}

impl Tensors {
    fn new(quantization: Quantization) -> Self {
        Self { quantization, layer: String::new(), planned: Vec::new() }
    }

    /// In F32.
    fn plain(&mut self, name: &str, shape: &[usize], deviation: f32) {
        let name = format!("{}{name}", self.layer);
        self.planned.push(Planned { name, shape: shape.to_vec(), block: Block::F32, deviation });
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.plain(&format!("{name}.weight"), &[width], 1.0);
    }

    /// Its last dimension is that of its input: what comes out is as large as what goes in.
    fn matrix(&mut self, name: &str, shape: &[usize], part: Part) {
        let row = shape[shape.len() - 1];
        let block = match (self.quantization, part) {
            (Quantization::Q8_0, _) => Block::Q8_0,
            (Quantization::Q4_0, _) => Block::Q4_0,
            (Quantization::Q4K, _) | (Quantization::Q4KM, Part::Plain) => Block::Q4_K,
            (Quantization::Q6K, _) | (Quantization::Q4KM, Part::Important) => Block::Q6_K,
            (Quantization::Bf16, _) => Block::Bf16,
        };
        self.planned.push(Planned {
            name: format!("{}{name}.weight", self.layer),
            shape: shape.to_vec(),
            block: block.of_rows(row),
            deviation: 1.0 / (row as f32).sqrt(),
        });
    }

    /// Gate, up and down, `outer` times.
    fn gated(&mut self, suffix: &str, outer: &[usize], width: usize, inner: usize) {
        for (name, rows, row, part) in [
            ("ffn_gate", inner, width, Part::Plain),
            ("ffn_up", inner, width, Part::Plain),
            ("ffn_down", width, inner, Part::Important),
        ] {
            self.matrix(&format!("{name}{suffix}"), &[outer, &[rows, row]].concat(), part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_more_than_any_cache_holds() {
        for (shape, quantization) in [
            (Shape::DeepseekV2LiteWide, Quantization::Q8_0),
            (Shape::DeepseekV3Wide, Quantization::Q4_0),
            (Shape::Qwen2Wide, Quantization::Q4_0),
        ] {
            let (_, tensors) = plan(shape, quantization);
            let read = |tensor: &Planned| match tensor.name.as_str() {
                "token_embd.weight" => 0,
                name if name.contains("_exps") => tensor.bytes() / tensor.shape[0] * 6,
                _ => tensor.bytes(),
            };
            let bytes: usize = tensors.iter().map(read).sum();
            assert!(bytes >= 320 << 20, "{shape:?} in {quantization:?}: {bytes} bytes");
        }
    }

    #[test]
    fn a_file_is_what_an_import_accepts() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("qwen2.gguf");
        write_shape(Shape::Qwen2Wide, Quantization::Q4_0, &path).expect("written");
        let inspected = nabi_models::inspect(&path).expect("accepted");
        assert_eq!((inspected.architecture.as_str(), inspected.quantization.as_str()), ("qwen2", "Q4_0"));
        assert!(inspected.shape.is_some());
    }
}
