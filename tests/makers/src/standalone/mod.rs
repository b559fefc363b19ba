//! Models that need nothing from elsewhere: their small vocabularies are made here too.

mod bert;
mod byte_tokens;
mod qwen3;
mod wordpiece;

use std::path::Path;

pub use byte_tokens::byte_letter;
use serde_json::{Value as Json, json};

use crate::error::{MakeError, create_folder, write};
use crate::gguf::{GgufTensor, Value, encode};
use crate::huggingface::{pretty, safetensors};
use crate::weights::Tensor;

/// A tiny model with the layers of a published family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum StandaloneKind {
    /// A BERT encoder; a text's vector is its first token's, as in BGE.
    BertFirst,
    /// A BERT encoder; a text's vector is the mean of its tokens', as in E5 and MiniLM.
    BertMean,
    /// A causal decoder; a text's vector is that of the end token put after it, as in Qwen3-Embedding.
    Qwen3Embedding,
    /// The same decoder for chats in ChatML, with tools in Hermes' form, as in Qwen3-Instruct.
    Qwen3Chat,
}

impl StandaloneKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::BertFirst, Self::BertMean, Self::Qwen3Embedding, Self::Qwen3Chat];

    /// The name used on the command line and in `tests/golden`.
    pub fn name(self) -> &'static str {
        match self {
            Self::BertFirst => "bert-first",
            Self::BertMean => "bert-mean",
            Self::Qwen3Embedding => "qwen3-embedding",
            Self::Qwen3Chat => "qwen3-chat",
        }
    }
}

/// How the vectors of a text's tokens become one vector of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pooling {
    Mean,
    First,
    Last,
}

impl Pooling {
    /// `LLAMA_POOLING_TYPE_*` in llama.h.
    fn value(self) -> Value {
        Value::U32(match self {
            Self::Mean => 1,
            Self::First => 2,
            Self::Last => 3,
        })
    }

    /// The files in which Sentence Transformers says it.
    fn files(self, numbers: usize) -> Vec<(&'static str, Json)> {
        let module = |index: usize, kind: &str, path: &str| {
            let kind = format!("sentence_transformers.models.{kind}");
            json!({ "idx": index, "name": index.to_string(), "path": path, "type": kind })
        };
        let modules = [
            module(0, "Transformer", ""),
            module(1, "Pooling", "1_Pooling"),
            module(2, "Normalize", "2_Normalize"),
        ];
        let pooling = json!({
            "word_embedding_dimension": numbers,
            "pooling_mode_cls_token": self == Self::First,
            "pooling_mode_mean_tokens": self == Self::Mean,
            "pooling_mode_lasttoken": self == Self::Last,
        });
        vec![("modules.json", json!(modules)), ("1_Pooling/config.json", pooling)]
    }
}

/// A model, complete in memory.
pub struct Standalone {
    /// Files of the Hugging Face folder beside the weights.
    files: Vec<(&'static str, Json)>,
    /// Named as in published checkpoints.
    tensors: Vec<Tensor>,
    metadata: Vec<(String, Value)>,
    /// llama.cpp's name of a tensor within or outside of a layer.
    gguf_name: fn(&str) -> String,
}

impl Standalone {
    /// Makes a model. With `disturb`, the weights of one layer carry noise: a test that compares answers
    /// must notice.
    ///
    /// # Errors
    /// [`MakeError::NoSuchLayer`] if there is no such layer to disturb.
    pub fn new(kind: StandaloneKind, disturb: Option<usize>) -> Result<Self, MakeError> {
        let layers = match kind {
            StandaloneKind::BertFirst | StandaloneKind::BertMean => bert::LAYERS,
            StandaloneKind::Qwen3Embedding | StandaloneKind::Qwen3Chat => qwen3::LAYERS,
        };
        if let Some(layer) = disturb.filter(|&layer| layer >= layers) {
            return Err(MakeError::NoSuchLayer { layer, layers });
        }
        let mut model = match kind {
            StandaloneKind::BertFirst => bert::model(Pooling::First, disturb),
            StandaloneKind::BertMean => bert::model(Pooling::Mean, disturb),
            StandaloneKind::Qwen3Embedding => qwen3::embedding(disturb),
            StandaloneKind::Qwen3Chat => qwen3::chat(disturb),
        };
        model.metadata.extend(general(kind));
        Ok(model)
    }

    /// Writes a Hugging Face folder: configuration, tokenizer and `model.safetensors`, all in F32.
    ///
    /// # Errors
    /// [`MakeError::Write`] if the folder cannot be written.
    pub fn write_huggingface(&self, folder: &Path) -> Result<(), MakeError> {
        for (name, json) in &self.files {
            let path = folder.join(name);
            create_folder(path.parent().unwrap_or(folder))?;
            write(&path, &pretty(json))?;
        }
        write(&folder.join("model.safetensors"), &safetensors(&self.tensors)?)
    }

    /// Writes the same model as one GGUF file in F32, as llama.cpp's own converter lays it out.
    ///
    /// # Errors
    /// [`MakeError::Write`] if the file cannot be written.
    pub fn write_gguf(&self, path: &Path) -> Result<(), MakeError> {
        if let Some(folder) = path.parent() {
            create_folder(folder)?;
        }
        let tensor = |tensor: &Tensor| GgufTensor {
            name: (self.gguf_name)(&tensor.name),
            shape: tensor.shape.clone(),
            values: tensor.values.clone(),
        };
        let tensors: Vec<_> = self.tensors.iter().map(tensor).collect();
        write(path, &encode(&self.metadata, &tensors))
    }
}

/// The metadata of a byte-level vocabulary that is filled up to so many tokens, as wide models need.
pub(crate) fn padded_byte_tokens(tokens: usize) -> Vec<(String, Value)> {
    const NORMAL: i32 = 1;
    let mut metadata =
        byte_tokens::ByteTokens::new(byte_tokens::Ends::Bare, Some(qwen3::CHAT_TEMPLATE)).metadata();
    for (key, value) in &mut metadata {
        match value {
            Value::Strings(texts) if key == "tokenizer.ggml.tokens" => {
                texts.extend((texts.len()..tokens).map(|id| format!("<|{id}|>")));
            }
            Value::I32s(kinds) if key == "tokenizer.ggml.token_type" => kinds.resize(tokens, NORMAL),
            _ => {}
        }
    }
    metadata
}

fn general(kind: StandaloneKind) -> [(String, Value); 4] {
    /// llama.cpp's number for "all tensors in F32".
    const FILE_TYPE_F32: u32 = 0;
    const QUANTIZATION_VERSION: u32 = 2;
    [
        ("general.type".into(), Value::String("model".into())),
        ("general.name".into(), Value::String(format!("nabi tiny {}", kind.name()))),
        ("general.file_type".into(), Value::U32(FILE_TYPE_F32)),
        ("general.quantization_version".into(), Value::U32(QUANTIZATION_VERSION)),
    ]
}

/// Bytes as letters, nothing else.
pub(crate) fn byte_level() -> Json {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false })
}

/// An entry of `added_tokens` in `tokenizer.json`.
pub(crate) fn added_token(id: usize, content: &str, special: bool) -> Json {
    json!({
        "id": id, "content": content, "special": special,
        "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
    })
}

/// The vocabulary of a `tokenizer.json`.
pub(crate) fn numbered<'a>(tokens: impl Iterator<Item = &'a String>) -> Json {
    tokens.enumerate().map(|(id, token)| (token.clone(), json!(id))).collect::<serde_json::Map<_, _>>().into()
}
