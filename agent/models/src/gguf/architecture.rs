//! Numbers in the header that llama.cpp takes for granted: where it meets others, it aborts the
//! process (`GGML_ASSERT` in `llama-model.cpp`, `llama-vocab.cpp`, `models/*.cpp` and ggml's rope
//! and matrix product), so they are refused before an engine sees them.

use std::collections::HashSet;

use super::{GgufError, Header, Value};

/// `LLAMA_MAX_LAYERS`.
const LAYERS_MAX: u64 = 512;
/// `LLAMA_MAX_EXPERTS`.
const EXPERTS_MAX: u64 = 1024;

/// The array that [`describe`] looks into: give it to `read_header` to be kept.
pub const TOKENS: &str = "tokenizer.ggml.tokens";

/// What a header says of its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// `general.architecture`.
    pub architecture: String,
    /// Longest context in tokens.
    pub context_tokens: u64,
}

/// A number that llama.cpp would abort on.
#[derive(Debug, thiserror::Error)]
#[error("architecture {architecture:?}: {rule}; {values}; the file is damaged or was converted wrongly")]
pub struct RuleBroken {
    architecture: String,
    rule: &'static str,
    values: String,
}

/// Describes the model of a header and checks the numbers that llama.cpp aborts on.
pub fn describe(header: &Header) -> Result<Description, GgufError> {
    let missing = |key: &str| GgufError::MissingKey { key: key.to_owned() };
    let key = "general.architecture";
    let architecture = header.text(key)?.ok_or_else(|| missing(key))?.to_owned();
    let facts = Facts { header, architecture: &architecture };
    facts.rule(
        architecture != "clip",
        "an image encoder is no language model: import the model that it belongs to",
        &[],
    )?;
    let context_tokens = facts.required("context_length")?;
    facts.required("embedding_length")?;
    facts.rule(context_tokens > 0, "the context must not be empty", &[("context_length", context_tokens)])?;
    check_layers(&facts)?;
    check_experts(&facts)?;
    check_heads(&facts)?;
    check_rope(&facts)?;
    check_deepseek(&facts)?;
    check_tokens(&facts)?;
    Ok(Description { architecture, context_tokens })
}

/// A header with the prefix of its architecture's keys.
struct Facts<'a> {
    header: &'a Header,
    architecture: &'a str,
}

impl Facts<'_> {
    fn key(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.architecture)
    }

    fn number(&self, suffix: &str) -> Result<u64, GgufError> {
        Ok(self.header.integer(&self.key(suffix))?.unwrap_or(0))
    }

    fn numbers(&self, suffix: &str) -> Result<Vec<u64>, GgufError> {
        self.header.integers(&self.key(suffix))
    }

    fn required(&self, suffix: &str) -> Result<u64, GgufError> {
        let key = self.key(suffix);
        self.header.integer(&key)?.ok_or(GgufError::MissingKey { key })
    }

    fn rule(&self, holds: bool, rule: &'static str, values: &[(&str, u64)]) -> Result<(), RuleBroken> {
        if holds {
            return Ok(());
        }
        let values: Vec<_> = values.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        Err(RuleBroken { architecture: self.architecture.to_owned(), rule, values: values.join(", ") })
    }
}

fn check_layers(facts: &Facts<'_>) -> Result<(), GgufError> {
    let layers = facts.required("block_count")?;
    let predicting = facts.number("nextn_predict_layers")?;
    let values = [("block_count", layers), ("nextn_predict_layers", predicting)];
    facts.rule((1..=LAYERS_MAX).contains(&layers), "1 to 512 layers are possible", &values)?;
    facts.rule(predicting < layers, "not all layers can be prediction layers", &values)?;
    Ok(())
}

fn check_experts(facts: &Facts<'_>) -> Result<(), GgufError> {
    let experts = facts.number("expert_count")?;
    let used = facts.numbers("expert_used_count")?.into_iter().max().unwrap_or(0);
    let groups = facts.number("expert_group_count")?;
    let groups_used = facts.number("expert_group_used_count")?;
    let values = [
        ("expert_count", experts),
        ("expert_used_count", used),
        ("expert_group_count", groups),
        ("expert_group_used_count", groups_used),
    ];
    let rules = [
        (experts <= EXPERTS_MAX, "at most 1024 experts are possible"),
        (used <= experts, "more experts are used than there are"),
        (experts == 0 || used > 0, "experts that are never used"),
        (experts > 0 || groups == 0, "groups of experts without experts"),
        (experts == 0 || groups < experts, "groups must be fewer than experts"),
        (groups <= 1 || experts.is_multiple_of(groups), "experts must fill their groups evenly"),
        (groups <= 1 || groups_used > 0, "groups of experts that are never used"),
        (groups <= 1 || groups_used < groups, "fewer groups must be used than there are"),
    ];
    for (holds, rule) in rules {
        facts.rule(holds, rule, &values)?;
    }
    Ok(())
}

