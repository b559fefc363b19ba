//! The tensors of a model, named and shaped as in DeepSeek's published checkpoints.

use crate::config::Config;
use crate::generator::Generator;

/// Spread of the final logits: far enough apart that the best token leads, near enough that layers matter.
const LOGIT_DEVIATION: f32 = 4.0;
/// Spread of norm weights around 1.
const NORM_DEVIATION: f32 = 0.1;
/// Spread of the gate's correction bias: large enough to change which experts are picked.
const CORRECTION_DEVIATION: f32 = 0.1;
/// Noise that `disturb` adds, as a part of each tensor's own spread.
const DISTURBANCE: f32 = 0.125;

/// One tensor in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    /// Outermost dimension first, as in safetensors.
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// All tensors of a model; the tensors of layer `disturbed` carry added noise.
pub(crate) fn tensors(config: &Config, seed: u64, disturbed: Option<usize>) -> Vec<Tensor> {
    let mut weights = Weights::new(seed);
    let hidden = config.hidden_size;
    weights.matrix("model.embed_tokens.weight", config.vocab_size, hidden, (hidden as f32).sqrt());
    for layer in 0..config.num_hidden_layers {
        weights.set_noisy(disturbed == Some(layer));
        attention(&mut weights, config, &format!("model.layers.{layer}"));
        feed_forward(&mut weights, config, layer);
    }
    weights.set_noisy(false);
    weights.norm("model.norm.weight", hidden);
    weights.matrix("lm_head.weight", config.vocab_size, hidden, LOGIT_DEVIATION);
    weights.into_tensors()
}

fn attention(weights: &mut Weights, config: &Config, layer: &str) {
    let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
    let queries = heads * config.qk_head_dim();
    weights.norm(&format!("{layer}.input_layernorm.weight"), hidden);
    let attention = format!("{layer}.self_attn");
    match config.q_lora_rank {
        Some(rank) => {
            weights.matrix(&format!("{attention}.q_a_proj.weight"), rank, hidden, 1.0);
            weights.norm(&format!("{attention}.q_a_layernorm.weight"), rank);
            weights.matrix(&format!("{attention}.q_b_proj.weight"), queries, rank, 1.0);
        }
        None => weights.matrix(&format!("{attention}.q_proj.weight"), queries, hidden, 1.0),
    }
    let rank = config.kv_lora_rank;
    weights.matrix(
        &format!("{attention}.kv_a_proj_with_mqa.weight"),
        rank + config.qk_rope_head_dim,
        hidden,
        1.0,
    );
    weights.norm(&format!("{attention}.kv_a_layernorm.weight"), rank);
    let keys_and_values = heads * (config.qk_nope_head_dim + config.v_head_dim);
    weights.matrix(&format!("{attention}.kv_b_proj.weight"), keys_and_values, rank, 1.0);
    weights.matrix(&format!("{attention}.o_proj.weight"), hidden, heads * config.v_head_dim, 1.0);
    weights.norm(&format!("{layer}.post_attention_layernorm.weight"), hidden);
}

fn feed_forward(weights: &mut Weights, config: &Config, layer: usize) {
    let (hidden, width) = (config.hidden_size, config.moe_intermediate_size);
    let mlp = format!("model.layers.{layer}.mlp");
    if layer < config.first_k_dense_replace {
        weights.gated(&mlp, hidden, config.intermediate_size);
        return;
    }
    weights.matrix(&format!("{mlp}.gate.weight"), config.n_routed_experts, hidden, 1.0);
    if config.has_correction_bias() {
        let name = format!("{mlp}.gate.e_score_correction_bias");
        weights.push(&name, vec![config.n_routed_experts], 0.0, CORRECTION_DEVIATION);
    }
    for expert in 0..config.n_routed_experts {
        weights.gated(&format!("{mlp}.experts.{expert}"), hidden, width);
    }
    weights.gated(&format!("{mlp}.shared_experts"), hidden, width * config.n_shared_experts);
}

/// Tensors that are being made.
pub(crate) struct Weights {
    seed: u64,
    noisy: bool,
    tensors: Vec<Tensor>,
}

impl Weights {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, noisy: false, tensors: Vec::new() }
    }

    /// Whether the tensors that follow carry noise.
    pub(crate) fn set_noisy(&mut self, noisy: bool) {
        self.noisy = noisy;
    }

    pub(crate) fn into_tensors(self) -> Vec<Tensor> {
        self.tensors
    }

    /// A linear layer that maps inputs of spread 1 to outputs of spread `gain`.
    pub(crate) fn matrix(&mut self, name: &str, outputs: usize, inputs: usize, gain: f32) {
        self.push(name, vec![outputs, inputs], 0.0, gain / (inputs as f32).sqrt());
    }

    pub(crate) fn norm(&mut self, name: &str, width: usize) {
        self.push(name, vec![width], 1.0, NORM_DEVIATION);
    }

    /// The three matrices of a SwiGLU block.
    pub(crate) fn gated(&mut self, block: &str, hidden: usize, width: usize) {
        self.matrix(&format!("{block}.gate_proj.weight"), width, hidden, 1.0);
        self.matrix(&format!("{block}.up_proj.weight"), width, hidden, 1.0);
        self.matrix(&format!("{block}.down_proj.weight"), hidden, width, 1.0);
    }

    pub(crate) fn push(&mut self, name: &str, shape: Vec<usize>, mean: f32, deviation: f32) {
        let count = shape.iter().product();
        let mut values = Generator::new(self.seed, name).normal(count, mean, deviation);
        if self.noisy {
            let noise = Generator::new(!self.seed, name).normal(count, 0.0, deviation * DISTURBANCE);
            values.iter_mut().zip(noise).for_each(|(value, noise)| *value += noise);
        }
        self.tensors.push(Tensor { name: name.to_owned(), shape, values });
    }
}

#[cfg(test)]
mod tests {
    use super::tensors;
    use crate::config::{Config, Kind};

    #[test]
    fn disturbing_a_layer_changes_all_its_tensors_and_no_other() {
        let config = Config::new(Kind::DeepseekV3, 300);
        let (whole, disturbed) = (tensors(&config, 7, None), tensors(&config, 7, Some(2)));
        assert_eq!(whole.len(), disturbed.len());
        for (before, after) in whole.iter().zip(&disturbed) {
            let in_layer = before.name.starts_with("model.layers.2.");
            assert_eq!(before != after, in_layer, "{}", before.name);
        }
    }
}
