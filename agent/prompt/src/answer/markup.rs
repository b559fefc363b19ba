//! The markup of tool calls and of reasoning that a model was taught.

use std::sync::Arc;

use nabi_domain::AddedToken;

use super::deepseek::{self, DeepSeek};
use super::dsml::{self, Dsml};
use super::hermes::{self, Hermes};
use super::llama;
use super::marker::{Alphabet, Marker};
use super::mistral::{self, Mistral};
use super::reader::CallReader;
use crate::pieces::Literals;

/// What opens and closes reasoning.
const REASONING: [[&str; 2]; 2] = [["<think>", "</think>"], ["[THINK]", "[/THINK]"]];

#[derive(Debug, Clone)]
pub(crate) enum CallMarkup {
    DeepSeek(Arc<DeepSeek>),
    Dsml(Arc<Dsml>),
    Hermes(Arc<Hermes>),
    Llama,
    Mistral(Arc<Mistral>),
}

impl CallMarkup {
    /// By what the template spells; `None` where none is known.
    pub(crate) fn found(jinja: &str, alphabet: &mut Alphabet, literals: &Literals) -> Option<Self> {
        if let Some(dsml) = Dsml::found(jinja, alphabet, literals) {
            return Some(Self::Dsml(Arc::new(dsml)));
        }
        if let Some(deepseek) = DeepSeek::found(jinja, alphabet, literals) {
            return Some(Self::DeepSeek(Arc::new(deepseek)));
        }
        if let Some(mistral) = Mistral::found(jinja, alphabet, literals) {
            return Some(Self::Mistral(Arc::new(mistral)));
        }
        if let Some(hermes) = Hermes::found(jinja, alphabet, literals) {
            return Some(Self::Hermes(Arc::new(hermes)));
        }
        llama::is_found(jinja).then_some(Self::Llama)
    }

    /// The markers with which calls begin.
    pub(crate) fn openers(&self) -> Vec<Marker> {
        match self {
            Self::DeepSeek(markup) => vec![markup.calls_begin.clone(), markup.call_begin.clone()],
            Self::Dsml(markup) => markup.open.to_vec(),
            Self::Hermes(markup) => vec![markup.open.clone()],
            Self::Llama => Vec::new(),
            Self::Mistral(markup) => vec![markup.open.clone()],
        }
    }

    /// A reader that begins at an opener, or at the answer's first brace.
    pub(crate) fn reader(&self) -> Box<dyn CallReader> {
        match self {
            Self::DeepSeek(markup) => Box::new(deepseek::Reader::new(Arc::clone(markup))),
            Self::Dsml(markup) => Box::new(dsml::Reader::new(Arc::clone(markup))),
            Self::Hermes(markup) => Box::new(hermes::Reader::new(Arc::clone(markup))),
            Self::Llama => Box::new(llama::Reader::new()),
            Self::Mistral(markup) => Box::new(mistral::Reader::new(Arc::clone(markup))),
        }
    }
}

/// The markers around reasoning.
#[derive(Debug, Clone)]
pub(crate) struct ReasoningMarkup {
    pub(crate) open: Marker,
    pub(crate) close: Marker,
    /// As a caller may have them in a message.
    pub(crate) texts: [&'static str; 2],
}

impl ReasoningMarkup {
    /// By what the template spells, or what the model has a token for.
    pub(crate) fn found(
        jinja: &str,
        tokens: &[AddedToken],
        alphabet: &mut Alphabet,
        literals: &Literals,
    ) -> Option<Self> {
        let is_known = |text: &str| jinja.contains(text) || tokens.iter().any(|token| token.literal == text);
        let texts = REASONING.into_iter().find(|[_, close]| is_known(close))?;
        let [open, close] = texts.map(|text| alphabet.marker(literals, text));
        Some(Self { open, close, texts })
    }
}
