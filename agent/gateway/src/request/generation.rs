//! Fields that all routes share which generate text.

use nabi_wire::engine::{
    CHOICES_MAX, Generate, Grammar, LOGIT_BIAS_TOKENS_MAX, REPETITION_PENALTY_MAX, STOP_STRING_BYTES_MAX,
    STOP_STRINGS_MAX, Sampling,
};

use super::place::Place;
use super::{Field, grammar, honoured, ignored, neutral, only_false, only_true, refused};
use crate::error::FieldError;

/// OpenAI's largest bias. At its negative the token is forbidden.
const BIAS_MAX: f32 = 100.0;

/// What these fields ask for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Generation {
    pub(crate) model: String,
    pub(crate) stream: bool,
    pub(crate) has_stream_options: bool,
    pub(crate) include_usage: bool,
    /// Answers to each prompt.
    pub(crate) choices: u32,
    pub(crate) sampling: Sampling,
    pub(crate) stop: Vec<String>,
    pub(crate) tokens_max: Option<u32>,
    /// What the answer must match, and the field that says so.
    pub(crate) grammar: Option<(Grammar, &'static str)>,
}

impl Default for Generation {
    fn default() -> Self {
        Self {
            model: String::new(),
            stream: false,
            has_stream_options: false,
            include_usage: false,
            choices: 1,
            sampling: Sampling::default(),
            stop: Vec::new(),
            tokens_max: None,
            grammar: None,
        }
    }
}

impl Generation {
    /// What can be said only when all fields are known.
    pub(crate) fn check(&self) -> Result<(), FieldError> {
        if self.has_stream_options && !self.stream {
            return Err(FieldError::invalid("stream_options", "is allowed only when stream is true"));
        }
        Ok(())
    }

    /// Puts what was asked for into what an engine is asked.
    pub(crate) fn apply(&self, generate: &mut Generate) {
        generate.choices = self.choices;
        generate.sampling = self.sampling.clone();
        generate.stop = self.stop.clone();
        generate.tokens_max = self.tokens_max;
        generate.grammar = self.grammar.as_ref().map(|(grammar, _)| grammar.clone());
    }
}

