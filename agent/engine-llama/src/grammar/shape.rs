//! Grammars that llguidance would compile for ever, told by their form.
//!
//! llguidance limits its work, but looks at the limit between steps, and some steps have none:
//! one is exponential, whether texts exist that match *several* expressions at once (alternatives
//! are multiplied there, so what counts is the product over all expressions that may come
//! together); one takes the square of an expression's alternatives; one the cube of its depth.

use std::collections::BTreeMap;

use serde_json::Value;

use super::GrammarError;

/// Alternatives of all expressions together: choices, and what may be left out or repeated.
const ALTERNATIVES_MAX: u64 = 4000;
/// Combinations of alternatives of expressions that must match together.
const COMBINATIONS_MAX: u64 = 1 << 16;
/// Different expressions for names of properties: each is compared with each other.
const PROPERTY_PATTERNS_MAX: usize = 16;
/// Intersections (`&`) in a Lark grammar.
const INTERSECTIONS_MAX: usize = 1;
/// Bytes of a Lark grammar that has intersections.
const INTERSECTED_BYTES_MAX: usize = 4 << 10;
/// Colons in a Lark grammar, outside its schemas: terminals that are defined by each other take
/// time by the cube of their number.
const DEFINITIONS_MAX: usize = 1000;
/// Alternatives of a `format`, roughly.
const FORMAT_ALTERNATIVES: u64 = 4;

/// What in a schema may come together.
#[derive(Default)]
struct Shape {
    /// Expressions with their alternatives.
    expressions: BTreeMap<String, u64>,
    property_patterns: usize,
    /// Places where schemas are merged, as often as they merge.
    merges: usize,
    /// Product of the numbers of alternatives of schemas that are merged.
    choices: u64,
}

/// Refuses a schema that may take exponential time.
pub(super) fn check_schema(schema: &Value) -> Result<(), GrammarError> {
    let mut shape = Shape { choices: 1, ..Shape::default() };
    shape.add(schema);
    if shape.property_patterns > PROPERTY_PATTERNS_MAX {
        let what = format!("it has more than {PROPERTY_PATTERNS_MAX} patternProperties");
        return Err(GrammarError { what });
    }
    check_alternatives(shape.expressions.values().sum())?;
    let mut alternatives: Vec<u64> = shape.expressions.into_values().collect();
    alternatives.sort_unstable_by(|a, b| b.cmp(a));
    // Two can always come together: a pattern and a format.
    let together = alternatives.iter().take(shape.merges + 2);
    let combinations = together.fold(shape.choices, |product, &one| product.saturating_mul(one));
    if combinations > COMBINATIONS_MAX {
        let what = "too many patterns, formats or alternatives might have to match together: \
                    use fewer of them, or no allOf";
        return Err(GrammarError { what: what.into() });
    }
    Ok(())
}

/// Refuses a regular expression that may take too long.
pub(super) fn check_regex(text: &str) -> Result<(), GrammarError> {
    check_alternatives(alternatives(text))
}

/// Refuses a Lark grammar that may take exponential time, by itself or by a schema in it.
pub(super) fn check_lark(text: &str) -> Result<(), GrammarError> {
    let count = |text: &str, sign| text.matches(sign).count();
    let (mut intersections, mut colons) = (count(text, '&'), count(text, ':'));
    let mut all = alternatives(text);
    for (at, directive) in text.match_indices("%json") {
        let after = &text[at + directive.len()..];
        let mut values = serde_json::Deserializer::from_str(after).into_iter::<Value>();
        // What is no JSON is not in place of a schema either, or llguidance refuses it.
        if let Some(Ok(schema)) = values.next() {
            check_schema(&schema)?;
            let json = &after[..values.byte_offset()];
            intersections -= count(json, '&');
            colons -= count(json, ':');
            all -= alternatives(json);
        }
    }
    if intersections > 0 && (intersections > INTERSECTIONS_MAX || text.len() > INTERSECTED_BYTES_MAX) {
        let what = format!(
            "it has {intersections} times &: one is allowed, in a grammar of at most {INTERSECTED_BYTES_MAX} bytes"
        );
        return Err(GrammarError { what });
    }
    if colons > DEFINITIONS_MAX {
        return Err(GrammarError { what: format!("it has more than {DEFINITIONS_MAX} definitions") });
    }
    check_alternatives(all)
}

fn alternatives(expression: &str) -> u64 {
    expression.matches(['|', '*', '+', '?', '{']).count() as u64
}

fn check_alternatives(alternatives: u64) -> Result<(), GrammarError> {
    if alternatives > ALTERNATIVES_MAX {
        let what = format!(
            "it has {alternatives} alternatives and repetitions, more than {ALTERNATIVES_MAX}: \
             a JSON schema's enum may have more"
        );
        return Err(GrammarError { what });
    }
    Ok(())
}

impl Shape {
    fn add(&mut self, schema: &Value) {
        match schema {
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::Object(members) => {
                for (key, value) in members {
                    self.add_member(key, value);
                    self.add(value);
                }
                if members.contains_key("$ref") && members.len() > 1 {
                    self.merges += 1;
                }
            }
            _ => {}
        }
    }

    fn add_member(&mut self, key: &str, value: &Value) {
        match (key, value) {
            ("pattern", Value::String(pattern)) => self.add_pattern(pattern),
            ("format", Value::String(format)) => {
                self.expressions.insert(format!("format {format}"), FORMAT_ALTERNATIVES);
            }
            ("patternProperties", Value::Object(patterns)) => {
                self.property_patterns += patterns.len();
                patterns.keys().for_each(|pattern| self.add_pattern(pattern));
            }
            ("allOf", Value::Array(schemas)) => {
                self.merges += schemas.len();
                for schema in schemas {
                    let alternatives =
                        ["anyOf", "oneOf"].iter().filter_map(|key| schema.get(key)?.as_array());
                    let product = alternatives.map(|all| all.len().max(1) as u64).product();
                    self.choices = self.choices.saturating_mul(product);
                }
            }
            _ => {}
        }
    }

    fn add_pattern(&mut self, pattern: &str) {
        // One that it begins anywhere, where it is not tied to the text's beginning.
        self.expressions.insert(pattern.to_owned(), 2 + alternatives(pattern));
    }
}
