//! A model's vocabulary as llguidance sees it.

use std::sync::Arc;

use llguidance::toktrie::{ApproximateTokEnv, INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie};

/// Tokens that llguidance can number.
const TOKENS_MAX: usize = 1 << 22;
/// A longer token is left out of all answers that have a grammar: llguidance can nest no deeper.
const TOKEN_BYTES_MAX: usize = 1000;

/// What a token is to a grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrammarToken<'a> {
    /// Adds these bytes to the text.
    Text(&'a [u8]),
    /// Stands for itself, whatever its literal: only a grammar that names it allows it.
    Added(&'a str),
    /// No grammar allows it.
    Unused,
}

/// Why a vocabulary cannot be used with grammars.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VocabularyError {
    /// Grammars have no numbers for so many tokens.
    #[error("the model's vocabulary has {tokens} tokens, but grammars can be used with at most {TOKENS_MAX}")]
    TooLarge {
        /// How many there are.
        tokens: usize,
    },
    /// An end token that is no token.
    #[error("the model's end token {token} is not in its vocabulary of {tokens} tokens")]
    EndUnknown {
        /// Which.
        token: u32,
        /// How many there are.
        tokens: usize,
    },
    /// llguidance fails at it.
    #[error("llguidance cannot prepare the model's vocabulary: {what}")]
    Unprepared {
        /// What it says.
        what: String,
    },
}

/// Takes the tokens in the order of their ids, and those that end an answer.
pub(super) fn prepare<'a>(
    tokens: impl Iterator<Item = GrammarToken<'a>>,
    ends: &[u32],
) -> Result<TokEnv, VocabularyError> {
    let words: Vec<Vec<u8>> = tokens.map(word).collect();
    let tokens = words.len();
    if tokens > TOKENS_MAX {
        return Err(VocabularyError::TooLarge { tokens });
    }
    if let Some(&token) = ends.iter().find(|&&end| end as usize >= tokens) {
        return Err(VocabularyError::EndUnknown { token, tokens });
    }
    let info = TokRxInfo::new(tokens as u32, INVALID_TOKEN);
    let mut trie = TokTrie::from(&info, &words);
    if !ends.is_empty() {
        trie = trie.with_eos_tokens(ends);
    }
    // Not "canonical": the model itself chooses how text is cut into tokens.
    Ok(Arc::new(ApproximateTokEnv::new(trie)))
}

/// llguidance marks what is no text by a byte that UTF-8 never has; an empty word is no token.
fn word(token: GrammarToken<'_>) -> Vec<u8> {
    let marker = TokTrie::SPECIAL_TOKEN_MARKER;
    match token {
        GrammarToken::Text(bytes) if bytes.len() <= TOKEN_BYTES_MAX && !bytes.contains(&marker) => {
            bytes.into()
        }
        GrammarToken::Added(literal) if literal.len() < TOKEN_BYTES_MAX => {
            [&[marker], literal.as_bytes()].concat()
        }
        _ => Vec::new(),
    }
}
