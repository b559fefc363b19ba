//! Any JSON gives an index or an error; its shards are plain file names. The same for config.json.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nabi_models::{folder, manifest, safetensors};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(index) = safetensors::read_index(bytes) {
        assert!(!index.shards.is_empty());
        for shard in index.shards.keys() {
            assert!(manifest::is_file_name(shard), "{shard:?}");
        }
    }
    if let Ok(config) = folder::read_config(bytes) {
        assert!(config.context_tokens > 0);
    }
});
