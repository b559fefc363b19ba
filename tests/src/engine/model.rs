//! The tiny models of `tests/makers`, what the reference says of them, and how tokens are spelled.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nabi_makers::{Kind, Model, Standalone, StandaloneKind, Tokenizer, byte_letter, tokenizer_folder};
use nabi_models::gguf::{self, Value};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

/// A tiny model in a file that lives as long as this.
pub struct Tiny(TempDir);

impl Tiny {
    /// Makes a model; the weights of the `disturbed` layer carry noise.
    ///
    /// # Panics
    /// When the tokenizer was not fetched, or the layer does not exist.
    pub fn make(kind: Kind, disturbed: Option<usize>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // The error's text says which script to run.
        let tokenizer =
            Tokenizer::cut_from_folder(&tokenizer_folder()).unwrap_or_else(|error| panic!("{error}"));
        let model = Model::new(kind, &tokenizer, disturbed).unwrap_or_else(|error| panic!("{error}"));
        let tiny = Self(folder);
        model.write_gguf(&tiny.path()).expect("the folder is writable");
        tiny
    }

    /// Makes a model of another family than DeepSeek's; the weights of the `disturbed` layer carry noise.
    ///
    /// # Panics
    /// When the layer does not exist.
    pub fn standalone(kind: StandaloneKind, disturbed: Option<usize>) -> Self {
        let tiny = Self(tempfile::tempdir().expect("a temporary folder"));
        let model = Standalone::new(kind, disturbed).unwrap_or_else(|error| panic!("{error}"));
        model.write_gguf(&tiny.path()).expect("the folder is writable");
        tiny
    }

    /// Its GGUF file.
    pub fn path(&self) -> PathBuf {
        self.0.path().join("model.gguf")
    }
}

/// What the reference answers: `tests/golden/KIND.json`.
#[derive(Deserialize)]
pub struct Golden {
    /// One for each prompt.
    pub answers: Vec<GoldenAnswer>,
}

/// One prompt's greedy answer.
#[derive(Deserialize)]
pub struct GoldenAnswer {
    /// What messages call it.
    pub name: String,
    /// Its text.
    pub prompt: String,
    /// The begin-of-sentence token, then those of the text.
    pub prompt_ids: Vec<u32>,
    /// The answer.
    pub token_ids: Vec<u32>,
    /// Natural logarithm of each token's probability.
    pub logprobs: Vec<f32>,
}

/// The vectors that the reference gives for texts: `tests/golden/KIND.json`.
#[derive(Deserialize)]
pub struct GoldenVectors {
    /// One for each text.
    pub texts: Vec<GoldenVector>,
}

/// One text's vector.
#[derive(Deserialize)]
pub struct GoldenVector {
    /// What messages call it.
    pub name: String,
    /// The text.
    pub text: String,
    /// Its tokens, with those that the tokenizer puts before and after it.
    pub ids: Vec<u32>,
    /// Of length 1.
    pub vector: Vec<f32>,
}

/// Reads a file of `tests/golden`.
///
/// # Panics
/// When it is not of the expected form.
pub fn golden<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    let json = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&json).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What each token writes, read from a GGUF file by our own reader: not by the engine under test.
pub struct Spelling {
    bytes: Vec<Vec<u8>>,
    user_defined: HashSet<String>,
}

impl Spelling {
    const CONTROL: u64 = 3;
    const USER_DEFINED: u64 = 4;
    const TYPES: &str = "tokenizer.ggml.token_type";

    /// Of a byte-level BPE vocabulary.
    ///
    /// # Panics
    /// When the file has another kind of vocabulary.
    pub fn read(model: &Path) -> Self {
        let file = File::open(model).expect("the model's file");
        let bytes = file.metadata().expect("readable").len();
        let header = gguf::read_header(file, bytes, &[gguf::TOKENS, Self::TYPES]).expect("a good header");
        let array = |key| match header.get(key) {
            Some(Value::Array(array)) => array,
            other => panic!("{key} is {other:?}"),
        };
        let text = |text: &[u8]| String::from_utf8(text.to_vec()).expect("tokens are spelled in UTF-8");
        let kinds = array(Self::TYPES).integers().expect("types are numbers");
        let tokens: Vec<_> = array(gguf::TOKENS).texts().map(text).zip(kinds).collect();
        let letters: HashMap<char, u8> = (0..=u8::MAX).map(|byte| (byte_letter(byte), byte)).collect();
        let written = |(token, kind): &(String, u64)| match *kind {
            Self::CONTROL => Vec::new(),
            Self::USER_DEFINED => token.clone().into_bytes(),
            _ => token.chars().map(|letter| letters[&letter]).collect(),
        };
        Self {
            bytes: tokens.iter().map(written).collect(),
            user_defined: tokens
                .iter()
                .filter(|(_, kind)| *kind == Self::USER_DEFINED)
                .map(|(token, _)| token.clone())
                .collect(),
        }
    }

    /// The text of tokens together; what is no UTF-8 becomes U+FFFD.
    pub fn text(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> = tokens.iter().flat_map(|&token| self.bytes[token as usize].clone()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether a text holds the literal of a user-defined token.
    pub fn holds_user_defined(&self, text: &str) -> bool {
        self.user_defined.iter().any(|literal| text.contains(literal))
    }
}
