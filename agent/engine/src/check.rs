//! The numbers of requests. The gateway checks them too; an engine trusts no client. Pure.

use nabi_wire::engine::{
    CHOICES_MAX, Embed, GRAMMAR_BYTES_MAX, Generate, Grammar, LOGIT_BIAS_TOKENS_MAX, REPETITION_PENALTY_MAX,
    Refusal, STOP_STRING_BYTES_MAX, STOP_STRINGS_MAX, Sampling, Share, TOP_LOGPROBS_MAX, WEIGHT_MAX,
    embed_inputs_max,
};

/// A field, whether its rule holds, and the rule.
type Rule = (&'static str, bool, String);

fn all(rules: impl IntoIterator<Item = Rule>) -> Result<(), Refusal> {
    match rules.into_iter().find(|(_, holds, _)| !holds) {
        Some((field, _, range)) => Err(Refusal::OutOfRange { field: field.to_owned(), range }),
        None => Ok(()),
    }
}

pub(crate) fn share(share: Share) -> Result<(), Refusal> {
    all([("weight", (1..=WEIGHT_MAX).contains(&share.weight), format!("from 1 to {WEIGHT_MAX}"))])
}

pub(crate) fn generate(generate: &Generate, vocabulary_tokens: u32) -> Result<(), Refusal> {
    let stop_bytes = generate.stop.iter().map(String::len).max().unwrap_or(0);
    let top = generate.logprobs.max(generate.prompt_logprobs).unwrap_or(0);
    let grammar_bytes = match &generate.grammar {
        Some(Grammar::JsonSchema(text) | Grammar::Regex(text) | Grammar::Lark(text)) => text.len(),
        Some(Grammar::JsonObject) | None => 0,
    };
    let tokens_min = u32::from(generate.prompt_logprobs.is_none());
    all([
        ("choices", (1..=CHOICES_MAX).contains(&generate.choices), format!("from 1 to {CHOICES_MAX}")),
        ("tokens_max", generate.tokens_max.is_none_or(|max| max >= tokens_min), "at least 1".to_owned()),
        ("logprobs", top <= TOP_LOGPROBS_MAX, format!("at most {TOP_LOGPROBS_MAX}")),
        ("stop", generate.stop.len() <= STOP_STRINGS_MAX, format!("at most {STOP_STRINGS_MAX} strings")),
        (
            "stop",
            stop_bytes <= STOP_STRING_BYTES_MAX,
            format!("strings of at most {STOP_STRING_BYTES_MAX} bytes"),
        ),
        ("grammar", grammar_bytes <= GRAMMAR_BYTES_MAX, format!("at most {GRAMMAR_BYTES_MAX} bytes")),
    ])?;
    sampling(&generate.sampling)?;
    match generate.sampling.logit_bias.iter().find(|(token, _)| *token >= vocabulary_tokens) {
        Some(&(token_id, _)) => Err(Refusal::TokenUnknown { token_id, vocabulary_tokens }),
        None => Ok(()),
    }
}

fn sampling(sampling: &Sampling) -> Result<(), Refusal> {
    let penalty = |penalty: f32| (-2.0..=2.0).contains(&penalty);
    let bias = |&(_, bias): &(u32, f32)| bias.is_finite() || bias == f32::NEG_INFINITY;
    all([
        ("temperature", (0.0..=100.0).contains(&sampling.temperature), "from 0 to 100".to_owned()),
        ("top_p", sampling.top_p > 0.0 && sampling.top_p <= 1.0, "above 0 and at most 1".to_owned()),
        ("min_p", (0.0..=1.0).contains(&sampling.min_p), "from 0 to 1".to_owned()),
        ("presence_penalty", penalty(sampling.presence_penalty), "from -2 to 2".to_owned()),
        ("frequency_penalty", penalty(sampling.frequency_penalty), "from -2 to 2".to_owned()),
        (
            "repetition_penalty",
            sampling.repetition_penalty > 0.0 && sampling.repetition_penalty <= REPETITION_PENALTY_MAX,
            format!("above 0 and at most {REPETITION_PENALTY_MAX}"),
        ),
        (
            "logit_bias",
            sampling.logit_bias.len() <= LOGIT_BIAS_TOKENS_MAX,
            format!("at most {LOGIT_BIAS_TOKENS_MAX} tokens"),
        ),
        ("logit_bias", sampling.logit_bias.iter().all(bias), "numbers".to_owned()),
    ])
}

pub(crate) fn embed(embed: &Embed, embedding_numbers: u32) -> Result<(), Refusal> {
    let (inputs, inputs_max) = (embed.inputs.len(), embed_inputs_max(embedding_numbers));
    all([("inputs", (1..=inputs_max).contains(&inputs), format!("from 1 to {inputs_max} texts"))])
}

/// At least one token, and room for so many more.
pub(crate) fn prompt_tokens(tokens: usize, more: u32, context_tokens: u32) -> Result<(), Refusal> {
    let prompt_tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
    if prompt_tokens == 0 {
        Err(Refusal::PromptEmpty)
    } else if prompt_tokens.saturating_add(more) > context_tokens {
        Err(Refusal::PromptTooLong { prompt_tokens, context_tokens })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(change: impl FnOnce(&mut Generate)) -> Option<String> {
        let mut request = Generate::new(1, Vec::new());
        change(&mut request);
        match generate(&request, 100) {
            Ok(()) => None,
            Err(Refusal::OutOfRange { field, .. }) => Some(field),
            Err(Refusal::TokenUnknown { token_id, .. }) => Some(format!("token {token_id}")),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_within_its_range_passes() {
        assert_eq!(field(|_| {}), None);
        assert_eq!(
            field(|r| {
                r.choices = CHOICES_MAX;
                r.logprobs = Some(TOP_LOGPROBS_MAX);
                (r.prompt_logprobs, r.tokens_max) = (Some(0), Some(0));
                r.stop = vec!["x".repeat(STOP_STRING_BYTES_MAX); STOP_STRINGS_MAX];
                r.grammar = Some(Grammar::Regex("x".repeat(GRAMMAR_BYTES_MAX)));
                r.sampling.logit_bias = vec![(99, f32::NEG_INFINITY), (0, -3.5)];
                (r.sampling.presence_penalty, r.sampling.frequency_penalty) = (-2.0, 2.0);
            }),
            None
        );
    }

    #[test]
    fn what_is_not_is_refused_by_name() {
        type Change = fn(&mut Generate);
        let cases: [(&str, Change); 18] = [
            ("choices", |r| r.choices = 0),
            ("choices", |r| r.choices = CHOICES_MAX + 1),
            ("tokens_max", |r| r.tokens_max = Some(0)),
            ("logprobs", |r| r.logprobs = Some(TOP_LOGPROBS_MAX + 1)),
            ("logprobs", |r| r.prompt_logprobs = Some(255)),
            ("stop", |r| r.stop = vec![String::new(); STOP_STRINGS_MAX + 1]),
            ("stop", |r| r.stop = vec!["x".repeat(STOP_STRING_BYTES_MAX + 1)]),
            ("grammar", |r| r.grammar = Some(Grammar::Lark("x".repeat(GRAMMAR_BYTES_MAX + 1)))),
            ("temperature", |r| r.sampling.temperature = f32::NAN),
            ("temperature", |r| r.sampling.temperature = -0.1),
            ("top_p", |r| r.sampling.top_p = 0.0),
            ("min_p", |r| r.sampling.min_p = f32::INFINITY),
            ("presence_penalty", |r| r.sampling.presence_penalty = 2.1),
            ("frequency_penalty", |r| r.sampling.frequency_penalty = f32::NAN),
            ("repetition_penalty", |r| r.sampling.repetition_penalty = 0.0),
            ("logit_bias", |r| r.sampling.logit_bias = vec![(1, f32::INFINITY)]),
            ("logit_bias", |r| r.sampling.logit_bias = vec![(1, 0.0); LOGIT_BIAS_TOKENS_MAX + 1]),
            ("token 100", |r| r.sampling.logit_bias = vec![(100, 0.0)]),
        ];
        for (expected, change) in cases {
            assert_eq!(field(change).as_deref(), Some(expected));
        }
        for weight in [0, WEIGHT_MAX + 1] {
            assert!(share(Share { weight, ..Share::default() }).is_err());
        }
        assert_eq!(prompt_tokens(0, 1, 8), Err(Refusal::PromptEmpty));
        assert_eq!(
            prompt_tokens(8, 1, 8),
            Err(Refusal::PromptTooLong { prompt_tokens: 8, context_tokens: 8 })
        );
        assert_eq!(prompt_tokens(7, 1, 8), Ok(()));
        assert_eq!(prompt_tokens(8, 0, 8), Ok(()));
    }
}
