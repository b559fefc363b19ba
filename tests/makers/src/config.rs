//! What each kind of model looks like: the fields of its `config.json`, in DeepSeek's own spelling.

use serde::Serialize;

/// A tiny model with the layer structure of a published one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Kind {
    /// V3, R1, V3.1: sigmoid gate with correction bias and groups, one shared expert.
    DeepseekV3,
    /// V2, V2.5: softmax gate, groups ranked by their best expert, two shared experts.
    DeepseekV2,
    /// V2-Lite, Coder-V2-Lite: full-rank queries, no groups.
    DeepseekV2Lite,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::DeepseekV3, Self::DeepseekV2, Self::DeepseekV2Lite];

    /// The name used on the command line and in `tests/golden`.
    pub fn name(self) -> &'static str {
        match self {
            Self::DeepseekV3 => "deepseek-v3",
            Self::DeepseekV2 => "deepseek-v2",
            Self::DeepseekV2Lite => "deepseek-v2-lite",
        }
    }

    /// Seeds are picked so that in every golden answer the best token leads clearly.
    pub(crate) fn seed(self) -> u64 {
        match self {
            Self::DeepseekV3 => 3,
            Self::DeepseekV2 => 2,
            Self::DeepseekV2Lite => 1,
        }
    }
}

/// `config.json` as DeepSeek publishes it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Config {
    pub(crate) architectures: [&'static str; 1],
    pub(crate) model_type: &'static str,
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) moe_intermediate_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) first_k_dense_replace: usize,
    pub(crate) num_nextn_predict_layers: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) num_key_value_heads: usize,
    pub(crate) q_lora_rank: Option<usize>,
    pub(crate) kv_lora_rank: usize,
    pub(crate) qk_nope_head_dim: usize,
    pub(crate) qk_rope_head_dim: usize,
    pub(crate) v_head_dim: usize,
    pub(crate) n_routed_experts: usize,
    pub(crate) n_shared_experts: usize,
    pub(crate) num_experts_per_tok: usize,
    pub(crate) n_group: usize,
    pub(crate) topk_group: usize,
    pub(crate) topk_method: &'static str,
    pub(crate) scoring_func: &'static str,
    pub(crate) norm_topk_prob: bool,
    pub(crate) routed_scaling_factor: f64,
    pub(crate) rms_norm_eps: f64,
    pub(crate) max_position_embeddings: usize,
    pub(crate) rope_theta: f64,
    pub(crate) rope_scaling: RopeScaling,
    pub(crate) hidden_act: &'static str,
    pub(crate) attention_bias: bool,
    pub(crate) tie_word_embeddings: bool,
    pub(crate) bos_token_id: u32,
    pub(crate) eos_token_id: u32,
    pub(crate) torch_dtype: &'static str,
}

/// YaRN (Peng et al. 2023) with DeepSeek's two temperature parameters.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RopeScaling {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) factor: f64,
    pub(crate) original_max_position_embeddings: usize,
    pub(crate) beta_fast: f64,
    pub(crate) beta_slow: f64,
    pub(crate) mscale: f64,
    pub(crate) mscale_all_dim: f64,
}

impl RopeScaling {
    /// The published factor and betas. The original context is short, so that a prompt of some hundred tokens
    /// is already beyond it.
    fn yarn(mscale: f64) -> Self {
        Self {
            kind: "yarn",
            factor: 40.0,
            original_max_position_embeddings: 128,
            beta_fast: 32.0,
            beta_slow: 1.0,
            mscale,
            mscale_all_dim: mscale,
        }
    }
}

impl Config {
    /// The configuration of a kind over a vocabulary of `vocab_size` tokens.
    pub(crate) fn new(kind: Kind, vocab_size: usize) -> Self {
        match kind {
            Kind::DeepseekV3 => Self::v3(vocab_size),
            Kind::DeepseekV2 => Self::v2(vocab_size),
            Kind::DeepseekV2Lite => Self::v2_lite(vocab_size),
        }
    }

    fn v3(vocab_size: usize) -> Self {
        Self {
            architectures: ["DeepseekV3ForCausalLM"],
            model_type: "deepseek_v3",
            vocab_size,
            hidden_size: 64,
            intermediate_size: 128,
            moe_intermediate_size: 32,
            num_hidden_layers: 4,
            first_k_dense_replace: 1,
            num_nextn_predict_layers: 0,
            num_attention_heads: 4,
            num_key_value_heads: 4,
            q_lora_rank: Some(48),
            kv_lora_rank: 32,
            qk_nope_head_dim: 32,
            qk_rope_head_dim: 16,
            v_head_dim: 32,
            n_routed_experts: 16,
            n_shared_experts: 1,
            num_experts_per_tok: 4,
            n_group: 4,
            topk_group: 2,
            topk_method: "noaux_tc",
            scoring_func: "sigmoid",
            norm_topk_prob: true,
            routed_scaling_factor: 2.5,
            rms_norm_eps: 1e-6,
            max_position_embeddings: 5120,
            rope_theta: 10_000.0,
            rope_scaling: RopeScaling::yarn(1.0),
            hidden_act: "silu",
            attention_bias: false,
            tie_word_embeddings: false,
            bos_token_id: 0,
            eos_token_id: 1,
            torch_dtype: "float32",
        }
    }

    fn v2(vocab_size: usize) -> Self {
        Self {
            architectures: ["DeepseekV2ForCausalLM"],
            model_type: "deepseek_v2",
            n_shared_experts: 2,
            topk_method: "group_limited_greedy",
            scoring_func: "softmax",
            norm_topk_prob: false,
            routed_scaling_factor: 4.0,
            rope_scaling: RopeScaling::yarn(0.707),
            ..Self::v3(vocab_size)
        }
    }

    /// llama.cpp takes a model for "lite" by its layer count alone, so this one has all 27 layers, narrower.
    fn v2_lite(vocab_size: usize) -> Self {
        Self {
            hidden_size: 32,
            intermediate_size: 64,
            moe_intermediate_size: 16,
            num_hidden_layers: 27,
            num_attention_heads: 2,
            num_key_value_heads: 2,
            q_lora_rank: None,
            kv_lora_rank: 16,
            qk_nope_head_dim: 16,
            qk_rope_head_dim: 8,
            v_head_dim: 16,
            n_routed_experts: 8,
            num_experts_per_tok: 3,
            n_group: 1,
            topk_group: 1,
            topk_method: "greedy",
            routed_scaling_factor: 1.0,
            ..Self::v2(vocab_size)
        }
    }

    /// Width of one head's query or key.
    pub(crate) fn qk_head_dim(&self) -> usize {
        self.qk_nope_head_dim + self.qk_rope_head_dim
    }

    /// Whether the gate has a correction bias (V3's balancing without an auxiliary loss).
    pub(crate) fn has_correction_bias(&self) -> bool {
        self.topk_method == "noaux_tc"
    }
}
