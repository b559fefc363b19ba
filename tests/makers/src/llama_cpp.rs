//! A model as llama.cpp's converter (`conversion/deepseek.py`) would write it: architecture `deepseek2`.
//!
//! Multi-head latent attention is stored in its absorbed form: the joint up-projection of keys and values is
//! split, the keys' part transposed, and the file describes attention over one shared head.

use crate::config::{Config, Kind};
use crate::gguf::{GgufTensor, Value, encode};
use crate::model::Model;
use crate::tokenizer::Tokenizer;
use crate::weights::Tensor;

/// The bytes of the GGUF file.
pub(crate) fn file(model: &Model<'_>) -> Vec<u8> {
    let mut metadata = general(model.kind);
    metadata.extend(hyperparameters(&model.config));
    metadata.extend(tokenizer(model.tokenizer));
    encode(&metadata, &tensors(&model.config, &model.tensors))
}

fn general(kind: Kind) -> Vec<(String, Value)> {
    /// llama.cpp's number for "all tensors in F32".
    const FILE_TYPE_F32: u32 = 0;
    const QUANTIZATION_VERSION: u32 = 2;
    vec![
        ("general.architecture".into(), Value::String("deepseek2".into())),
        ("general.type".into(), Value::String("model".into())),
        ("general.name".into(), Value::String(format!("nabi tiny {}", kind.name()))),
        ("general.file_type".into(), Value::U32(FILE_TYPE_F32)),
        ("general.quantization_version".into(), Value::U32(QUANTIZATION_VERSION)),
    ]
}

pub(crate) fn hyperparameters(config: &Config) -> Vec<(String, Value)> {
    let size = |value: usize| Value::U32(value as u32);
    let number = |value: f64| Value::F32(value as f32);
    let rope = &config.rope_scaling;
    let gating_function = match config.scoring_func {
        "sigmoid" => 2,
        _ => 1, // softmax
    };
    let mut pairs = vec![
        ("block_count", size(config.num_hidden_layers)),
        ("context_length", size(config.max_position_embeddings)),
        ("embedding_length", size(config.hidden_size)),
        ("feed_forward_length", size(config.intermediate_size)),
        ("leading_dense_block_count", size(config.first_k_dense_replace)),
        ("vocab_size", size(config.vocab_size)),
        ("attention.head_count", size(config.num_attention_heads)),
        ("attention.head_count_kv", size(1)),
        ("attention.layer_norm_rms_epsilon", number(config.rms_norm_eps)),
        ("attention.kv_lora_rank", size(config.kv_lora_rank)),
        ("attention.key_length", size(config.kv_lora_rank + config.qk_rope_head_dim)),
        ("attention.value_length", size(config.kv_lora_rank)),
        ("attention.key_length_mla", size(config.qk_head_dim())),
        ("attention.value_length_mla", size(config.v_head_dim)),
        ("rope.dimension_count", size(config.qk_rope_head_dim)),
        ("rope.freq_base", number(config.rope_theta)),
        ("rope.scaling.type", Value::String(rope.kind.into())),
        ("rope.scaling.factor", number(rope.factor)),
        ("rope.scaling.original_context_length", size(rope.original_max_position_embeddings)),
        ("rope.scaling.yarn_beta_fast", number(rope.beta_fast)),
        ("rope.scaling.yarn_beta_slow", number(rope.beta_slow)),
        // The converter multiplies by 0.1 and llama.cpp divides again, for the sake of old files.
        ("rope.scaling.yarn_log_multiplier", number(0.1 * rope.mscale_all_dim)),
        ("expert_count", size(config.n_routed_experts)),
        ("expert_used_count", size(config.num_experts_per_tok)),
        ("expert_shared_count", size(config.n_shared_experts)),
        ("expert_group_count", size(config.n_group)),
        ("expert_group_used_count", size(config.topk_group)),
        ("expert_gating_func", Value::U32(gating_function)),
        ("expert_feed_forward_length", size(config.moe_intermediate_size)),
        ("expert_weights_scale", number(config.routed_scaling_factor)),
    ];
    pairs.extend(config.norm_topk_prob.then_some(("expert_weights_norm", Value::Bool(true))));
    pairs.extend(config.q_lora_rank.map(|rank| ("attention.q_lora_rank", size(rank))));
    pairs.into_iter().map(|(key, value)| (format!("deepseek2.{key}"), value)).collect()
}

