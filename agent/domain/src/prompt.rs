//! A prompt as it crosses the engine wire, and what is needed to make one.

use serde::{Deserialize, Serialize};

/// One part of a prompt. Only [`Piece::Token`] can become a control token: engines encode
/// [`Piece::Text`] with no added token recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Piece {
    /// A token of the vocabulary, by its id.
    Token(u32),
    /// Ordinary text.
    Text(String),
}

/// A token that a tokenizer matches as a whole before anything else: control tokens and
/// the markers for roles, tools and reasoning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedToken {
    /// Its id in the vocabulary.
    pub id: u32,
    /// The text that stands for it in templates.
    pub literal: String,
    /// A control token, which is never part of an answer's text. Others are text with a meaning,
    /// as `<think>` is in most models.
    pub special: bool,
}

/// How a model's prompts are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatTemplate {
    /// Jinja, as published with the model (`tokenizer.chat_template` in GGUF).
    pub jinja: String,
    /// The text of the beginning-of-sequence token, given to the template as `bos_token`.
    pub bos_token: String,
    /// The text of the end-of-sequence token, given to the template as `eos_token`.
    pub eos_token: String,
}
