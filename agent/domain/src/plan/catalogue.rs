//! Models that DeepSeek has published, for what can be said before they are here.

use std::sync::LazyLock;

use serde::Deserialize;

use super::{CacheShape, Experts, GraphShape, ModelShape, VllmShape};

const CATALOGUE: &str = include_str!("catalogue.toml");

/// Architectures of the catalogue that llama.cpp does not compute, as it is pinned (`llama-arch.cpp`).
const UNKNOWN_TO_LLAMA_CPP: [&str; 1] = ["deepseek41"];

/// A published model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueModel {
    /// Its name.
    pub name: String,
    /// Others of the same shape.
    #[serde(default)]
    pub also: Vec<String>,
    /// Its architecture by llama.cpp's name.
    pub architecture: String,
    /// Longest context in tokens.
    pub context_tokens: u64,
    /// Where its numbers are from.
    pub source: String,
    /// Weights.
    pub parameters: Parameters,
    /// Of a mixture.
    #[serde(default)]
    pub experts: Option<ExpertCount>,
    /// What is kept of each token.
    pub cache: CacheShape,
    /// What is computed on the way.
    pub graph: GraphShape,
    /// As DeepSeek published it.
    pub original: Original,
    /// What vLLM keeps of it.
    pub vllm: VllmCache,
    /// Its GGUF files, from small to large.
    #[serde(rename = "file")]
    pub files: Vec<CatalogueFile>,
}

/// Numbers of weights.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Of which a token needs a row.
    pub table: u64,
    /// Of the experts.
    pub experts: u64,
    /// Which every token needs.
    pub dense: u64,
}

/// Experts of a layer.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpertCount {
    /// All.
    pub count: u32,
    /// That a token uses.
    pub used: u32,
}

/// The files that DeepSeek published.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Original {
    /// All of them.
    pub bytes: u64,
    /// Where that is from.
    pub source: String,
}

/// What vLLM keeps.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VllmCache {
    /// Of a token.
    pub bytes_per_token: u64,
    /// Of a sequence.
    pub bytes_per_sequence: u64,
    /// Heads that devices can share.
    pub heads: u32,
}

/// A model in one quantisation.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueFile {
    /// As its publisher calls it.
    pub quantization: String,
    /// Of embeddings.
    pub table_bytes: u64,
    /// That every token needs.
    pub dense_bytes: u64,
    /// Of the experts.
    pub expert_bytes: u64,
    /// Where its size is from.
    pub source: String,
}

/// All of them, by generation, the largest first.
pub fn catalogue() -> &'static [CatalogueModel] {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Catalogue {
        model: Vec<CatalogueModel>,
    }
    static MODELS: LazyLock<Vec<CatalogueModel>> = LazyLock::new(|| {
        // A part of the program, which a test reads.
        toml::from_str::<Catalogue>(CATALOGUE).expect("the catalogue is valid").model
    });
    &MODELS
}

impl CatalogueModel {
    /// All weights.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.parameters.table + self.parameters.experts + self.parameters.dense
    }

    /// As llama.cpp runs one of its files; none if it does not know the architecture.
    #[must_use]
    pub fn llama_cpp(&self, file: &CatalogueFile) -> Option<ModelShape> {
        if UNKNOWN_TO_LLAMA_CPP.contains(&self.architecture.as_str()) {
            return None;
        }
        let experts =
            self.experts.map(|ExpertCount { count, used }| Experts { bytes: file.expert_bytes, count, used });
        Some(ModelShape {
            context_tokens: self.context_tokens,
            dense_bytes: file.dense_bytes,
            table_bytes: file.table_bytes,
            experts,
            cache: self.cache,
            graph: self.graph,
        })
    }

    /// As vLLM runs what DeepSeek published.
    #[must_use]
    pub fn vllm(&self) -> VllmShape {
        let VllmCache { bytes_per_token, bytes_per_sequence, heads } = self.vllm;
        VllmShape {
            context_tokens: self.context_tokens,
            weights_bytes: self.original.bytes,
            bytes_per_token,
            bytes_per_sequence,
            heads,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_of_one_piece() {
        for model in catalogue() {
            let name = &model.name;
            assert!(!model.files.is_empty(), "{name}");
            assert_eq!(model.experts.is_some(), model.parameters.experts > 0, "{name}");
            let mut before = 0;
            for file in &model.files {
                let bytes = file.table_bytes + file.dense_bytes + file.expert_bytes;
                let bits = bytes as f64 * 8.0 / model.parameters() as f64;
                assert!((1.0..9.0).contains(&bits), "{name} {}: {bits} bits", file.quantization);
                assert!(before < bytes, "{name} {}: files go from small to large", file.quantization);
                before = bytes;
            }
            let bits = model.original.bytes as f64 * 8.0 / model.parameters() as f64;
            assert!((4.0..17.0).contains(&bits), "{name}: {bits} bits");
        }
    }

    #[test]
    fn what_is_kept_of_a_token_is_as_computed_by_hand() {
        let bytes = |name: &str| {
            let model = catalogue().iter().find(|model| model.name == name).expect("an entry");
            model.cache.numbers_per_token * 2
        };
        for (name, expected) in [
            ("DeepSeek-R1", 70_272),
            ("DeepSeek-V3.2", 85_888),
            ("DeepSeek-V4-Flash", 6_880),
            ("DeepSeek-V4-Pro", 9_848),
            ("DeepSeek-V2-Lite", 31_104),
            ("DeepSeek-R1-Distill-Qwen-7B", 57_344),
            ("DeepSeek-R1-Distill-Llama-70B", 327_680),
        ] {
            assert_eq!(bytes(name), expected, "{name}");
        }
    }
}
