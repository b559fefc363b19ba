//! A model's shape.

use serde::{Deserialize, Serialize};

/// What of a model decides how much memory it takes and how fast it is. Sizes of weights are as stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelShape {
    /// Longest context in tokens that it was trained for.
    pub context_tokens: u64,
    /// Weights of which every token needs all.
    pub dense_bytes: u64,
    /// Tables of which a token needs a row: embeddings.
    pub table_bytes: u64,
    /// Weights of which a token needs some, in a mixture of experts.
    pub experts: Option<Experts>,
    /// What is kept of each token.
    pub cache: CacheShape,
    /// What is computed on the way.
    pub graph: GraphShape,
}

/// Experts of all layers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experts {
    /// All of them.
    pub bytes: u64,
    /// In one layer.
    pub count: u32,
    /// Of these, used by a token.
    pub used: u32,
}

/// Keys and values, over all layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheShape {
    /// Numbers that are kept of a token.
    pub numbers_per_token: u64,
    /// What a sequence takes however long it is.
    pub bytes_per_sequence: u64,
}

/// What decides the size of intermediate results, each of the widest layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphShape {
    /// Tokens that it knows.
    pub vocabulary: u64,
    /// Numbers of a token between layers.
    pub embedding: u64,
    /// Numbers inside a feed-forward layer.
    pub feed_forward: u64,
    /// The same inside an expert.
    pub expert_feed_forward: u64,
    /// Heads of attention.
    pub heads: u64,
    /// Numbers of a head's key.
    pub key: u64,
    /// Numbers of a head's value.
    pub value: u64,
}

impl ModelShape {
    /// All weights.
    #[must_use]
    pub fn weights_bytes(&self) -> u64 {
        let experts = self.experts.map_or(0, |experts| experts.bytes);
        self.dense_bytes.saturating_add(self.table_bytes).saturating_add(experts)
    }

    /// Weights that are read in a step which computes one token of each of so many sequences. Sequences
    /// choose their experts by themselves: of `count` experts, `count · (1 − (1 − used/count)^sequences)`
    /// are expected to be chosen by somebody.
    #[must_use]
    pub fn step_bytes(&self, sequences: u32) -> u64 {
        let experts = self.experts.map_or(0, |experts| {
            let share = f64::from(experts.used) / f64::from(experts.count.max(1));
            let chosen = 1.0 - (1.0 - share.clamp(0.0, 1.0)).powf(f64::from(sequences));
            (experts.bytes as f64 * chosen) as u64
        });
        self.dense_bytes.saturating_add(experts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_sequences_read_more_experts_but_no_more_than_all() {
        let experts = Some(Experts { bytes: 640_000_000_000, count: 256, used: 8 });
        let shape = ModelShape {
            context_tokens: 1,
            dense_bytes: 10_000_000_000,
            table_bytes: 1_000_000_000,
            experts,
            cache: CacheShape::default(),
            graph: GraphShape::default(),
        };
        assert_eq!(shape.weights_bytes(), 651_000_000_000);
        assert_eq!(shape.step_bytes(1), 30_000_000_000);
        let of = |sequences| shape.step_bytes(sequences);
        assert!(of(1) < of(2) && of(2) < of(16) && of(16) < of(1000) && of(1000) <= 650_000_000_000);
        assert_eq!(ModelShape { experts: None, ..shape }.step_bytes(16), 10_000_000_000);
    }
}
