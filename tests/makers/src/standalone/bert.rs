//! A BERT encoder (Devlin et al. 2018), as embedding models use it: every token sees the whole text.

use serde_json::json;

use super::wordpiece::WordPiece;
use super::{Pooling, Standalone};
use crate::gguf::Value;
use crate::weights::{Tensor, Weights};

pub(super) const LAYERS: usize = 3;
const HIDDEN: usize = 64;
const FEED_FORWARD: usize = 128;
const HEADS: usize = 4;
const CONTEXT_TOKENS: usize = 256;
const TOKEN_TYPES: usize = 2;
const NORM_EPSILON: f64 = 1e-12;
const SEED: u64 = 5;
/// Spread of biases, those of norms included.
const BIAS_DEVIATION: f32 = 0.1;

/// The model, which gives a vector for a text in this way.
pub(super) fn model(pooling: Pooling, disturbed: Option<usize>) -> Standalone {
    let words = WordPiece::new();
    let config = json!({
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": words.len(),
        "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": CONTEXT_TOKENS,
        "type_vocab_size": TOKEN_TYPES,
        "layer_norm_eps": NORM_EPSILON,
        "hidden_act": "gelu",
        "position_embedding_type": "absolute",
        "pad_token_id": 0,
        "torch_dtype": "float32",
    });
    let mut files = vec![("config.json", config)];
    files.extend(words.files(CONTEXT_TOKENS));
    files.extend(pooling.files(HIDDEN));
    let mut metadata = hyperparameters(pooling);
    metadata.push(("tokenizer.ggml.token_type_count".to_owned(), size(TOKEN_TYPES)));
    metadata.extend(words.metadata());
    Standalone { files, tensors: tensors(words.len(), disturbed), metadata, gguf_name }
}

fn size(value: usize) -> Value {
    Value::U32(value as u32)
}

fn hyperparameters(pooling: Pooling) -> Vec<(String, Value)> {
    [
        ("general.architecture", Value::String("bert".into())),
        ("bert.block_count", size(LAYERS)),
        ("bert.context_length", size(CONTEXT_TOKENS)),
        ("bert.embedding_length", size(HIDDEN)),
        ("bert.feed_forward_length", size(FEED_FORWARD)),
        ("bert.attention.head_count", size(HEADS)),
        ("bert.attention.layer_norm_epsilon", Value::F32(NORM_EPSILON as f32)),
        ("bert.attention.causal", Value::Bool(false)),
        ("bert.pooling_type", pooling.value()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

fn tensors(vocabulary: usize, disturbed: Option<usize>) -> Vec<Tensor> {
    let mut weights = Weights::new(SEED);
    for (name, rows) in [("word", vocabulary), ("position", CONTEXT_TOKENS), ("token_type", TOKEN_TYPES)] {
        weights.push(&format!("embeddings.{name}_embeddings.weight"), vec![rows, HIDDEN], 0.0, 1.0);
    }
    norm(&mut weights, "embeddings.LayerNorm");
    for layer in 0..LAYERS {
        weights.set_noisy(disturbed == Some(layer));
        let layer = format!("encoder.layer.{layer}");
        for part in ["self.query", "self.key", "self.value", "output.dense"] {
            linear(&mut weights, &format!("{layer}.attention.{part}"), HIDDEN, HIDDEN);
        }
        norm(&mut weights, &format!("{layer}.attention.output.LayerNorm"));
        linear(&mut weights, &format!("{layer}.intermediate.dense"), FEED_FORWARD, HIDDEN);
        linear(&mut weights, &format!("{layer}.output.dense"), HIDDEN, FEED_FORWARD);
        norm(&mut weights, &format!("{layer}.output.LayerNorm"));
    }
    weights.into_tensors()
}

fn linear(weights: &mut Weights, name: &str, outputs: usize, inputs: usize) {
    weights.matrix(&format!("{name}.weight"), outputs, inputs, 1.0);
    weights.push(&format!("{name}.bias"), vec![outputs], 0.0, BIAS_DEVIATION);
}

fn norm(weights: &mut Weights, name: &str) {
    weights.norm(&format!("{name}.weight"), HIDDEN);
    weights.push(&format!("{name}.bias"), vec![HIDDEN], 0.0, BIAS_DEVIATION);
}

/// `encoder.layer.1.attention.self.query.weight` → `blk.1.attn_q.weight`.
fn gguf_name(name: &str) -> String {
    let (block, rest) = match name.strip_prefix("encoder.layer.").and_then(|rest| rest.split_once('.')) {
        Some((layer, rest)) => (format!("blk.{layer}."), rest),
        None => (String::new(), name),
    };
    let (part, ending) = rest.rsplit_once('.').expect("every tensor is a weight or a bias");
    let part = match part {
        "embeddings.word_embeddings" => "token_embd",
        "embeddings.position_embeddings" => "position_embd",
        "embeddings.token_type_embeddings" => "token_types",
        "embeddings.LayerNorm" => "token_embd_norm",
        "attention.self.query" => "attn_q",
        "attention.self.key" => "attn_k",
        "attention.self.value" => "attn_v",
        "attention.output.dense" => "attn_output",
        "attention.output.LayerNorm" => "attn_output_norm",
        "intermediate.dense" => "ffn_up",
        "output.dense" => "ffn_down",
        "output.LayerNorm" => "layer_output_norm",
        _ => unreachable!("no tensor {name} is made"),
    };
    format!("{block}{part}.{ending}")
}