/// Sampling as OpenAI and local engines name it.
pub(crate) const GENERATION_FIELDS: &[Field<Generation>] = &[
    honoured("model", r#"{"type": "string"}"#, |request, place| {
        request.model = place.string()?.to_owned();
        Ok(())
    }),
    honoured("stream", r#"{"type": "boolean"}"#, |request, place| {
        request.stream = place.boolean()?;
        Ok(())
    }),
    honoured(
        "stream_options",
        r#"{"type": "object", "properties": {"include_usage": {"type": ["boolean", "null"]}, "include_obfuscation": {"enum": [false, null]}, "continuous_usage_stats": {"enum": [false, null]}}, "additionalProperties": false}"#,
        stream_options,
    ),
    honoured("n", r#"{"type": "integer", "minimum": 1, "maximum": 16}"#, |request, place| {
        request.choices = natural(&place, 1, CHOICES_MAX)?;
        Ok(())
    }),
    honoured("temperature", r#"{"type": "number", "minimum": 0, "maximum": 2}"#, |request, place| {
        request.sampling.temperature = place.number(|t| (0.0..=2.0).contains(&t), "a number from 0 to 2")?;
        Ok(())
    }),
    honoured("top_p", r#"{"type": "number", "minimum": 0.000001, "maximum": 1}"#, |request, place| {
        let allowed = |p| (1e-6..=1.0).contains(&p);
        request.sampling.top_p = place.number(allowed, "a number from 0.000001 to 1")?;
        Ok(())
    }),
    honoured("top_k", r#"{"type": "integer", "minimum": -1, "maximum": 4294967295}"#, |request, place| {
        // −1 and 0 keep all tokens.
        let kept = place.integer(-1, i64::from(u32::MAX))?.max(0);
        request.sampling.top_k = u32::try_from(kept).expect("within the range that was asked for");
        Ok(())
    }),
    honoured("min_p", r#"{"type": "number", "minimum": 0, "maximum": 1}"#, |request, place| {
        request.sampling.min_p = place.number(|p| (0.0..=1.0).contains(&p), "a number from 0 to 1")?;
        Ok(())
    }),
    honoured("presence_penalty", r#"{"type": "number", "minimum": -2, "maximum": 2}"#, |request, place| {
        request.sampling.presence_penalty = penalty(&place)?;
        Ok(())
    }),
    honoured("frequency_penalty", r#"{"type": "number", "minimum": -2, "maximum": 2}"#, |request, place| {
        request.sampling.frequency_penalty = penalty(&place)?;
        Ok(())
    }),
    honoured(
        "repetition_penalty",
        r#"{"type": "number", "minimum": 0.01, "maximum": 100}"#,
        |request, place| {
            let allowed = |p| (0.01..=REPETITION_PENALTY_MAX).contains(&p);
            request.sampling.repetition_penalty = place.number(allowed, "a number from 0.01 to 100")?;
            Ok(())
        },
    ),
    honoured(
        "logit_bias",
        r#"{"type": "object", "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100}, "propertyNames": {"pattern": "^[0-9]{1,10}$"}, "maxProperties": 1024}"#,
        logit_bias,
    ),
    honoured("seed", r#"{"type": "integer"}"#, |request, place| {
        request.sampling.seed = Some(place.integer(i64::MIN, i64::MAX)?.cast_unsigned());
        Ok(())
    }),
    honoured(
        "stop",
        r#"{"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 16}]}"#,
        stop,
    ),
    honoured("response_format", grammar::RESPONSE_FORMAT_SCHEMA, grammar::response_format),
    honoured("structured_outputs", grammar::STRUCTURED_OUTPUTS_SCHEMA, grammar::structured_outputs),
    honoured("guided_json", r#"{"type": ["object", "boolean", "string"]}"#, grammar::guided_json),
    honoured("guided_regex", r#"{"type": "string", "minLength": 1}"#, grammar::guided_regex),
    honoured(
        "guided_choice",
        r#"{"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "maxItems": 1024}"#,
        grammar::guided_choice,
    ),
    honoured("guided_grammar", r#"{"type": "string", "minLength": 1}"#, grammar::guided_grammar),
    ignored("user"),
    ignored("service_tier"),
    ignored("priority"),
    ignored("request_id"),
    ignored("guided_decoding_backend"),
    neutral("min_tokens", r#"{"const": 0}"#, |value| value == 0, "send 0"),
    neutral("length_penalty", r#"{"const": 1}"#, |value| value.as_f64() == Some(1.0), "send 1"),
    neutral("bad_words", r#"{"const": []}"#, is_empty_list, "send []"),
    neutral("stop_token_ids", r#"{"const": []}"#, is_empty_list, "send [], and name texts in stop"),
    only_false("use_beam_search"),
    only_false("ignore_eos"),
    only_false("include_stop_str_in_output"),
    only_false("return_token_ids"),
    only_false("return_tokens_as_token_ids"),
    only_true("skip_special_tokens"),
    only_true("spaces_between_special_tokens"),
    refused("truncate_prompt_tokens"),
    refused("allowed_token_ids"),
    refused("logits_processors"),
    refused("guided_whitespace_pattern"),
];

fn is_empty_list(value: &serde_json::Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

/// A whole number of at least `min` and at most `max`.
pub(crate) fn natural(place: &Place<'_>, min: u32, max: u32) -> Result<u32, FieldError> {
    let integer = place.integer(i64::from(min), i64::from(max))?;
    Ok(u32::try_from(integer).expect("within the range that was asked for"))
}

fn penalty(place: &Place<'_>) -> Result<f32, FieldError> {
    place.number(|p| (-2.0..=2.0).contains(&p), "a number from -2 to 2")
}

fn stream_options(request: &mut Generation, place: Place<'_>) -> Result<(), FieldError> {
    for (name, option) in place.fields()? {
        match name {
            "include_usage" => request.include_usage = option.boolean()?,
            "include_obfuscation" | "continuous_usage_stats" if option.value == false => {}
            "include_obfuscation" | "continuous_usage_stats" => return Err(option.unsupported("send false")),
            _ => return Err(option.unknown()),
        }
    }
    request.has_stream_options = true;
    Ok(())
}

fn logit_bias(request: &mut Generation, place: Place<'_>) -> Result<(), FieldError> {
    let mut biases = Vec::new();
    for (name, bias) in place.fields()? {
        if biases.len() == LOGIT_BIAS_TOKENS_MAX {
            return Err(place.invalid(format_args!("has more than {LOGIT_BIAS_TOKENS_MAX} tokens")));
        }
        let digits = name.bytes().all(|byte| byte.is_ascii_digit());
        let token = name.parse::<u32>().ok().filter(|_| digits);
        let token = token.ok_or_else(|| bias.invalid("is named by no token id: send digits"))?;
        let value = bias.number(|b| (-BIAS_MAX..=BIAS_MAX).contains(&b), "a number from -100 to 100")?;
        biases.push((token, if value == -BIAS_MAX { f32::NEG_INFINITY } else { value }));
    }
    request.sampling.logit_bias = biases;
    Ok(())
}

fn stop(request: &mut Generation, place: Place<'_>) -> Result<(), FieldError> {
    let read = |place: &Place<'_>| {
        let text = place.string()?;
        if text.is_empty() || text.len() > STOP_STRING_BYTES_MAX {
            return Err(place.invalid(format_args!("must have from 1 to {STOP_STRING_BYTES_MAX} bytes")));
        }
        Ok(text.to_owned())
    };
    request.stop = if place.value.is_string() {
        vec![read(&place)?]
    } else {
        place.items(STOP_STRINGS_MAX)?.map(|item| read(&item)).collect::<Result<_, _>>()?
    };
    Ok(())
}
