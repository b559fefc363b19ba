//! From a rendered template to pieces.

use aho_corasick::{AhoCorasick, MatchKind};
use nabi_domain::{AddedToken, Piece, is_control_literal};

use crate::error::TemplateError;
use crate::veil;

/// Finds the literals of added tokens, as Hugging Face's tokenizers do: leftmost, then longest.
#[derive(Debug)]
pub(crate) struct Literals {
    search: AhoCorasick,
    ids: Vec<u32>,
}

impl Literals {
    pub(crate) fn new(tokens: &[AddedToken]) -> Result<Self, TemplateError> {
        let tokens = || tokens.iter().filter(|token| is_control_literal(&token.literal));
        let search = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(tokens().map(|token| &token.literal))
            .map_err(|source| TemplateError::TooManyLiterals { tokens: tokens().count(), source })?;
        Ok(Self { search, ids: tokens().map(|token| token.id).collect() })
    }

    /// Literals become tokens, all else unveiled text; no two texts in a row, and none empty.
    pub(crate) fn pieces(&self, rendered: &str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let push_text = |pieces: &mut Vec<Piece>, text: &str| {
            if !text.is_empty() {
                pieces.push(Piece::Text(veil::unveil(text)));
            }
        };
        let mut begin = 0;
        for found in self.search.find_iter(rendered) {
            push_text(&mut pieces, &rendered[begin..found.start()]);
            pieces.push(Piece::Token(self.ids[found.pattern().as_usize()]));
            begin = found.end();
        }
        push_text(&mut pieces, &rendered[begin..]);
        pieces
    }
}
