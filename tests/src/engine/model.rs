//! The tiny models of `tests/makers`, what the reference says of them, and how tokens are spelled.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nabi_makers::{Kind, Model, Tokenizer, tokenizer_folder};
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
        let letters = byte_letters();
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

/// GPT-2's letters for bytes (`bytes_to_unicode` in its encoder.py): printable ones stand for
/// themselves, the others follow from U+0100.
fn byte_letters() -> HashMap<char, u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let themselves = (0..=u8::MAX).filter(|&byte| printable(byte)).map(|byte| (char::from(byte), byte));
    let others = (0..=u8::MAX).filter(|&byte| !printable(byte));
    themselves.chain(('\u{100}'..).zip(others)).collect()
}
