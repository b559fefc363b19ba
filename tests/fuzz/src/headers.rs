//! Readers of model files.

use nabi_model_corpus::gguf::{Gguf, split_llama};
use nabi_model_corpus::{folder, hostile, safetensors as made};
use nabi_models::gguf::{self, SplitSet};
use nabi_models::{folder as folders, manifest, safetensors as reader};

/// Any bytes give a header or an error; of a header, every tensor lies inside the file, none
/// overlap, and the rest of the readers cope with it.
pub(crate) fn gguf(bytes: &[u8]) {
    let Ok(header) = gguf::read_header(bytes, bytes.len() as u64, &[gguf::TOKENS]) else { return };
    let mut end = header.data_offset;
    for tensor in &header.tensors {
        let begin = header.data_offset + tensor.offset;
        assert!(begin >= end, "overlap");
        end = begin + tensor.bytes;
        assert!(end <= bytes.len() as u64, "outside");
        assert_eq!(tensor.shape.iter().product::<u64>(), tensor.elements);
    }
    // Errors are good answers here.
    let _ = gguf::describe(&header);
    if let Ok(count) = SplitSet::count(&header) {
        let mut set = SplitSet::new(count);
        let _ = set.add("part", &header);
        let _ = set.finish();
    }
}

pub(crate) fn gguf_seeds() -> Vec<Vec<u8>> {
    let good = ["llama", "deepseek2", "deepseek32", "deepseek4"].map(|name| Gguf::of(name).build());
    let parts = split_llama(2).into_iter().map(|(_, bytes)| bytes);
    let bad = hostile::gguf().into_iter().map(|case| case.bytes);
    good.into_iter().chain([Gguf::llama().build()]).chain(parts).chain(bad).collect()
}

/// Any bytes give tensors or an error; the tensors fill the file exactly.
pub(crate) fn safetensors(bytes: &[u8]) {
    let Ok(tensors) = reader::read_header(bytes, bytes.len() as u64) else { return };
    let header_bytes = u64::from_le_bytes(*bytes.first_chunk().expect("a length"));
    let data_bytes: u64 = tensors.iter().map(|tensor| tensor.bytes).sum();
    assert_eq!(8 + header_bytes + data_bytes, bytes.len() as u64);
}

pub(crate) fn safetensors_seeds() -> Vec<Vec<u8>> {
    let good = [made::vectors(&[("a", 4), ("b", 0)])];
    good.into_iter().chain(hostile::safetensors().into_iter().map(|case| case.bytes)).collect()
}

/// Any JSON gives an index or an error; its shards are plain file names. The same for config.json.
pub(crate) fn folder_index(bytes: &[u8]) {
    if let Ok(index) = reader::read_index(bytes) {
        assert!(!index.shards.is_empty());
        for shard in index.shards.keys() {
            assert!(manifest::is_file_name(shard), "{shard:?}");
        }
    }
    if let Ok(config) = folders::read_config(bytes) {
        assert!(config.context_tokens > 0);
    }
}

pub(crate) fn folder_index_seeds() -> Vec<Vec<u8>> {
    [folder::INDEX, folder::CONFIG].map(|text| text.as_bytes().to_vec()).to_vec()
}
