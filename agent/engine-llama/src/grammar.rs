//! Grammars that answers must match, by llguidance.

mod limits;
mod matcher;
mod shape;
#[cfg(test)]
pub(crate) mod tests;
mod vocabulary;

use std::{io, thread};

use llguidance::ParserFactory;
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::InferenceCapabilities;
use nabi_wire::engine::{GRAMMAR_BYTES_MAX, Grammar};
use serde_json::{Value, json};

pub use self::matcher::{GrammarError, Mask, Matcher};
use self::vocabulary::prepare;
pub use self::vocabulary::{GrammarToken, VocabularyError};

/// Between the parts of JSON. Limited, for there are models that like spaces for ever.
const JSON_SPACE: &str = r"[ \t\r\n]{1,32}";

/// Tokens of such text are looked at once, beforehand, rather than at each place that allows them
/// all, as a JSON string does. More such sets would cost more time and memory than they save.
const PLAIN_TEXT: &str = r#"[^"\\\x00-\x1F\x7F]+"#;

/// Only what is used of it is taken.
const COMPILE_STACK_BYTES: usize = 512 << 20;

/// Compiles grammars for one model's vocabulary.
pub struct Grammars {
    factory: ParserFactory,
    has_end: bool,
}

impl Grammars {
    /// Takes the vocabulary's tokens in the order of their ids, and those that end an answer.
    pub fn new<'a>(
        tokens: impl Iterator<Item = GrammarToken<'a>>,
        ends: &[u32],
    ) -> Result<Self, VocabularyError> {
        let tokens = prepare(tokens, ends)?;
        let unprepared = |error: anyhow::Error| VocabularyError::Unprepared { what: error.to_string() };
        let mut factory = ParserFactory::new(&tokens, InferenceCapabilities::default(), &[PLAIN_TEXT.into()])
            .map_err(unprepared)?;
        factory.quiet();
        *factory.limits_mut() = limits::limits();
        Ok(Self { factory, has_end: !ends.is_empty() })
    }

    /// Makes a grammar ready. It may take a second: not on the step thread.
    pub fn compile(&self, grammar: &Grammar) -> Result<Matcher, GrammarError> {
        let refuse = |what: String| Err(GrammarError { what });
        if !self.has_end {
            return refuse("this model has no end token, so that no answer could be whole".into());
        }
        let grammar = top_level(grammar)?;
        // Definitions may refer to each other as deep as their text is long.
        let builder = thread::Builder::new().name("grammar".into()).stack_size(COMPILE_STACK_BYTES);
        let compiled = thread::scope(|scope| {
            let thread = builder.spawn_scoped(scope, || self.first_matcher(grammar))?;
            Ok(thread.join().unwrap_or_else(|_| refuse("llguidance failed at it".into())))
        });
        compiled
            .unwrap_or_else(|error: io::Error| refuse(format!("no thread could be started for it: {error}")))
    }

    /// At its beginning. That an answer can begin was seen: most grammars that are too complex show
    /// it then, and the step thread need not find out.
    fn first_matcher(&self, grammar: TopLevelGrammar) -> Result<Matcher, GrammarError> {
        let mut matcher = Matcher::new(self.factory.create_parser(grammar)?);
        let first = matcher.mask()?.first();
        let mut trial = matcher.clone();
        first.map_or(Ok(()), |token| trial.accept(token))?;
        Ok(matcher)
    }
}

/// Refuses what is too large, or would take too long.
fn top_level(grammar: &Grammar) -> Result<TopLevelGrammar, GrammarError> {
    let (Grammar::JsonSchema(text) | Grammar::Regex(text) | Grammar::Lark(text)) = grammar else {
        return Ok(json_schema(json!({"type": "object"})));
    };
    if text.len() > GRAMMAR_BYTES_MAX {
        let what = format!("it has {} bytes, more than {GRAMMAR_BYTES_MAX}", text.len());
        return Err(GrammarError { what });
    }
    match grammar {
        Grammar::JsonSchema(text) => {
            let no_json = |error| GrammarError { what: format!("the schema is not JSON: {error}") };
            let schema = serde_json::from_str(text).map_err(no_json)?;
            shape::check_schema(&schema)?;
            Ok(json_schema(schema))
        }
        Grammar::Lark(text) => {
            shape::check_lark(text)?;
            Ok(TopLevelGrammar::from_lark(text.clone()))
        }
        _ => {
            shape::check_regex(text)?;
            Ok(TopLevelGrammar::from_regex(text))
        }
    }
}

fn json_schema(mut schema: Value) -> TopLevelGrammar {
    if let Some(schema) = schema.as_object_mut() {
        // llguidance's place for its options. It cannot see to it that of several schemas only one
        // accepts: oneOf is taken as anyOf.
        let options = json!({"whitespace_pattern": JSON_SPACE, "coerce_one_of": true});
        schema.insert("x-guidance".into(), options);
    }
    TopLevelGrammar::from_json_schema(schema)
}