fn tokenizer(tokenizer: &Tokenizer) -> Vec<(String, Value)> {
    let tokens = tokenizer.tokens();
    let (texts, types) = tokens.iter().map(|token| token_and_type(tokenizer, token)).unzip();
    let mut pairs = vec![
        ("tokenizer.ggml.model".to_owned(), Value::String("gpt2".into())),
        // llama.cpp's name for this tokenizer's splitting rules.
        ("tokenizer.ggml.pre".to_owned(), Value::String("deepseek-v3".into())),
        ("tokenizer.ggml.tokens".to_owned(), Value::Strings(texts)),
        ("tokenizer.ggml.token_type".to_owned(), Value::I32s(types)),
        ("tokenizer.ggml.merges".to_owned(), Value::Strings(tokenizer.merges().to_vec())),
    ];
    let ids = [("bos", "bos_token"), ("eos", "eos_token"), ("padding", "pad_token")];
    pairs.extend(ids.into_iter().filter_map(|(name, key)| {
        Some((format!("tokenizer.ggml.{name}_token_id"), Value::U32(tokenizer.id_of(key)?)))
    }));
    pairs.push(("tokenizer.ggml.add_bos_token".to_owned(), Value::Bool(false)));
    pairs.push(("tokenizer.ggml.add_eos_token".to_owned(), Value::Bool(false)));
    pairs.push(("tokenizer.chat_template".to_owned(), Value::String(tokenizer.chat_template().into())));
    pairs
}

/// A token's text and ggml type. Control tokens are matched only where the caller asks for them; user-defined
/// ones everywhere. The converter goes by the flag and by the look of the token.
fn token_and_type(tokenizer: &Tokenizer, token: &str) -> (String, i32) {
    const NORMAL: i32 = 1;
    const CONTROL: i32 = 3;
    const USER_DEFINED: i32 = 4;
    let framed = |open, close| token.starts_with(open) && token.ends_with(close);
    match tokenizer.added(token) {
        None => (token.to_owned(), NORMAL),
        Some(added) if added.special || framed("<|", "|>") || framed("<｜", "｜>") => {
            (token.to_owned(), CONTROL)
        }
        Some(_) => (token.replace('▁', " "), USER_DEFINED),
    }
}

fn tensors(config: &Config, tensors: &[Tensor]) -> Vec<GgufTensor> {
    let mut result: Vec<GgufTensor> = Vec::new();
    for tensor in tensors {
        let (block, name) = split_name(&tensor.name);
        let named = |name: &str| format!("{block}{name}");
        match name {
            "self_attn.kv_b_proj.weight" => result.extend(absorbed(config, &block, tensor)),
            // Experts follow each other: each is appended to the stack that the first one began.
            _ if name.starts_with("mlp.experts.") => {
                let stack = named(expert_name(name));
                match result.iter_mut().find(|stacked| stacked.name == stack) {
                    Some(stacked) => {
                        stacked.shape[0] += 1;
                        stacked.values.extend(&tensor.values);
                    }
                    None => {
                        let shape = [&[1], tensor.shape.as_slice()].concat();
                        result.push(GgufTensor { name: stack, shape, values: tensor.values.clone() });
                    }
                }
            }
            _ => result.push(GgufTensor {
                name: named(plain_name(name)),
                shape: tensor.shape.clone(),
                values: tensor.values.clone(),
            }),
        }
    }
    result
}

/// `model.layers.3.mlp.gate.weight` → (`blk.3.`, `mlp.gate.weight`); outside the layers the prefix is empty.
fn split_name(name: &str) -> (String, &str) {
    match name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.')) {
        Some((layer, rest)) => (format!("blk.{layer}."), rest),
        None => (String::new(), name),
    }
}

