//! What is known of a model without running it.

use serde::{Deserialize, Serialize};

use crate::ModelName;

/// How the weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelFormat {
    /// One or several GGUF files (llama.cpp).
    Gguf,
    /// A Hugging Face folder: safetensors, config.json, tokenizer.json.
    HuggingFace,
}

/// What an import or a removal that did not end left in the store, or one that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnfinishedModel {
    /// Whose.
    pub name: ModelName,
    /// What did not end.
    pub work: UnfinishedWork,
    /// Space of the disk that it holds.
    pub bytes: u64,
}

/// What was done to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnfinishedWork {
    /// It goes on when the same files are imported again.
    Import,
    /// It ends when the model is removed again.
    Removal,
}

/// What an import says of a model: read from its headers, not guessed from its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSummary {
    /// Under which name it is stored.
    pub name: ModelName,
    /// How it is stored.
    pub format: ModelFormat,
    /// The architecture by its field name: `llama`, `deepseek2`, `DeepseekV3ForCausalLM`.
    pub architecture: String,
    /// Number of weights in all tensors.
    pub parameters: u64,
    /// The most frequent weight format by bytes, in its field name: `Q4_K`, `BF16`, `F8_E4M3`.
    pub quantization: String,
    /// Longest context in tokens that the model was trained for.
    pub context_tokens: u64,
    /// Size of all files.
    pub bytes: u64,
}
