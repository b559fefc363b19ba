//! The model with which an appliance tests itself: DeepSeek-V3's layers over a vocabulary of bytes, so
//! small that it is part of every image, and what it must answer on any machine.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use nabi_domain::ModelName;
use nabi_domain::boot::KnownAnswer;
use nabi_models::{Manifest, StoredFile, inspect};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::config::{Config, Kind};
use crate::error::{MakeError, create_folder, write};
use crate::huggingface::pretty;
use crate::model::Model;
use crate::standalone::{added_token, byte_letter, byte_level, numbered};
use crate::tokenizer::Tokenizer;
use crate::weights::tensors;

/// Its name in its store.
pub const SELF_TEST_NAME: &str = "nabi-self-test";
/// What is known of it, beside it in the store's folder.
pub const KNOWN_FILE: &str = "self-test.json";

const SEED: u64 = 4;
const GGUF_FILE: &str = "nabi-self-test.gguf";
/// The first two are those that [`Config`] names.
const ADDED: [&str; 4] =
    ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"];
/// Some pairs that become one token, since a vocabulary without any is no byte-pair encoding.
const MERGES: [&str; 4] = ["h e", "i n", "e r", "a n"];

/// A prompt, and the tokens that the reference computes after it (`tests/golden/make.py` compares). Each
/// leads its runner-up by so much that no right kernel takes another, whatever it rounds.
const PROMPT: &str = "Our butterfly effect";
const TOKEN_IDS: [u32; 8] = [203, 256, 152, 149, 166, 257, 262, 249];

/// What must be answered.
pub fn known_answer() -> KnownAnswer {
    KnownAnswer { prompt: PROMPT.to_owned(), token_ids: TOKEN_IDS.into() }
}

/// The tokenizer of bytes.
fn tokenizer() -> Result<Tokenizer, MakeError> {
    let bytes = (0..=u8::MAX).map(|byte| byte_letter(byte).to_string());
    let merged = MERGES.iter().map(|merge| merge.replacen(' ', "", 1));
    let vocabulary: Vec<String> = ADDED.map(str::to_owned).into_iter().chain(bytes).chain(merged).collect();
    let added = ADDED.iter().enumerate().map(|(id, token)| added_token(id, token, true));
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": byte_level(),
        "post_processor": byte_level(),
        "decoder": byte_level(),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": numbered(vocabulary.iter()), "merges": MERGES,
        },
    });
    let named = |token: &str| json!({ "content": token });
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": named(ADDED[0]), "eos_token": named(ADDED[1]), "pad_token": named(ADDED[1]),
    });
    Tokenizer::of_json(tokenizer, config)
}

/// Writes the Hugging Face folder, for the reference.
///
/// # Errors
/// [`MakeError::Write`] if the folder cannot be written.
pub fn write_self_test_huggingface(folder: &Path) -> Result<(), MakeError> {
    model(&tokenizer()?).write_huggingface(folder)
}

/// Writes a store with the model in it, as an import would, and beside it what is known of the model.
/// Files get the time `mtime_unix_s`, which the manifest holds: an image must keep it.
///
/// # Errors
/// [`MakeError`] if the folder cannot be written.
pub fn write_self_test(store: &Path, mtime_unix_s: u64) -> Result<(), MakeError> {
    let folder = store.join(SELF_TEST_NAME);
    let gguf = folder.join(GGUF_FILE);
    model(&tokenizer()?).write_gguf(&gguf)?;
    let failed = |source| MakeError::Write { path: gguf.clone(), source };
    let written = UNIX_EPOCH + Duration::from_secs(mtime_unix_s);
    let set = File::options().write(true).open(&gguf).and_then(|file| file.set_modified(written));
    set.map_err(failed)?;
    manifest(&gguf, &fs::read(&gguf).map_err(failed)?)?.write(&folder)?;
    create_folder(store)?;
    write(&store.join(KNOWN_FILE), &pretty(&known_answer()))
}

fn model(tokenizer: &Tokenizer) -> Model<'_> {
    let kind = Kind::DeepseekV3;
    let config = Config::new(kind, tokenizer.vocabulary_len());
    let tensors = tensors(&config, SEED, None);
    Model { kind, config, tensors, tokenizer }
}

fn manifest(gguf: &Path, bytes: &[u8]) -> Result<Manifest, MakeError> {
    let inspected = inspect(gguf)?;
    let files = inspected.files.iter().map(|file| StoredFile {
        name: file.name.clone(),
        bytes: file.bytes,
        sha256: hex::encode(Sha256::digest(bytes)),
        mtime_ns: file.mtime_ns,
    });
    let name: ModelName = SELF_TEST_NAME.parse().expect("it is a name");
    Ok(Manifest::new(inspected.summary(name), inspected.shape.clone(), files.collect()))
}

#[cfg(test)]
mod tests {
    use nabi_models::Store;

    use super::*;

    /// In every image.
    const BYTES_MAX: u64 = 5_000_000;

    #[test]
    fn the_store_is_as_an_import_leaves_it_and_small() {
        let store = tempfile::tempdir().expect("a temporary folder");
        write_self_test(store.path(), 1_000_000_000).expect("writes");
        let name = SELF_TEST_NAME.parse().expect("a name");
        let opened = Store::open(store.path()).expect("a store");
        let model = opened.check_unchanged(&name).expect("its manifest and its file agree");
        assert_eq!(model.manifest.summary.architecture, "deepseek2");
        assert_eq!(model.manifest.files[0].mtime_ns, 1_000_000_000_000_000_000);
        assert!(model.manifest.summary.bytes <= BYTES_MAX, "{}", model.manifest.summary.bytes);
        let known = fs::read(store.path().join(KNOWN_FILE)).expect("it is written");
        assert_eq!(serde_json::from_slice::<KnownAnswer>(&known).expect("it reads"), known_answer());
    }
}
