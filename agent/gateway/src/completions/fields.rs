//! The fields of a completion request.

use nabi_wire::engine::TOP_LOGPROBS_MAX;

use crate::error::FieldError;
use crate::request::generation::{Generation, natural};
use crate::request::prompts::{self, PROMPTS_SCHEMA, Prompt};
use crate::request::{Field, Table, honoured, ignored, neutral, only_false, refused};

/// Prompts of one request.
pub(crate) const PROMPTS_MAX: usize = 256;
/// OpenAI's, and what its users count on.
const TOKENS_MAX_DEFAULT: u32 = 16;

/// What a caller asks for.
#[derive(Debug)]
pub(crate) struct CompletionRequest {
    pub(crate) generation: Generation,
    pub(crate) prompts: Vec<Prompt>,
    /// The text after the gap that the answer fills.
    pub(crate) suffix: Option<String>,
    /// Whether the answer begins with the prompt.
    pub(crate) echo: bool,
    pub(crate) logprobs: Option<u8>,
    pub(crate) prompt_logprobs: Option<u8>,
    /// Whether texts begin as the model's tokenizer asks for.
    pub(crate) is_marked: bool,
    pub(crate) best_of: Option<u32>,
}

impl Default for CompletionRequest {
    fn default() -> Self {
        Self {
            generation: Generation { tokens_max: Some(TOKENS_MAX_DEFAULT), ..Generation::default() },
            prompts: Vec::new(),
            suffix: None,
            echo: false,
            logprobs: None,
            prompt_logprobs: None,
            is_marked: true,
            best_of: None,
        }
    }
}

/// All fields of a completion request.
pub(crate) const TABLE: Table<CompletionRequest> = Table {
    own: FIELDS,
    generation: Some(|request| &mut request.generation),
    required: &["model", "prompt"],
    one_of_required: &[],
    finish,
};

const TOP_SCHEMA: &str = r#"{"type": "integer", "minimum": 0, "maximum": 20}"#;

const FIELDS: &[Field<CompletionRequest>] = &[
    honoured("prompt", PROMPTS_SCHEMA, |request, place| {
        request.prompts = prompts::read(&place, PROMPTS_MAX)?;
        Ok(())
    }),
    honoured("suffix", r#"{"type": "string"}"#, |request, place| {
        request.suffix = Some(place.string()?.to_owned()).filter(|suffix| !suffix.is_empty());
        Ok(())
    }),
    honoured(
        "max_tokens",
        r#"{"type": "integer", "minimum": 0, "maximum": 4294967295}"#,
        |request, place| {
            request.generation.tokens_max = Some(natural(&place, 0, u32::MAX)?);
            Ok(())
        },
    ),
    honoured("echo", r#"{"type": "boolean"}"#, |request, place| {
        request.echo = place.boolean()?;
        Ok(())
    }),
    honoured("logprobs", TOP_SCHEMA, |request, place| {
        request.logprobs = Some(natural(&place, 0, u32::from(TOP_LOGPROBS_MAX))? as u8);
        Ok(())
    }),
    honoured("prompt_logprobs", TOP_SCHEMA, |request, place| {
        request.prompt_logprobs = Some(natural(&place, 0, u32::from(TOP_LOGPROBS_MAX))? as u8);
        Ok(())
    }),
    honoured("add_special_tokens", r#"{"type": "boolean"}"#, |request, place| {
        request.is_marked = place.boolean()?;
        Ok(())
    }),
    honoured("best_of", r#"{"type": "integer", "minimum": 1, "maximum": 16}"#, |request, place| {
        request.best_of = Some(natural(&place, 1, nabi_wire::engine::CHOICES_MAX)?);
        Ok(())
    }),
    ignored("metadata"),
    only_false("store"),
    neutral(
        "prompt_embeds",
        r#"{"const": []}"#,
        |value| value.as_array().is_some_and(Vec::is_empty),
        "send []",
    ),
    refused("max_completion_tokens"),
    refused("messages"),
    refused("tools"),
    refused("top_logprobs"),
];

