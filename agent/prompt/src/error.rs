//! Why a template cannot be used, and why a chat cannot become a prompt.

use crate::{
    CHAT_DEPTH_MAX, CHAT_MESSAGES_MAX, PROMPT_CHARS_MAX, RENDER_FUEL_MAX, TEMPLATE_BYTES_MAX,
    TEMPLATE_SPELLINGS_MAX,
};

/// Why a model's chat template cannot be used. Nothing that a caller sends can help it.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// Larger than [`TEMPLATE_BYTES_MAX`].
    #[error("the chat template has {bytes} bytes, at most {TEMPLATE_BYTES_MAX} are allowed")]
    TooLarge {
        /// Size of the template.
        bytes: usize,
    },
    /// More than [`TEMPLATE_SPELLINGS_MAX`] different texts, constants and names.
    #[error(
        "the chat template spells {spellings} different texts, at most {TEMPLATE_SPELLINGS_MAX} are allowed"
    )]
    TooManySpellings {
        /// How many there are.
        spellings: usize,
    },
    /// Not Jinja, or Jinja that is not supported.
    #[error("the chat template is wrong in line {line}: {detail}; give the model another template")]
    Syntax {
        /// Line within the template, from 1.
        line: usize,
        /// What is wrong there.
        detail: String,
    },
    /// The template has a character of planes 11 or 12, which mark callers' text.
    #[error("the chat template holds {character:?}, a code point that Unicode assigns to no character")]
    ReservedCharacter {
        /// The character.
        character: char,
    },
    /// An added token's literal has a character that cannot be told from a caller's.
    #[error("the added token {id} is written {literal:?}, with a character beyond U+1FFFF")]
    Literal {
        /// The token's id.
        id: u32,
        /// Its literal.
        literal: String,
    },
    /// The literals do not fit a search automaton.
    #[error("the model's {tokens} added tokens are too many to search for")]
    TooManyLiterals {
        /// How many there are.
        tokens: usize,
        /// What the automaton's builder says.
        source: aho_corasick::BuildError,
    },
}

/// Why a chat cannot become a prompt. Another chat may well become one: answer 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The template refuses the chat (`raise_exception`).
    #[error("the model's chat template refuses these messages: {message}")]
    Refused {
        /// What the template says.
        message: String,
    },
    /// The chat has tools, and the template shows none to the model.
    #[error("the model's chat template has no place for tools; leave `tools` out")]
    NoTools,
    /// A string of the chat has a character that marks callers' text.
    #[error("{character:?} in a message is a code point that Unicode assigns to no character; leave it out")]
    ReservedCharacter {
        /// The character.
        character: char,
    },
    /// More than [`CHAT_MESSAGES_MAX`] messages.
    #[error("the chat has {messages} messages, at most {CHAT_MESSAGES_MAX} are allowed")]
    TooManyMessages {
        /// How many there are.
        messages: usize,
    },
    /// Lists and objects nested deeper than [`CHAT_DEPTH_MAX`].
    #[error("a message or tool is nested deeper than {CHAT_DEPTH_MAX} levels")]
    TooDeep,
    /// The prompt is longer than [`PROMPT_CHARS_MAX`].
    #[error("the prompt would be longer than {PROMPT_CHARS_MAX} characters; send a shorter chat")]
    TooLong,
    /// The template did more work than [`RENDER_FUEL_MAX`] allows.
    #[error("making the prompt takes more than {RENDER_FUEL_MAX} steps; send a shorter chat")]
    OutOfFuel,
    /// The template fails on this chat: a missing field, a wrong type.
    #[error("the model's chat template cannot make a prompt of this chat (its line {line}): {detail}")]
    Failed {
        /// Line within the template, from 1; 0 where it is not known.
        line: usize,
        /// What Jinja says.
        detail: String,
    },
}
