//! Templates of the folder beside, and pieces in a form that is easy to compare.

use nabi_domain::{AddedToken, ChatTemplate, Piece};
use nabi_prompt::{Chat, Template};
use serde_json::Value;

/// The literals of `tokens`, numbered from 0.
pub(crate) struct Model {
    tokens: Vec<AddedToken>,
    template: Template,
}

impl Model {
    pub(crate) fn new(jinja: &str, [bos, eos]: [&str; 2], literals: &[&str]) -> Self {
        let token = |(id, literal): (usize, &&str)| AddedToken {
            id: id as u32,
            literal: (*literal).to_owned(),
            special: true,
        };
        let tokens: Vec<_> = literals.iter().enumerate().map(token).collect();
        let template =
            ChatTemplate { jinja: jinja.to_owned(), bos_token: bos.to_owned(), eos_token: eos.to_owned() };
        let template = Template::compile(&template, &tokens).expect("a good template");
        Self { tokens, template }
    }

    pub(crate) fn pieces(&self, chat: &Chat) -> Vec<Piece> {
        self.template.render(chat).expect("a good chat")
    }

    /// Tokens by their literals.
    pub(crate) fn tokens(&self, chat: &Chat) -> Vec<&str> {
        let literal = |piece| match piece {
            Piece::Token(id) => Some(self.tokens[id as usize].literal.as_str()),
            Piece::Text(_) => None,
        };
        self.pieces(chat).into_iter().filter_map(literal).collect()
    }

    /// The prompt as one text, as `transformers` gives it.
    pub(crate) fn text(&self, chat: &Chat) -> String {
        let text = |piece| match piece {
            Piece::Token(id) => self.tokens[id as usize].literal.clone(),
            Piece::Text(text) => text,
        };
        self.pieces(chat).into_iter().map(text).collect()
    }

    pub(crate) fn template(&self) -> &Template {
        &self.template
    }
}

/// A chat of these messages that asks for an answer.
pub(crate) fn chat(messages: Value) -> Chat {
    let Value::Array(messages) = messages else { panic!("messages are a list") };
    Chat {
        messages,
        add_generation_prompt: true,
        now: jiff::civil::date(2026, 2, 3).at(4, 5, 6, 0),
        ..Chat::default()
    }
}
