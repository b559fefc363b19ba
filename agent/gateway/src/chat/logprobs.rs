//! Log-probabilities as chats tell them.

use nabi_wire::engine::{ScoredToken, TokenText};
use serde::Serialize;

/// What OpenAI writes for a token that is all but impossible; JSON has no infinity.
const IMPOSSIBLE: f32 = -9999.0;

/// Log-probabilities of an answer, or of a part of it.
#[derive(Debug, Serialize)]
pub(super) struct Logprobs {
    content: Vec<Token>,
    refusal: Option<()>,
}

#[derive(Debug, Serialize)]
struct Token {
    #[serde(flatten)]
    token: Scored,
    top_logprobs: Vec<Scored>,
}

#[derive(Debug, Serialize)]
struct Scored {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

fn scored(text: TokenText, logprob: f32) -> Scored {
    let logprob = if logprob.is_finite() { logprob } else { IMPOSSIBLE };
    Scored { token: String::from_utf8_lossy(&text.bytes).into_owned(), logprob, bytes: text.bytes }
}

impl From<Vec<ScoredToken>> for Logprobs {
    fn from(tokens: Vec<ScoredToken>) -> Self {
        let token = |token: ScoredToken| Token {
            token: scored(token.text, token.logprob.unwrap_or(IMPOSSIBLE)),
            top_logprobs: token.top.into_iter().map(|(text, logprob)| scored(text, logprob)).collect(),
        };
        Self { content: tokens.into_iter().map(token).collect(), refusal: None }
    }
}