fn finish(request: &mut CompletionRequest) -> Result<(), FieldError> {
    request.generation.check()?;
    let choices = request.generation.choices;
    if request.best_of.is_some_and(|best_of| best_of != choices) {
        return Err(FieldError::invalid("best_of", format_args!("must be equal to n, which is {choices}")));
    }
    let wants_prompt = request.echo || request.prompt_logprobs.is_some();
    if request.generation.tokens_max == Some(0) && !wants_prompt {
        return Err(FieldError::invalid("max_tokens", "must be at least 1, unless echo is true"));
    }
    if request.suffix.is_some() && request.echo {
        return Err(FieldError::invalid("echo", "cannot be combined with 'suffix'"));
    }
    let is_tokens = |prompt: &Prompt| matches!(prompt, Prompt::Tokens(_));
    if request.suffix.is_some() && request.prompts.iter().any(is_tokens) {
        return Err(FieldError::invalid("suffix", "is allowed only with a prompt that is text"));
    }
    Ok(())
}

impl CompletionRequest {
    /// Log-probabilities of the prompt that the engine must give, since they, or only the texts of
    /// the prompt's tokens, are part of the answer.
    pub(crate) fn engine_prompt_logprobs(&self, prompt: &Prompt) -> Option<u8> {
        let echoed = match (self.echo, prompt) {
            (true, Prompt::Tokens(_)) => Some(self.logprobs.unwrap_or(0)),
            (true, Prompt::Text(_)) => self.logprobs,
            (false, _) => None,
        };
        echoed.max(self.prompt_logprobs)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::error::{ApiError, Code};

    fn parse(fields: Value) -> Result<CompletionRequest, ApiError> {
        let mut body = json!({"model": "m", "prompt": "p"});
        for (name, value) in fields.as_object().expect("an object") {
            body[name] = value.clone();
        }
        Ok(TABLE.parse(body.to_string().as_bytes())?.request)
    }

    #[test]
    fn the_answer_has_16_tokens_unless_it_is_said() {
        assert_eq!(parse(json!({})).expect("valid").generation.tokens_max, Some(16));
        assert_eq!(parse(json!({"max_tokens": 3})).expect("valid").generation.tokens_max, Some(3));
        assert_eq!(
            parse(json!({"max_tokens": 0, "echo": true})).expect("valid").generation.tokens_max,
            Some(0)
        );
    }

    #[test]
    fn the_engine_scores_the_prompt_only_where_that_is_shown() {
        let asked = |fields, prompt: &Prompt| parse(fields).expect("valid").engine_prompt_logprobs(prompt);
        let (text, tokens) = (Prompt::Text("p".into()), Prompt::Tokens(vec![1]));
        assert_eq!(asked(json!({"logprobs": 3}), &text), None);
        assert_eq!(asked(json!({"echo": true}), &text), None);
        assert_eq!(asked(json!({"echo": true}), &tokens), Some(0));
        assert_eq!(asked(json!({"echo": true, "logprobs": 3}), &text), Some(3));
        assert_eq!(asked(json!({"echo": true, "logprobs": 3, "prompt_logprobs": 5}), &text), Some(5));
        assert_eq!(asked(json!({"prompt_logprobs": 0}), &text), Some(0));
    }

    #[test]
    fn what_cannot_be_is_refused_at_its_place() {
        for (fields, param, code) in [
            (json!({"prompt": null}), "prompt", Code::MissingParameter),
            (json!({"prompt": []}), "prompt", Code::InvalidValue),
            (json!({"best_of": 2}), "best_of", Code::InvalidValue),
            (json!({"max_tokens": 0}), "max_tokens", Code::InvalidValue),
            (json!({"suffix": "x", "echo": true}), "echo", Code::InvalidValue),
            (json!({"suffix": "x", "prompt": [1]}), "suffix", Code::InvalidValue),
            (json!({"logprobs": 21}), "logprobs", Code::InvalidValue),
            (json!({"logprobs": true}), "logprobs", Code::InvalidType),
            (json!({"messages": []}), "messages", Code::UnsupportedParameter),
            (json!({"stream_options": {"include_usage": true}}), "stream_options", Code::InvalidValue),
        ] {
            match parse(fields.clone()) {
                Err(ApiError::Field(error)) => {
                    assert_eq!((error.param.as_str(), error.code), (param, code), "{fields}");
                }
                other => panic!("{fields} gave {other:?}"),
            }
        }
        assert_eq!(parse(json!({"best_of": 2, "n": 2})).expect("valid").generation.choices, 2);
    }
}
