//! A small Hugging Face folder.

use std::fs;
use std::io;
use std::path::Path;

use crate::safetensors::vectors;

/// A config.json that a reader must accept.
pub const CONFIG: &str = r#"{
  "architectures": ["LlamaForCausalLM"],
  "max_position_embeddings": 4096,
  "torch_dtype": "bfloat16",
  "auto_map": {"AutoModel": "modeling_tiny.TinyModel"}
}"#;

/// An index over two shards.
pub const INDEX: &str = r#"{"metadata": {"total_size": 96}, "weight_map": {
  "embed": "model-00001-of-00002.safetensors",
  "head": "model-00002-of-00002.safetensors"
}}"#;

/// Writes a folder with two shards, and with files that an import must leave behind.
pub fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder.join("original"))?;
    let files: [(&str, &[u8]); 12] = [
        ("config.json", CONFIG.as_bytes()),
        ("tokenizer.json", b"{}"),
        ("tokenizer_config.json", b"{}"),
        ("merges.txt", b"a b"),
        ("chat_template.jinja", b"{{ messages }}"),
        ("LICENSE", b"MIT"),
        ("model.safetensors.index.json", INDEX.as_bytes()),
        ("model-00001-of-00002.safetensors", &vectors(&[("embed", 32)])),
        ("model-00002-of-00002.safetensors", &vectors(&[("head", 16)])),
        ("modeling_tiny.py", b"raise SystemExit"),
        ("pytorch_model.bin", b"pickle"),
        ("original/consolidated.safetensors", &vectors(&[("embed", 32)])),
    ];
    for (name, content) in files {
        fs::write(folder.join(name), content)?;
    }
    Ok(())
}

/// The names that an import takes, in order.
pub const TAKEN: [&str; 9] = [
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "LICENSE",
    "chat_template.jinja",
    "config.json",
    "merges.txt",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
];
