//! `model.safetensors.index.json`: which shard holds which tensor.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// Largest index. DeepSeek-V3's 91,000 tensors take 9 MB.
pub const INDEX_BYTES_MAX: u64 = 64 << 20;
/// Most tensors in all shards.
const INDEX_TENSORS_MAX: usize = 1 << 19;
/// Most shards.
const SHARDS_MAX: usize = 1000;

/// Why an index is not valid.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Not the JSON that it must be.
    #[error("not a valid index")]
    Json(#[source] serde_json::Error),
    /// A shard outside the folder, or of another kind.
    #[error("the index names the shard {shard:?}: not a plain file name that ends with .safetensors")]
    ShardName {
        /// What it names.
        shard: String,
    },
    /// Too many shards.
    #[error("the index names more than {SHARDS_MAX} shards")]
    TooManyShards,
    /// No shard at all.
    #[error("the index names no tensor")]
    Empty,
}

/// The shards and, for each, the names of its tensors.
#[derive(Debug)]
pub struct Index {
    /// Tensors by shard.
    pub shards: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct RawIndex {
    weight_map: WeightMap,
    #[serde(rename = "metadata")]
    _metadata: Option<IgnoredAny>,
}

struct WeightMap(Vec<(String, String)>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WeightMapVisitor)
    }
}

struct WeightMapVisitor;

impl<'de> Visitor<'de> for WeightMapVisitor {
    type Value = WeightMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of tensors to shards")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            if entries.len() == INDEX_TENSORS_MAX {
                return Err(A::Error::custom(format_args!("more than {INDEX_TENSORS_MAX} tensors")));
            }
            entries.push(entry);
        }
        Ok(WeightMap(entries))
    }
}

/// Reads an index. `json` is at most [`INDEX_BYTES_MAX`] long.
pub fn read_index(json: &[u8]) -> Result<Index, IndexError> {
    let RawIndex { weight_map: WeightMap(entries), .. } =
        serde_json::from_slice(json).map_err(IndexError::Json)?;
    let mut shards = BTreeMap::<String, Vec<String>>::new();
    for (tensor, shard) in entries {
        if !is_shard_name(&shard) {
            return Err(IndexError::ShardName { shard });
        }
        shards.entry(shard).or_default().push(tensor);
        if shards.len() > SHARDS_MAX {
            return Err(IndexError::TooManyShards);
        }
    }
    if shards.is_empty() { Err(IndexError::Empty) } else { Ok(Index { shards }) }
}

/// A file in the same folder: no way out of it, and not hidden.
fn is_shard_name(shard: &str) -> bool {
    shard.ends_with(".safetensors") && !shard.starts_with('.') && !shard.contains(['/', '\\', '\0'])
}
