//! Builds llama.cpp, assembles the kernel pack `llama-cpp` from it, and generates the bindings of
//! `agent/llama-sys` from the same headers.

mod assemble;
mod bindings;
mod build;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

/// Builds the kernel pack of llama.cpp
#[derive(Parser)]
struct Arguments {
    /// Folder for sources and objects, kept to build faster the next time
    #[arg(long)]
    build: PathBuf,
    /// Write the pack into this folder, which is replaced
    #[arg(long)]
    pack: Option<PathBuf>,
    /// Write the Rust bindings into this file
    #[arg(long)]
    bindings: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let installed = build::build(&arguments.build)?;
    if let Some(folder) = arguments.pack {
        assemble::write_pack(&installed, &folder)?;
    }
    if let Some(file) = arguments.bindings {
        bindings::write(&installed, &file)?;
    }
    Ok(())
}
