//! Markers of a model's markup, whether they are tokens, text, or both in turn.
//!
//! An answer is read as bytes in which each token that is (part of) a marker is one byte that no
//! UTF-8 text can have. So one search finds `<think>` as a token, `<think>` as text, and
//! `<｜DSML｜invoke` of which only the middle is a token; and text can never pass for a token.

use std::collections::HashMap;

use nabi_domain::{AddedToken, Piece};

use crate::pieces::Literals;

/// Bytes from here on are in no UTF-8 text; each stands for one token.
const TOKEN_BYTE_MIN: u8 = 0xF5;

pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte >= TOKEN_BYTE_MIN
}

/// What a token of an answer reads as. A token that is not listed reads as nothing.
#[derive(Debug)]
enum Symbol {
    Marker(u8),
    Text(String),
}

/// How the tokens of answers are read.
#[derive(Debug)]
pub(crate) struct Alphabet {
    symbols: HashMap<u32, Symbol>,
    markers: u8,
}

impl Alphabet {
    /// With no markers yet. Special tokens (ends of turns, say) read as nothing, others as their literal.
    pub(crate) fn new(tokens: &[AddedToken]) -> Self {
        let shown = tokens.iter().filter(|token| !token.special);
        let symbols = shown.map(|token| (token.id, Symbol::Text(token.literal.clone()))).collect();
        Self { symbols, markers: 0 }
    }

    /// A marker, as the model's tokenizer takes it apart.
    pub(crate) fn marker(&mut self, literals: &Literals, text: &str) -> Marker {
        let parts = literals.pieces(text);
        for part in &parts {
            if let Piece::Token(id) = part {
                self.claim(*id);
            }
        }
        let mut bytes = Vec::new();
        parts.iter().for_each(|part| self.write(part, &mut bytes));
        Marker { bytes, parts }
    }

    fn claim(&mut self, id: u32) {
        if let (false, Some(byte)) = (self.is_marker(id), TOKEN_BYTE_MIN.checked_add(self.markers)) {
            self.markers += 1;
            self.symbols.insert(id, Symbol::Marker(byte));
        }
    }

    pub(crate) fn is_marker(&self, token: u32) -> bool {
        matches!(self.symbols.get(&token), Some(Symbol::Marker(_)))
    }

    /// Adds a piece of an answer to the bytes that are to be read.
    pub(crate) fn write(&self, piece: &Piece, bytes: &mut Vec<u8>) {
        match piece {
            Piece::Text(text) => bytes.extend_from_slice(text.as_bytes()),
            Piece::Token(id) => match self.symbols.get(id) {
                Some(Symbol::Marker(byte)) => bytes.push(*byte),
                Some(Symbol::Text(text)) => bytes.extend_from_slice(text.as_bytes()),
                None => {}
            },
        }
    }
}

/// A marker.
#[derive(Debug, Clone)]
pub(crate) struct Marker {
    bytes: Vec<u8>,
    parts: Vec<Piece>,
}

impl Marker {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its tokens and texts in turn.
    pub(crate) fn parts(&self) -> &[Piece] {
        &self.parts
    }

    /// Whether a token is in it, so that text alone cannot spell it.
    pub(crate) fn has_token(&self) -> bool {
        self.bytes.iter().copied().any(is_token_byte)
    }
}

/// Where the first of some markers is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    /// At this byte, the marker of this place in the list.
    Found { at: usize, which: usize },
    /// Nowhere. From `safe` on, more bytes may complete one.
    Missing { safe: usize },
}

/// No marker of the list may be the beginning of another.
pub(crate) fn scan(bytes: &[u8], markers: &[&Marker]) -> Scan {
    for at in 0..bytes.len() {
        let rest = &bytes[at..];
        for (which, marker) in markers.iter().enumerate() {
            let marker = marker.bytes();
            if rest[0] != marker[0] {
                continue;
            }
            if rest.starts_with(marker) {
                return Scan::Found { at, which };
            }
            if marker.starts_with(rest) {
                return Scan::Missing { safe: at };
            }
        }
    }
    Scan::Missing { safe: bytes.len() }
}

/// Which marker stands right here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Here {
    /// The marker of this place in the list, of so many bytes.
    Marker { which: usize, len: usize },
    /// More bytes may complete one.
    Undecided,
    /// None.
    Other,
}

pub(crate) fn here(bytes: &[u8], markers: &[&Marker]) -> Here {
    match scan(bytes, markers) {
        Scan::Found { at: 0, which } => Here::Marker { which, len: markers[which].bytes().len() },
        Scan::Missing { safe: 0 } => Here::Undecided,
        _ => Here::Other,
    }
}
