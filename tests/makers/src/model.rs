use std::path::Path;

use crate::config::{Config, Kind};
use crate::error::{MakeError, create_folder, write};
use crate::tokenizer::Tokenizer;
use crate::weights::{Tensor, tensors};
use crate::{huggingface, llama_cpp};

/// A tiny model, complete in memory.
pub struct Model<'a> {
    pub(crate) kind: Kind,
    pub(crate) config: Config,
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) tokenizer: &'a Tokenizer,
}

impl<'a> Model<'a> {
    /// Makes the weights of a model. With `disturb`, those of one layer carry noise: a test that compares
    /// answers must notice.
    ///
    /// # Errors
    /// [`MakeError::NoSuchLayer`] if there is no such layer to disturb.
    pub fn new(kind: Kind, tokenizer: &'a Tokenizer, disturb: Option<usize>) -> Result<Self, MakeError> {
        let config = Config::new(kind, tokenizer.vocabulary_len());
        let layers = config.num_hidden_layers;
        match disturb {
            Some(layer) if layer >= layers => Err(MakeError::NoSuchLayer { layer, layers }),
            _ => {
                let tensors = tensors(&config, kind.seed(), disturb);
                Ok(Self { kind, config, tensors, tokenizer })
            }
        }
    }

    /// Writes a Hugging Face folder: configuration, tokenizer and `model.safetensors`, all in F32.
    ///
    /// # Errors
    /// [`MakeError::Write`] if the folder cannot be written.
    pub fn write_huggingface(&self, folder: &Path) -> Result<(), MakeError> {
        create_folder(folder)?;
        for (name, bytes) in huggingface::files(self)? {
            write(&folder.join(name), &bytes)?;
        }
        Ok(())
    }

    /// Writes the same model as one GGUF file in F32, as llama.cpp's own converter lays it out.
    ///
    /// # Errors
    /// [`MakeError::Write`] if the file cannot be written.
    pub fn write_gguf(&self, path: &Path) -> Result<(), MakeError> {
        if let Some(folder) = path.parent() {
            create_folder(folder)?;
        }
        write(path, &llama_cpp::file(self))
    }
}
