//! A byte-level vocabulary: one token for each byte, a few merges, and Qwen's added tokens.

use serde_json::{Value as Json, json};

use super::{added_token, byte_level, numbered};
use crate::gguf::Value;

/// What follows the bytes: pairs that become one token, in order.
const MERGES: [&str; 6] = ["h e", "Ġ t", "Ġt he", "i n", "e r", "Ġ a"];
/// Added tokens, and whether they are control tokens. Markers of calls are text, in Qwen too.
const ADDED: [(&str, bool); 5] = [
    ("<|endoftext|>", true),
    ("<|im_start|>", true),
    ("<|im_end|>", true),
    ("<tool_call>", false),
    ("</tool_call>", false),
];
/// Qwen's expression, which splits text before merges.
const SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// GPT-2's letter for a byte (`bytes_to_unicode` in its encoder.py): printable ones stand for themselves, the
/// others follow from U+0100.
pub fn byte_letter(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&other| !printable(other)).count() as u32;
    char::from_u32(0x100 + before).expect("there are letters from U+0100")
}

/// Whether texts are given an end token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// Chats: the template writes all control tokens.
    Bare,
    /// Texts to be embedded: `<|endoftext|>` comes after each.
    Marked,
}

pub(super) struct ByteTokens {
    /// The text of each token, by id.
    tokens: Vec<String>,
    ends: Ends,
    chat_template: Option<&'static str>,
}

impl ByteTokens {
    pub(super) fn new(ends: Ends, chat_template: Option<&'static str>) -> Self {
        let bytes = (0..=u8::MAX).map(|byte| byte_letter(byte).to_string());
        let merged = MERGES.iter().map(|merge| merge.replacen(' ', "", 1));
        let added = ADDED.iter().map(|(token, _)| (*token).to_owned());
        Self { tokens: bytes.chain(merged).chain(added).collect(), ends, chat_template }
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    fn merged_len(&self) -> usize {
        self.len() - ADDED.len()
    }

    /// The id of an added token.
    pub(super) fn id(&self, token: &str) -> usize {
        self.tokens.iter().position(|other| other == token).expect("one of the added tokens")
    }

    /// The files of a Hugging Face folder.
    pub(super) fn files(&self, context_tokens: usize) -> [(&'static str, Json); 2] {
        let first = self.merged_len();
        let added =
            ADDED.iter().enumerate().map(|(at, (token, special))| added_token(first + at, token, *special));
        let bytes = byte_level();
        let split = json!({
            "type": "Split", "pattern": { "Regex": SPLIT }, "behavior": "Isolated", "invert": false,
        });
        let tokenizer = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added.collect::<Vec<_>>(),
            "normalizer": null,
            "pre_tokenizer": { "type": "Sequence", "pretokenizers": [split, bytes] },
            "post_processor": self.post_processor(&bytes),
            "decoder": bytes,
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
                "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false,
                "vocab": numbered(self.tokens[..first].iter()), "merges": MERGES,
            },
        });
        let mut config = json!({
            "tokenizer_class": "Qwen2Tokenizer",
            "model_max_length": context_tokens,
            "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
        });
        if let Some(template) = self.chat_template {
            config["chat_template"] = json!(template);
        }
        [("tokenizer.json", tokenizer), ("tokenizer_config.json", config)]
    }

    fn post_processor(&self, bytes: &Json) -> Json {
        const END: &str = "<|endoftext|>";
        if self.ends == Ends::Bare {
            return bytes.clone();
        }
        let end = json!({ "SpecialToken": { "id": END, "type_id": 0 } });
        let sequence = |name: &str| json!({ "Sequence": { "id": name, "type_id": 0 } });
        let marked = json!({
            "type": "TemplateProcessing",
            "single": [sequence("A"), end],
            "pair": [sequence("A"), end, sequence("B"), end],
            "special_tokens": { END: { "id": END, "ids": [self.id(END)], "tokens": [END] } },
        });
        json!({ "type": "Sequence", "processors": [bytes, marked] })
    }

    pub(super) fn metadata(&self) -> Vec<(String, Value)> {
        const NORMAL: i32 = 1;
        const CONTROL: i32 = 3;
        const USER_DEFINED: i32 = 4;
        let added = ADDED.iter().map(|(_, special)| if *special { CONTROL } else { USER_DEFINED });
        let kinds = std::iter::repeat_n(NORMAL, self.merged_len()).chain(added);
        let id = |token: &str| Value::U32(self.id(token) as u32);
        let mut pairs = vec![
            ("ggml.model", Value::String("gpt2".into())),
            ("ggml.pre", Value::String("qwen2".into())),
            ("ggml.tokens", Value::Strings(self.tokens.clone())),
            ("ggml.token_type", Value::I32s(kinds.collect())),
            ("ggml.merges", Value::Strings(MERGES.map(str::to_owned).into())),
            ("ggml.padding_token_id", id("<|endoftext|>")),
            ("ggml.add_bos_token", Value::Bool(false)),
            ("ggml.add_eos_token", Value::Bool(self.ends == Ends::Marked)),
        ];
        match self.ends {
            Ends::Bare => pairs.push(("ggml.eos_token_id", id("<|im_end|>"))),
            Ends::Marked => pairs.extend([
                ("ggml.eos_token_id", id("<|endoftext|>")),
                ("ggml.eot_token_id", id("<|im_end|>")),
                ("ggml.add_sep_token", Value::Bool(false)),
            ]),
        }
        pairs.extend(self.chat_template.map(|jinja| ("chat_template", Value::String(jinja.into()))));
        pairs.into_iter().map(|(key, value)| (format!("tokenizer.{key}"), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::byte_letter;

    #[test]
    fn each_byte_has_its_letter() {
        let letters: HashSet<char> = (0..=u8::MAX).map(byte_letter).collect();
        assert_eq!(letters.len(), 256);
        assert_eq!(['a', '\n', ' '].map(|sign| byte_letter(sign as u8)), ['a', 'Ċ', 'Ġ']);
    }
}
