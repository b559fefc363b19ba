//! A decoder with Qwen3's layers: grouped heads wider than the hidden size, normed queries and keys, tied
//! embeddings.

use serde_json::{Value as Json, json};

use super::byte_tokens::{ByteTokens, Ends};
use super::{Pooling, Standalone};
use crate::gguf::Value;
use crate::weights::{Tensor, Weights};

pub(super) const LAYERS: usize = 3;
const HIDDEN: usize = 64;
const FEED_FORWARD: usize = 128;
const HEADS: usize = 4;
const SHARED_HEADS: usize = 2;
const HEAD: usize = 32;
const CONTEXT_TOKENS: usize = 4096;
const ROPE_BASE: f64 = 1_000_000.0;
const NORM_EPSILON: f64 = 1e-6;
const SEED: u64 = 8;
/// Of Qwen3-Instruct's, what concerns chats with tools.
pub(super) const CHAT_TEMPLATE: &str = include_str!("qwen3.jinja");

/// A model that gives vectors.
pub(super) fn embedding(disturbed: Option<usize>) -> Standalone {
    let mut model = model(&ByteTokens::new(Ends::Marked, None), disturbed);
    model.files.extend(Pooling::Last.files(HIDDEN));
    model.metadata.push(("qwen3.pooling_type".to_owned(), Pooling::Last.value()));
    model
}

/// A model that chats.
pub(super) fn chat(disturbed: Option<usize>) -> Standalone {
    model(&ByteTokens::new(Ends::Bare, Some(CHAT_TEMPLATE)), disturbed)
}

fn model(tokens: &ByteTokens, disturbed: Option<usize>) -> Standalone {
    let mut files = vec![("config.json", config(tokens))];
    files.extend(tokens.files(CONTEXT_TOKENS));
    let mut metadata = hyperparameters();
    metadata.extend(tokens.metadata());
    Standalone { files, tensors: tensors(tokens.len(), disturbed), metadata, gguf_name }
}

fn config(tokens: &ByteTokens) -> Json {
    json!({
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": tokens.len(),
        "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": SHARED_HEADS,
        "head_dim": HEAD,
        "max_position_embeddings": CONTEXT_TOKENS,
        "rope_theta": ROPE_BASE,
        "rms_norm_eps": NORM_EPSILON,
        "hidden_act": "silu",
        "attention_bias": false,
        "use_sliding_window": false,
        "tie_word_embeddings": true,
        "eos_token_id": tokens.id("<|im_end|>"),
        "torch_dtype": "float32",
    })
}

fn hyperparameters() -> Vec<(String, Value)> {
    let size = |value: usize| Value::U32(value as u32);
    [
        ("general.architecture", Value::String("qwen3".into())),
        ("qwen3.block_count", size(LAYERS)),
        ("qwen3.context_length", size(CONTEXT_TOKENS)),
        ("qwen3.embedding_length", size(HIDDEN)),
        ("qwen3.feed_forward_length", size(FEED_FORWARD)),
        ("qwen3.attention.head_count", size(HEADS)),
        ("qwen3.attention.head_count_kv", size(SHARED_HEADS)),
        ("qwen3.attention.key_length", size(HEAD)),
        ("qwen3.attention.value_length", size(HEAD)),
        ("qwen3.attention.layer_norm_rms_epsilon", Value::F32(NORM_EPSILON as f32)),
        ("qwen3.rope.freq_base", Value::F32(ROPE_BASE as f32)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

fn tensors(vocabulary: usize, disturbed: Option<usize>) -> Vec<Tensor> {
    let mut weights = Weights::new(SEED);
    // They are also the matrix of the logits.
    weights.push("model.embed_tokens.weight", vec![vocabulary, HIDDEN], 0.0, 0.5);
    for layer in 0..LAYERS {
        weights.set_noisy(disturbed == Some(layer));
        let layer = format!("model.layers.{layer}");
        weights.norm(&format!("{layer}.input_layernorm.weight"), HIDDEN);
        for (part, heads) in [("q", HEADS), ("k", SHARED_HEADS), ("v", SHARED_HEADS)] {
            weights.matrix(&format!("{layer}.self_attn.{part}_proj.weight"), heads * HEAD, HIDDEN, 1.0);
        }
        weights.norm(&format!("{layer}.self_attn.q_norm.weight"), HEAD);
        weights.norm(&format!("{layer}.self_attn.k_norm.weight"), HEAD);
        weights.matrix(&format!("{layer}.self_attn.o_proj.weight"), HIDDEN, HEADS * HEAD, 1.0);
        weights.norm(&format!("{layer}.post_attention_layernorm.weight"), HIDDEN);
        weights.gated(&format!("{layer}.mlp"), HIDDEN, FEED_FORWARD);
    }
    weights.set_noisy(false);
    weights.norm("model.norm.weight", HIDDEN);
    weights.into_tensors()
}

/// `model.layers.1.self_attn.q_proj.weight` → `blk.1.attn_q.weight`.
fn gguf_name(name: &str) -> String {
    let (block, rest) = match name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.')) {
        Some((layer, rest)) => (format!("blk.{layer}."), rest),
        None => (String::new(), name),
    };
    let part = match rest {
        "model.embed_tokens.weight" => "token_embd",
        "model.norm.weight" => "output_norm",
        "input_layernorm.weight" => "attn_norm",
        "self_attn.q_proj.weight" => "attn_q",
        "self_attn.k_proj.weight" => "attn_k",
        "self_attn.v_proj.weight" => "attn_v",
        "self_attn.q_norm.weight" => "attn_q_norm",
        "self_attn.k_norm.weight" => "attn_k_norm",
        "self_attn.o_proj.weight" => "attn_output",
        "post_attention_layernorm.weight" => "ffn_norm",
        "mlp.gate_proj.weight" => "ffn_gate",
        "mlp.up_proj.weight" => "ffn_up",
        "mlp.down_proj.weight" => "ffn_down",
        _ => unreachable!("no tensor {name} is made"),
    };
    format!("{block}{part}.weight")
}
