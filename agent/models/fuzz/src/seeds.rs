//! Writes the seeds of each fuzz target: good files and every hostile one.

use std::fs;
use std::io;
use std::path::Path;

use nabi_model_corpus::gguf::{Gguf, split_llama};
use nabi_model_corpus::{folder, hostile, safetensors};

fn write(target: &str, seeds: impl Iterator<Item = Vec<u8>>) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    for (no, seed) in seeds.enumerate() {
        fs::write(folder.join(format!("seed-{no:03}")), seed)?;
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let good = ["llama", "deepseek2", "deepseek32", "deepseek4"].map(|name| Gguf::of(name).build());
    let parts = split_llama(2).into_iter().map(|(_, bytes)| bytes);
    let bad = hostile::gguf().into_iter().map(|case| case.bytes);
    write("gguf_header", good.into_iter().chain([Gguf::llama().build()]).chain(parts).chain(bad))?;

    let good = [safetensors::vectors(&[("a", 4), ("b", 0)])];
    let bad = hostile::safetensors().into_iter().map(|case| case.bytes);
    write("safetensors_header", good.into_iter().chain(bad))?;

    let texts = [folder::INDEX, folder::CONFIG];
    write("folder_index", texts.into_iter().map(|text| text.as_bytes().to_vec()))
}