fn check_heads(facts: &Facts<'_>) -> Result<(), GgufError> {
    let heads = facts.numbers("attention.head_count")?;
    let shared = facts.numbers("attention.head_count_kv")?;
    let layers = heads.len().max(shared.len());
    // One number stands for all layers. Without heads (recurrent layers) there is nothing to share.
    let of_layer = |numbers: &[u64], layer: usize| match numbers {
        [single] => *single,
        each => each.get(layer).copied().unwrap_or(0),
    };
    for layer in 0..layers {
        let (heads, shared) = (of_layer(&heads, layer), of_layer(&shared, layer));
        let values = [("attention.head_count", heads), ("attention.head_count_kv", shared)];
        let even = shared == 0 || heads.is_multiple_of(shared);
        facts.rule(even, "query heads must be a multiple of key-value heads", &values)?;
    }
    Ok(())
}

fn check_rope(facts: &Facts<'_>) -> Result<(), GgufError> {
    let scaling = facts.header.text(&facts.key("rope.scaling.type"))?.unwrap_or("linear");
    let known = matches!(scaling, "none" | "linear" | "yarn" | "longrope");
    facts.rule(known, "rope.scaling.type must be none, linear, yarn or longrope", &[])?;
    let rotated = facts.number("rope.dimension_count")?;
    let head = facts.number("attention.key_length")?;
    let values = [("rope.dimension_count", rotated), ("attention.key_length", head)];
    facts.rule(rotated.is_multiple_of(2), "dimensions are rotated in pairs", &values)?;
    facts.rule(head == 0 || rotated <= head, "more dimensions are rotated than a head has", &values)?;
    Ok(())
}

fn check_deepseek(facts: &Facts<'_>) -> Result<(), GgufError> {
    if !facts.architecture.starts_with("deepseek") {
        return Ok(());
    }
    let rotated = facts.number("rope.dimension_count")?;
    let key = facts.number("attention.key_length_mla")?;
    let value = facts.number("attention.value_length_mla")?;
    let indexer = facts.number("attention.indexer.key_length")?;
    let values = [
        ("rope.dimension_count", rotated),
        ("attention.key_length_mla", key),
        ("attention.value_length_mla", value),
        ("attention.indexer.key_length", indexer),
    ];
    facts.rule((key == 0) == (value == 0), "latent attention needs both lengths", &values)?;
    let head = if key > 0 { key } else { facts.number("attention.key_length")? };
    let latent = key > 0 || facts.architecture == "deepseek2";
    let unrotated = !latent || head == 0 || rotated < head;
    facts.rule(unrotated, "a head must have dimensions that are not rotated", &values)?;
    if matches!(facts.architecture, "deepseek32" | "deepseek4") {
        // Below 64 the cache has no rotation for the indexer's keys.
        facts.rule(indexer >= 64.max(rotated), "the indexer's keys are too short", &values)?;
    }
    if facts.architecture == "deepseek32" {
        facts.rule(key > 0, "V3.2 needs latent attention", &values)?;
    }
    if facts.architecture == "deepseek4" {
        check_deepseek4(facts)?;
    }
    Ok(())
}

fn check_deepseek4(facts: &Facts<'_>) -> Result<(), GgufError> {
    let streams = facts.number("hyper_connection.count")?;
    facts.rule(streams == 4, "four residual streams are needed", &[("hyper_connection.count", streams)])?;
    let heads = facts.number("attention.head_count")?;
    let groups = facts.number("attention.output_group_count")?;
    let values = [("attention.head_count", heads), ("attention.output_group_count", groups)];
    let even = groups > 0 && heads.is_multiple_of(groups);
    facts.rule(even, "heads must fill their output groups evenly", &values)?;
    let ratios = facts.numbers("attention.compress_ratios")?.len() as u64;
    facts.rule(ratios <= LAYERS_MAX, "too many compression ratios", &[("layers named", ratios)])?;
    Ok(())
}

/// llama.cpp maps texts to ids and asserts that no text was lost.
fn check_tokens(facts: &Facts<'_>) -> Result<(), GgufError> {
    let Some(Value::Array(tokens)) = facts.header.get(TOKENS) else { return Ok(()) };
    let mut seen = HashSet::new();
    for (id, token) in (0_u64..).zip(tokens.texts()) {
        let unique = token.is_empty() || seen.insert(token);
        facts.rule(unique, "two tokens have the same text", &[("the later one", id)])?;
    }
    Ok(())
}
