//! Korean for WordPiece vocabularies without accents (BERT's uncased ones), which have Hangul in letters.
//!
//! They are made of text in Unicode's form NFD. llama.cpp keeps only the first letter of what it takes
//! apart (`unicode_cpts_normalize_nfd`): right for `é`, but of each Korean syllable two thirds are lost.

use std::borrow::Cow;

// The Unicode Standard, 3.12, "Conjoining Jamo Behavior".
const SYLLABLE_FIRST: u32 = 0xAC00;
const LEADING_FIRST: u32 = 0x1100;
const VOWEL_FIRST: u32 = 0x1161;
/// One before the first: some syllables have no trailing letter.
const TRAILING_BEFORE: u32 = 0x11A7;
const VOWELS: u32 = 21;
const TRAILINGS: u32 = 28;

/// Whether llama.cpp takes letters apart for the vocabulary that a GGUF header (a function from keys to
/// values) describes.
pub(crate) fn is_taken_apart(value: impl Fn(&str) -> Option<String>) -> bool {
    let is_off = |key: &str| Some(value(&format!("tokenizer.ggml.normalizer.{key}"))? == "false");
    // Accents go where capitals go, and capitals go, unless the header says otherwise (llama-vocab.cpp).
    let keeps_accents = is_off("strip_accents").or_else(|| is_off("lowercase")).unwrap_or(false);
    value("tokenizer.ggml.model").as_deref() == Some("bert") && !keeps_accents
}

/// The text with each Korean syllable as its letters.
pub(crate) fn letters(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_syllable) {
        return text.into();
    }
    let mut apart = String::with_capacity(text.len() * 3);
    for character in text.chars() {
        if is_syllable(character) {
            apart.extend(apart_syllable(character).into_iter().flatten());
        } else {
            apart.push(character);
        }
    }
    apart.into()
}

fn is_syllable(character: char) -> bool {
    matches!(character, '가'..='힣')
}

fn apart_syllable(syllable: char) -> [Option<char>; 3] {
    let index = u32::from(syllable) - SYLLABLE_FIRST;
    let trailing = index % TRAILINGS;
    [
        char::from_u32(LEADING_FIRST + index / (VOWELS * TRAILINGS)),
        char::from_u32(VOWEL_FIRST + index / TRAILINGS % VOWELS),
        char::from_u32(TRAILING_BEFORE + trailing).filter(|_| trailing > 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syllables_come_in_letters_and_all_else_stays() {
        assert_eq!(letters("나비 한"), "\u{1102}\u{1161}\u{1107}\u{1175} \u{1112}\u{1161}\u{11AB}");
        assert_eq!(letters("가힣"), "\u{1100}\u{1161}\u{1112}\u{1175}\u{11C2}");
        assert!(matches!(letters("é 蝴 ㄱ \u{1102} a"), Cow::Borrowed("é 蝴 ㄱ \u{1102} a")));
    }

    #[test]
    fn only_where_llama_cpp_drops_accents() {
        let taken_apart = |pairs: &[(&str, &str)]| {
            is_taken_apart(|key| {
                let pair = pairs.iter().find(|(name, _)| key == format!("tokenizer.ggml.{name}"));
                pair.map(|(_, value)| (*value).to_owned())
            })
        };
        let bert = ("model", "bert");
        assert!(taken_apart(&[bert]));
        assert!(taken_apart(&[bert, ("normalizer.lowercase", "true")]));
        assert!(taken_apart(&[
            bert,
            ("normalizer.lowercase", "false"),
            ("normalizer.strip_accents", "true")
        ]));
        assert!(!taken_apart(&[bert, ("normalizer.lowercase", "false")]));
        assert!(!taken_apart(&[bert, ("normalizer.strip_accents", "false")]));
        assert!(!taken_apart(&[("model", "gpt2")]));
        assert!(!taken_apart(&[]));
    }
}
