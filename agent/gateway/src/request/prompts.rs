//! Prompts that are no chats: texts and lists of tokens, one or many.

use nabi_domain::Piece;
use nabi_wire::engine::ModelCard;
use serde_json::Value;

use super::place::Place;
use crate::error::FieldError;

/// Tokens of one prompt. No context is larger.
const PROMPT_TOKENS_MAX: usize = 1 << 22;

/// JSON schema of [`read`]'s values.
pub(crate) const PROMPTS_SCHEMA: &str = r#"{"anyOf": [
    {"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1},
    {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 4294967295}, "minItems": 1},
    {"type": "array", "items": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 4294967295}}, "minItems": 1}]}"#;

/// One prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// In which nothing is a control token.
    Text(String),
    /// Already made into tokens; nothing is added.
    Tokens(Vec<u32>),
}

impl Prompt {
    /// The prompt as engines take it; a text begins as the model's tokenizer asks for, if `marked`.
    pub(crate) fn pieces(&self, card: &ModelCard, marked: bool) -> Vec<Piece> {
        match self {
            Self::Text(text) => {
                let begin = card.bos.filter(|_| marked).map(Piece::Token);
                let text = (!text.is_empty()).then(|| Piece::Text(text.clone()));
                begin.into_iter().chain(text).collect()
            }
            Self::Tokens(tokens) => tokens.iter().copied().map(Piece::Token).collect(),
        }
    }

    /// Whether it has nothing.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Tokens(tokens) => tokens.is_empty(),
        }
    }

    /// Whether the vocabulary has all tokens; else the error that names the first that it lacks.
    pub(crate) fn check(&self, field: &'static str, card: &ModelCard) -> Result<(), FieldError> {
        match self {
            Self::Text(_) => Ok(()),
            Self::Tokens(tokens) => check_tokens(field, tokens.iter().copied(), card),
        }
    }
}

/// See [`Prompt::check`].
pub(crate) fn check_tokens(
    field: &'static str,
    mut tokens: impl Iterator<Item = u32>,
    card: &ModelCard,
) -> Result<(), FieldError> {
    let vocabulary = card.vocabulary_tokens;
    match tokens.find(|token| *token >= vocabulary) {
        Some(token) => Err(FieldError::invalid(
            field,
            format_args!("has the token {token}, but the model's vocabulary ends at {}", vocabulary - 1),
        )),
        None => Ok(()),
    }
}

/// A text, texts, tokens, or lists of tokens.
pub(crate) fn read(place: &Place<'_>, prompts_max: usize) -> Result<Vec<Prompt>, FieldError> {
    match place.value {
        Value::String(text) => Ok(vec![Prompt::Text(text.clone())]),
        Value::Array(items) if items.first().is_some_and(Value::is_number) => Ok(vec![tokens(place)?]),
        Value::Array(items) if items.is_empty() => Err(place.invalid("must not be empty")),
        Value::Array(_) => place.items(prompts_max)?.map(|item| one(&item)).collect(),
        _ => Err(place.wrong_type("a string or an array")),
    }
}

fn one(place: &Place<'_>) -> Result<Prompt, FieldError> {
    match place.value {
        Value::String(text) => Ok(Prompt::Text(text.clone())),
        Value::Array(_) => tokens(place),
        _ => Err(place.wrong_type("a string or an array of token ids")),
    }
}

fn tokens(place: &Place<'_>) -> Result<Prompt, FieldError> {
    Ok(Prompt::Tokens(token_ids(place)?))
}

/// A list of token ids.
pub(crate) fn token_ids(place: &Place<'_>) -> Result<Vec<u32>, FieldError> {
    let id = |item: Place<'_>| {
        let id = item.integer(0, i64::from(u32::MAX))?;
        Ok(u32::try_from(id).expect("within the range that was asked for"))
    };
    place.items(PROMPT_TOKENS_MAX)?.map(id).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::Code;

    fn prompts(value: &Value) -> Result<Vec<Prompt>, FieldError> {
        read(&Place::field("prompt", value), 3)
    }

    #[test]
    fn all_four_forms_are_read() {
        let text = |text: &str| Prompt::Text(text.into());
        let tokens = |tokens: &[u32]| Prompt::Tokens(tokens.into());
        for (value, expected) in [
            (json!("a"), vec![text("a")]),
            (json!(["a", ""]), vec![text("a"), text("")]),
            (json!([1, 2]), vec![tokens(&[1, 2])]),
            (json!([[1, 2], [3]]), vec![tokens(&[1, 2]), tokens(&[3])]),
        ] {
            assert_eq!(prompts(&value).expect("valid"), expected);
        }
        for (value, param, code) in [
            (json!(1), "prompt", Code::InvalidType),
            (json!([]), "prompt", Code::InvalidValue),
            (json!(["a", "b", "c", "d"]), "prompt", Code::InvalidValue),
            (json!([1, "a"]), "prompt[1]", Code::InvalidType),
            (json!([1, -1]), "prompt[1]", Code::InvalidValue),
            (json!([[1], [1.5]]), "prompt[1][0]", Code::InvalidType),
            (json!([{}]), "prompt[0]", Code::InvalidType),
        ] {
            let error = prompts(&value).expect_err("invalid");
            assert_eq!((error.param.as_str(), error.code), (param, code), "{value}");
        }
    }

    #[test]
    fn texts_begin_as_the_tokenizer_asks_and_tokens_stay_as_they_are() {
        let card = ModelCard { bos: Some(1), vocabulary_tokens: 10, ..nabi_stub_engine::card() };
        let text = Prompt::Text("a".into());
        assert_eq!(text.pieces(&card, true), [Piece::Token(1), Piece::Text("a".into())]);
        assert_eq!(text.pieces(&card, false), [Piece::Text("a".into())]);
        assert_eq!(Prompt::Tokens(vec![9]).pieces(&card, true), [Piece::Token(9)]);
        assert!(Prompt::Tokens(vec![9]).check("prompt", &card).is_ok());
        let error = Prompt::Tokens(vec![3, 10]).check("prompt", &card).expect_err("too large");
        assert!(error.message.contains("10") && error.message.contains("ends at 9"), "{}", error.message);
    }
}
