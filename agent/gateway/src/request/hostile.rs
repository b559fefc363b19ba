//! Whatever stands in a field, reading it ends with a request or with an error that names a field.

use serde_json::{Value, json};

use super::Table;
use super::generation::GENERATION_FIELDS;
use crate::error::ApiError;
use crate::{chat, completions, embeddings, tokenize};

fn values() -> Vec<Value> {
    let deep = (0..100).fold(Value::Null, |inner, _| json!([inner]));
    let wide = json!(vec![json!({"type": "function"}); 500]);
    let mut values = vec![
        json!(true),
        json!(0),
        json!(-1),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e308),
        json!(-1e308),
        json!(5e-324),
        json!(1e39),
        json!(""),
        json!("\0"),
        json!("\u{10ffff}"),
        json!("x".repeat(1 << 12)),
        json!([]),
        json!([null]),
        json!([[]]),
        json!([[[]]]),
        json!([1, "a", null, {}]),
        json!({}),
        json!({"": ""}),
        json!({"type": {"type": []}}),
        json!({"type": "function", "function": {"name": "f", "parameters": {"$ref": "#"}}}),
        deep,
        wide,
    ];
    values.extend(
        values.clone().into_iter().map(|value| json!({"type": value, "json": value, "4294967296": value})),
    );
    values
}

fn assert_total<R: Default>(table: &Table<R>, base: &Value) {
    let own = table.own.iter().map(|field| field.name);
    let shared = GENERATION_FIELDS.iter().filter(|_| table.generation.is_some()).map(|field| field.name);
    for name in own.chain(shared) {
        for value in values() {
            let mut body = base.clone();
            body[name] = value;
            match table.parse(body.to_string().as_bytes()) {
                Ok(_) => {}
                Err(ApiError::Field(error)) => assert!(!error.param.is_empty() && error.param.len() < 1000),
                Err(other) => panic!("{name}: {other}"),
            }
        }
    }
}

#[test]
fn each_field_of_each_route_may_hold_anything() {
    let messages = json!([{"role": "user", "content": "hi"}]);
    assert_total(&chat::fields::TABLE, &json!({"model": "m", "messages": messages}));
    assert_total(&completions::fields::TABLE, &json!({"model": "m", "prompt": "p"}));
    assert_total(&embeddings::TABLE, &json!({"model": "m", "input": "i"}));
    assert_total(&tokenize::TOKENIZE, &json!({"model": "m", "prompt": "p"}));
    assert_total(&tokenize::DETOKENIZE, &json!({"model": "m", "tokens": [1]}));
}