fn plain_name(name: &str) -> &'static str {
    match name {
        "model.embed_tokens.weight" => "token_embd.weight",
        "model.norm.weight" => "output_norm.weight",
        "lm_head.weight" => "output.weight",
        "input_layernorm.weight" => "attn_norm.weight",
        "self_attn.q_proj.weight" => "attn_q.weight",
        "self_attn.q_a_proj.weight" => "attn_q_a.weight",
        "self_attn.q_a_layernorm.weight" => "attn_q_a_norm.weight",
        "self_attn.q_b_proj.weight" => "attn_q_b.weight",
        "self_attn.kv_a_proj_with_mqa.weight" => "attn_kv_a_mqa.weight",
        "self_attn.kv_a_layernorm.weight" => "attn_kv_a_norm.weight",
        "self_attn.o_proj.weight" => "attn_output.weight",
        "post_attention_layernorm.weight" => "ffn_norm.weight",
        "mlp.gate_proj.weight" => "ffn_gate.weight",
        "mlp.up_proj.weight" => "ffn_up.weight",
        "mlp.down_proj.weight" => "ffn_down.weight",
        "mlp.gate.weight" => "ffn_gate_inp.weight",
        "mlp.gate.e_score_correction_bias" => "exp_probs_b.bias",
        "mlp.shared_experts.gate_proj.weight" => "ffn_gate_shexp.weight",
        "mlp.shared_experts.up_proj.weight" => "ffn_up_shexp.weight",
        "mlp.shared_experts.down_proj.weight" => "ffn_down_shexp.weight",
        _ => unreachable!("weights.rs makes no tensor {name}"),
    }
}

fn expert_name(name: &str) -> &'static str {
    match name.rsplit('.').nth(1) {
        Some("gate_proj") => "ffn_gate_exps.weight",
        Some("up_proj") => "ffn_up_exps.weight",
        Some("down_proj") => "ffn_down_exps.weight",
        _ => unreachable!("weights.rs makes no expert tensor {name}"),
    }
}

/// Splits `[heads × (keys + values), rank]` into `[heads, rank, keys]` and `[heads, values, rank]`.
fn absorbed(config: &Config, block: &str, tensor: &Tensor) -> [GgufTensor; 2] {
    let (heads, rank) = (config.num_attention_heads, config.kv_lora_rank);
    let (keys, values) = (config.qk_nope_head_dim, config.v_head_dim);
    let mut k_b = Vec::with_capacity(heads * rank * keys);
    let mut v_b = Vec::with_capacity(heads * values * rank);
    for head in tensor.values.chunks_exact((keys + values) * rank) {
        let (key_rows, value_rows) = head.split_at(keys * rank);
        k_b.extend((0..rank).flat_map(|column| (0..keys).map(move |row| key_rows[row * rank + column])));
        v_b.extend(value_rows);
    }
    [
        GgufTensor { name: format!("{block}attn_k_b.weight"), shape: vec![heads, rank, keys], values: k_b },
        GgufTensor { name: format!("{block}attn_v_b.weight"), shape: vec![heads, values, rank], values: v_b },
    ]
}

#[cfg(test)]
mod tests {
    use super::absorbed;
    use crate::config::{Config, Kind};
    use crate::weights::Tensor;

    #[test]
    fn the_joint_projection_is_split_by_head_and_the_keys_transposed() {
        let config = Config {
            num_attention_heads: 2,
            kv_lora_rank: 2,
            qk_nope_head_dim: 2,
            v_head_dim: 1,
            ..Config::new(Kind::DeepseekV3, 10)
        };
        let values = (0..12u8).map(f32::from).collect();
        let joint = Tensor { name: String::new(), shape: vec![6, 2], values };
        let [k_b, v_b] = absorbed(&config, "blk.0.", &joint);
        assert_eq!((k_b.name.as_str(), k_b.shape), ("blk.0.attn_k_b.weight", vec![2, 2, 2]));
        assert_eq!(k_b.values, [0.0, 2.0, 1.0, 3.0, 6.0, 8.0, 7.0, 9.0]);
        assert_eq!((v_b.name.as_str(), v_b.shape), ("blk.0.attn_v_b.weight", vec![2, 1, 2]));
        assert_eq!(v_b.values, [4.0, 5.0, 10.0, 11.0]);
    }
}
