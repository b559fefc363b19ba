//! Log-probabilities as OpenAI's completions tell them, which evaluation tools read; and those of
//! the prompt as vLLM tells them.

use std::fmt::Write;

use nabi_wire::engine::{ScoredToken, TokenText};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What OpenAI writes for a token that is all but impossible; JSON has no infinity.
const IMPOSSIBLE: f32 = -9999.0;

/// Parallel lists, one item for each token.
#[derive(Debug, Default, Serialize)]
pub(super) struct Logprobs {
    tokens: Vec<String>,
    /// None for the first token of a prompt. As wide as those of `top_logprobs`: evaluation tools
    /// compare them.
    token_logprobs: Vec<Option<f64>>,
    top_logprobs: Vec<Option<Map<String, Value>>>,
    /// Where each begins in the choice's text, in characters.
    text_offset: Vec<usize>,
}

impl Logprobs {
    /// Adds a token that begins at `offset`, with its `top` likeliest rivals.
    pub(super) fn push(&mut self, token: &ScoredToken, offset: usize, top: u8) {
        let name = name(&token.text);
        let likely = token.logprob.map(|own| {
            let mut likely = Map::new();
            for (text, logprob) in token.top.iter().take(usize::from(top)) {
                likely.entry(self::name(text)).or_insert(finite(*logprob).into());
            }
            // As OpenAI does it, the token itself is always among them.
            likely.entry(name.clone()).or_insert(finite(own).into());
            likely
        });
        self.tokens.push(name);
        self.token_logprobs.push(token.logprob.map(|own| f64::from(finite(own))));
        self.top_logprobs.push(likely);
        self.text_offset.push(offset);
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.tokens.append(&mut other.tokens);
        self.token_logprobs.append(&mut other.token_logprobs);
        self.top_logprobs.append(&mut other.top_logprobs);
        self.text_offset.append(&mut other.text_offset);
    }
}

fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { IMPOSSIBLE }
}

/// A token's text, or its bytes as OpenAI writes them where they are no whole characters.
fn name(token: &TokenText) -> String {
    match std::str::from_utf8(&token.bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => token.bytes.iter().fold("bytes:".to_owned(), |mut name, byte| {
            write!(name, "\\x{byte:02x}").expect("a string takes all");
            name
        }),
    }
}

/// Characters that begin in these bytes.
pub(super) fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| !matches!(byte, 0x80..=0xBF)).count()
}

/// The prompt's log-probabilities by token ids, as vLLM gives them.
pub(super) fn by_id(tokens: &[ScoredToken], top: u8) -> Value {
    let entry = |text: &TokenText, logprob: f32, rank: Option<usize>| json!({"logprob": finite(logprob), "rank": rank, "decoded_token": String::from_utf8_lossy(&text.bytes)});
    let one = |token: &ScoredToken| -> Value {
        let Some(own) = token.logprob else { return Value::Null };
        let mut likely = Map::new();
        for (rank, (text, logprob)) in (1..).zip(token.top.iter().take(usize::from(top))) {
            likely.insert(text.token.to_string(), entry(text, *logprob, Some(rank)));
        }
        likely.entry(token.text.token.to_string()).or_insert_with(|| entry(&token.text, own, None));
        Value::Object(likely)
    };
    tokens.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(token: u32, bytes: &[u8]) -> TokenText {
        TokenText { token, bytes: bytes.into() }
    }

    #[test]
    fn the_token_itself_is_among_the_likeliest_and_bytes_have_names() {
        let mut logprobs = Logprobs::default();
        let top = vec![(text(1, b"a"), -0.5), (text(2, b"b"), f32::NEG_INFINITY), (text(3, b"c"), -9.0)];
        let token = ScoredToken { text: text(9, b"\xe2\x80"), logprob: Some(-2.0), top };
        logprobs.push(&token, 3, 2);
        let first = ScoredToken { text: text(1, b"a"), logprob: None, top: Vec::new() };
        logprobs.push(&first, 4, 2);
        assert_eq!(
            serde_json::to_value(&logprobs).expect("serializes"),
            json!({
                "tokens": ["bytes:\\xe2\\x80", "a"],
                "token_logprobs": [-2.0, null],
                "top_logprobs": [{"a": -0.5, "b": -9999.0, "bytes:\\xe2\\x80": -2.0}, null],
                "text_offset": [3, 4],
            })
        );
    }

    #[test]
    fn the_prompts_are_told_by_their_ids() {
        let top = vec![(text(1, b"a"), -0.5), (text(2, b"b"), -1.0)];
        let tokens = [
            ScoredToken { text: text(7, b"x"), logprob: None, top: Vec::new() },
            ScoredToken { text: text(2, b"b"), logprob: Some(-1.0), top },
        ];
        let a = json!({"logprob": -0.5, "rank": 1, "decoded_token": "a"});
        let b = |rank: Value| json!({"logprob": -1.0, "rank": rank, "decoded_token": "b"});
        assert_eq!(by_id(&tokens, 2), json!([null, {"1": a, "2": b(json!(2))}]));
        assert_eq!(by_id(&tokens, 1), json!([null, {"1": a, "2": b(Value::Null)}]));
    }

    #[test]
    fn a_character_counts_where_it_begins() {
        assert_eq!(characters("세계 é".as_bytes()), 4);
        assert_eq!(characters(b"\xe2"), 1);
        assert_eq!(characters(b"\x80\x94"), 0);
    }
}
