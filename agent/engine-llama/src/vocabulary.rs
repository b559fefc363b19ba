//! Text to tokens and back, by llama.cpp's tokenizer.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result};
use nabi_domain::{AddedToken, LiteralCutter, Piece};
use nabi_engine::Vocabulary;
use nabi_llama_sys::{Model, TokenKind};
use nabi_wire::engine::{Grammar, Refusal};

use crate::grammar::{GrammarError, GrammarToken, Grammars, Matcher, VocabularyError};
use crate::hangul;

pub(crate) struct LlamaVocabulary {
    model: Arc<Model>,
    /// The bytes of all tokens one after the other; token `id` has `starts[id]..starts[id + 1]`.
    bytes: Vec<u8>,
    starts: Vec<u32>,
    literals: HashMap<u32, String>,
    /// llama.cpp matches user-defined tokens in plain text too.
    cutter: LiteralCutter,
    /// Whether Hangul must come in letters: see [`hangul::letters`].
    takes_hangul_apart: bool,
    /// What a text must have before and after it to be given a vector.
    ends: (Option<u32>, Option<u32>),
    /// Prepared when the first grammar comes: few engines ever need it.
    grammars: OnceLock<Option<Grammars>>,
}

impl LlamaVocabulary {
    /// `embeds`: texts are encoded as a model that gives vectors wants them.
    pub(crate) fn new(model: Arc<Model>, embeds: bool) -> Result<Self> {
        let (mut bytes, mut starts) = (Vec::new(), vec![0]);
        for id in 0..model.vocabulary_tokens() {
            bytes.extend(model.token_bytes(id));
            starts.push(u32::try_from(bytes.len()).context("the vocabulary's text is too long")?);
        }
        let added = added_tokens(&model);
        let user_defined = added.iter().filter(|token| !token.special).map(|token| token.literal.as_str());
        let cutter =
            LiteralCutter::new(user_defined).context("the model has too many user-defined tokens")?;
        let literals = added.into_iter().map(|token| (token.id, token.literal)).collect();
        let ends = if embeds { model.text_ends() } else { (None, None) };
        let takes_hangul_apart = hangul::is_taken_apart(|key| model.metadata(key));
        let grammars = OnceLock::new();
        Ok(Self { model, bytes, starts, literals, cutter, takes_hangul_apart, ends, grammars })
    }

    fn prepare_grammars(&self) -> Result<Grammars, VocabularyError> {
        let ids = || 0..self.model.vocabulary_tokens();
        let ends: Vec<u32> = ids().filter(|&id| self.model.ends(id)).collect();
        let tokens = ids().map(|id| match (self.literals.get(&id), self.bytes(id)) {
            (Some(literal), _) => GrammarToken::Added(literal),
            (None, []) => GrammarToken::Unused,
            (None, bytes) => GrammarToken::Text(bytes),
        });
        Grammars::new(tokens, &ends)
    }

    fn text(&self, text: &str, tokens: &mut Vec<u32>) -> Result<(), Refusal> {
        let letters = self.takes_hangul_apart.then(|| hangul::letters(text));
        let text = letters.as_deref().unwrap_or(text);
        for part in self.cutter.cut(text) {
            let encoded = self.model.tokenize(part);
            tokens.extend(encoded.map_err(|error| Refusal::Failed { what: error.to_string() })?);
        }
        Ok(())
    }
}

/// What a tokenizer would match as a whole.
pub(crate) fn added_tokens(model: &Model) -> Vec<AddedToken> {
    let added = |id: u32| {
        let special = match model.token_kind(id)? {
            TokenKind::Control => true,
            TokenKind::UserDefined => false,
            TokenKind::Text => return None,
        };
        let literal = model.token_text(id).filter(|literal| !literal.is_empty())?;
        Some(AddedToken { id, literal, special })
    };
    (0..model.vocabulary_tokens()).filter_map(added).collect()
}

impl Vocabulary for LlamaVocabulary {
    type Grammar = Matcher;

    fn encode(&self, pieces: &[Piece]) -> Result<Vec<u32>, Refusal> {
        // Tokens that a client made itself are the whole text as they are.
        let is_text = pieces.iter().any(|piece| matches!(piece, Piece::Text(_)));
        let (before, after) = if is_text { self.ends } else { (None, None) };
        let mut tokens = Vec::from_iter(before);
        for piece in pieces {
            match piece {
                &Piece::Token(token_id) => {
                    let vocabulary_tokens = self.model.vocabulary_tokens();
                    if token_id >= vocabulary_tokens {
                        return Err(Refusal::TokenUnknown { token_id, vocabulary_tokens });
                    }
                    tokens.push(token_id);
                }
                Piece::Text(text) => self.text(text, &mut tokens)?,
            }
        }
        tokens.extend(after);
        Ok(tokens)
    }

    fn bytes(&self, token: u32) -> &[u8] {
        let at = token as usize;
        match (self.starts.get(at), self.starts.get(at + 1)) {
            (Some(&start), Some(&end)) => &self.bytes[start as usize..end as usize],
            _ => &[],
        }
    }

    fn literal(&self, token: u32) -> Option<&str> {
        self.literals.get(&token).map(String::as_str)
    }

    fn ends(&self, token: u32) -> bool {
        self.model.ends(token)
    }

    fn compile(&self, grammar: &Grammar) -> Result<Matcher, Refusal> {
        let grammars = self.grammars.get_or_init(|| {
            self.prepare_grammars()
                .inspect_err(|error| tracing::error!("no grammar can be used: {error}"))
                .ok()
        });
        let unprepared =
            || GrammarError { what: "the model's vocabulary cannot be used with grammars".into() };
        let compiled = grammars.as_ref().ok_or_else(unprepared).and_then(|ready| ready.compile(grammar));
        compiled.map_err(|GrammarError { what }| Refusal::Grammar { what })
    }
}
