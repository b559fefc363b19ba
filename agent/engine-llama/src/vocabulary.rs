//! Text to tokens and back, by llama.cpp's tokenizer.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use nabi_domain::{AddedToken, LiteralCutter, Piece};
use nabi_engine::Vocabulary;
use nabi_llama_sys::{Model, TokenKind};
use nabi_wire::engine::Refusal;

pub(crate) struct LlamaVocabulary {
    model: Arc<Model>,
    /// The bytes of all tokens one after the other; token `id` has `starts[id]..starts[id + 1]`.
    bytes: Vec<u8>,
    starts: Vec<usize>,
    /// llama.cpp matches user-defined tokens in plain text too.
    cutter: LiteralCutter,
}

impl LlamaVocabulary {
    pub(crate) fn new(model: Arc<Model>) -> Result<Self> {
        let (mut bytes, mut starts) = (Vec::new(), vec![0]);
        let mut user_defined = Vec::new();
        for id in 0..model.vocabulary_tokens() {
            bytes.extend(model.token_bytes(id));
            starts.push(bytes.len());
            if model.token_kind(id) == Some(TokenKind::UserDefined) {
                user_defined.extend(model.token_text(id));
            }
        }
        let cutter = LiteralCutter::new(user_defined.iter().map(String::as_str))
            .context("the model has too many user-defined tokens")?;
        Ok(Self { model, bytes, starts, cutter })
    }
}

/// What a tokenizer would match as a whole.
pub(crate) fn added_tokens(model: &Model) -> Vec<AddedToken> {
    (0..model.vocabulary_tokens())
        .filter(|&id| matches!(model.token_kind(id), Some(TokenKind::Control | TokenKind::UserDefined)))
        .filter_map(|id| Some(AddedToken { id, literal: model.token_text(id)? }))
        .filter(|token| !token.literal.is_empty())
        .collect()
}

impl Vocabulary for LlamaVocabulary {
    fn encode(&self, pieces: &[Piece]) -> Result<Vec<u32>, Refusal> {
        let mut tokens = Vec::new();
        for piece in pieces {
            match piece {
                &Piece::Token(token_id) => {
                    let vocabulary_tokens = self.model.vocabulary_tokens();
                    if token_id >= vocabulary_tokens {
                        return Err(Refusal::TokenUnknown { token_id, vocabulary_tokens });
                    }
                    tokens.push(token_id);
                }
                Piece::Text(text) => {
                    for part in self.cutter.cut(text) {
                        let encoded = self.model.tokenize(part);
                        tokens.extend(encoded.map_err(|error| Refusal::Failed { what: error.to_string() })?);
                    }
                }
            }
        }
        Ok(tokens)
    }

    fn bytes(&self, token: u32) -> &[u8] {
        let at = token as usize;
        match (self.starts.get(at), self.starts.get(at + 1)) {
            (Some(&start), Some(&end)) => &self.bytes[start..end],
            _ => &[],
        }
    }

    fn ends(&self, token: u32) -> bool {
        self.model.ends(token)
    }
}
