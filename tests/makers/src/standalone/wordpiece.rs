//! A WordPiece vocabulary: every lower-case letter, digit and sign, some words, and a few letters of other
//! scripts. What it lacks becomes `[UNK]`, as in BERT.

use serde_json::{Value as Json, json};

use super::{added_token, numbered};
use crate::gguf::Value;

/// The special tokens, in the order of their ids: padding, unknown, before and after a text, mask.
const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
const CLS: usize = 2;
const SEP: usize = 3;
/// Longer words are unknown.
const WORD_CHARS_MAX: usize = 100;
/// Words and parts of words beside single letters.
const WORDS: &str = "the of and in to is for on water health ministry district hospital report dam level butter \
                     ##fly ##ing ##ed ##er ##tion ##ly ##al ##in 나비 العربية";
/// Letters of other scripts. Hangul is taken apart before it is looked up; Chinese words are single signs.
const LETTERS: &str = "蝴 蝶 小 国 ᄂ ##ᅡ ##ᄇ ##ᅵ ᄆ ##ᄆ ##ᄅ ##ᅮ ᄒ ##ᆫ م ##ر ##ح ##ب ##ا ا ##ل";

pub(super) struct WordPiece {
    /// The text of each token, by id.
    tokens: Vec<String>,
}

impl WordPiece {
    pub(super) fn new() -> Self {
        let mut tokens: Vec<String> = SPECIAL.map(str::to_owned).into();
        let signs = (0..=0x7F_u8).map(char::from);
        for sign in signs.filter(|sign| sign.is_ascii_graphic() && !sign.is_ascii_uppercase()) {
            tokens.push(sign.to_string());
            if sign.is_ascii_alphanumeric() {
                tokens.push(format!("##{sign}"));
            }
        }
        tokens.extend(WORDS.split_whitespace().chain(LETTERS.split_whitespace()).map(str::to_owned));
        Self { tokens }
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The files of a Hugging Face folder.
    pub(super) fn files(&self, context_tokens: usize) -> [(&'static str, Json); 2] {
        let special = |id: usize| json!({ "SpecialToken": { "id": SPECIAL[id], "type_id": 0 } });
        let sequence = |name: &str| json!({ "Sequence": { "id": name, "type_id": 0 } });
        let described = |id: usize| json!({ "id": SPECIAL[id], "ids": [id], "tokens": [SPECIAL[id]] });
        let added: Vec<_> =
            SPECIAL.iter().enumerate().map(|(id, token)| added_token(id, token, true)).collect();
        let tokenizer = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": {
                "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
                "lowercase": true,
            },
            "pre_tokenizer": { "type": "BertPreTokenizer" },
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [special(CLS), sequence("A"), special(SEP)],
                "pair": [special(CLS), sequence("A"), special(SEP), sequence("B"), special(SEP)],
                "special_tokens": { SPECIAL[CLS]: described(CLS), SPECIAL[SEP]: described(SEP) },
            },
            "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
            "model": {
                "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": WORD_CHARS_MAX, "vocab": numbered(self.tokens.iter()),
            },
        });
        let config = json!({
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": true,
            "model_max_length": context_tokens,
            "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
            "mask_token": "[MASK]",
        });
        [("tokenizer.json", tokenizer), ("tokenizer_config.json", config)]
    }

    /// llama.cpp marks the tokens that begin a word instead of those that continue one.
    pub(super) fn metadata(&self) -> Vec<(String, Value)> {
        const NORMAL: i32 = 1;
        const CONTROL: i32 = 3;
        let text = |(id, token): (usize, &String)| match token.strip_prefix("##") {
            _ if id < SPECIAL.len() => token.clone(),
            Some(continued) => continued.to_owned(),
            None => format!("\u{2581}{token}"),
        };
        let kind = |id| if id < SPECIAL.len() { CONTROL } else { NORMAL };
        let texts = self.tokens.iter().enumerate().map(text).collect();
        let id = |token: &str| {
            let id = SPECIAL.iter().position(|special| *special == token).expect("one of the special tokens");
            Value::U32(id as u32)
        };
        [
            ("model", Value::String("bert".into())),
            ("pre", Value::String("default".into())),
            ("tokens", Value::Strings(texts)),
            ("token_type", Value::I32s((0..self.len()).map(kind).collect())),
            ("bos_token_id", id("[CLS]")),
            ("eos_token_id", id("[SEP]")),
            ("unknown_token_id", id("[UNK]")),
            // llama.cpp's spelling.
            ("seperator_token_id", id("[SEP]")),
            ("padding_token_id", id("[PAD]")),
            ("mask_token_id", id("[MASK]")),
            ("add_bos_token", Value::Bool(true)),
            ("add_eos_token", Value::Bool(true)),
            ("add_sep_token", Value::Bool(false)),
            ("normalizer.lowercase", Value::Bool(true)),
        ]
        .map(|(key, value)| (format!("tokenizer.ggml.{key}"), value))
        .into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::WordPiece;

    #[test]
    fn no_token_is_there_twice() {
        let words = WordPiece::new();
        assert_eq!(words.tokens.iter().collect::<HashSet<_>>().len(), words.len());
    }
}
