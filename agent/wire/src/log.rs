//! What processes write to standard error: one JSON object a line, and what others (llama.cpp, the
//! reason of a refusal) write as they like.

use serde_json::{Map, Value};

/// A line as a person reads it: time, level, message, `key=value`. One that is not ours is as it was.
pub fn readable(line: &str) -> String {
    let Some(mut fields) = ours(line) else { return line.to_owned() };
    let mut text = String::new();
    for name in ["timestamp", "level", "message"] {
        let Some(value) = fields.shift_remove(name) else { continue };
        if !text.is_empty() {
            text.push(' ');
        }
        text += &plain(&value);
    }
    fields.shift_remove("target");
    text + &rest(&fields)
}

/// What a line says, without when and how urgently.
pub fn message(line: &str) -> String {
    let Some(mut fields) = ours(line) else { return line.to_owned() };
    let message = fields.shift_remove("message").map(|message| plain(&message)).unwrap_or_default();
    for name in ["timestamp", "level", "target"] {
        fields.shift_remove(name);
    }
    message + &rest(&fields)
}

fn ours(line: &str) -> Option<Map<String, Value>> {
    match serde_json::from_str(line).ok()? {
        Value::Object(fields) if fields.contains_key("level") => Some(fields),
        _ => None,
    }
}

fn rest(fields: &Map<String, Value>) -> String {
    fields.iter().map(|(name, value)| format!(" {name}={}", plain(value))).collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_lines_are_readable_and_others_pass() {
        let line = r#"{"timestamp":"2026-01-02T03:04:05Z","level":"WARN","message":"the engine ended","model":"tiny","ms":7,"target":"nabi"}"#;
        assert_eq!(readable(line), "2026-01-02T03:04:05Z WARN the engine ended model=tiny ms=7");
        assert_eq!(message(line), "the engine ended model=tiny ms=7");
        for other in ["llama_model_load: error", "", "{", "[1]", "7", r#"{"a": 1}"#] {
            assert_eq!(readable(other), other);
            assert_eq!(message(other), other);
        }
    }
}
