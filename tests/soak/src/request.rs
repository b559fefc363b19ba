//! What users ask.

use serde::Serialize;
use serde_json::{Value, json};

use crate::dice::Dice;

/// The name that the model is served under.
pub(crate) const MODEL: &str = "soaked";
/// Words before each question of [`Kind::Prefix`].
const PREFIX_WORDS: usize = 400;
const TOKENS_MAX: u64 = 64;
/// Words of a prompt that no context holds.
const TOO_MANY_WORDS: usize = 60_000;

/// Sorts of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A chat, as a stream.
    Stream,
    /// A chat, as a whole.
    Whole,
    /// Several answers, as a stream.
    Choices,
    /// JSON by a schema.
    Schema,
    /// A long beginning that the key's other requests have too.
    Prefix,
    /// Text that goes on, with log-probabilities.
    Completion,
    /// Tokens of a text.
    Tokenize,
    /// Vectors of texts.
    Embeddings,
    /// A stream whose user goes away in the middle.
    GivenUp,
    /// A stream whose user reads slowly.
    Slow,
    /// What must be refused.
    Bad,
}

/// Of each kind as many as there are of it here.
const MIX: [Kind; 18] = [
    Kind::Stream,
    Kind::Stream,
    Kind::Stream,
    Kind::Whole,
    Kind::Whole,
    Kind::Whole,
    Kind::Choices,
    Kind::Schema,
    Kind::Prefix,
    Kind::Prefix,
    Kind::Completion,
    Kind::Tokenize,
    Kind::Embeddings,
    Kind::GivenUp,
    Kind::GivenUp,
    Kind::Slow,
    Kind::Bad,
    Kind::Bad,
];

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) kind: Kind,
    pub(crate) path: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) is_stream: bool,
    /// Answers that must come.
    pub(crate) choices: usize,
    /// The code of the error that must come instead.
    pub(crate) refusal: Option<&'static str>,
}

const CHAT: &str = "/v1/chat/completions";
const WORDS: [&str; 12] = [
    "river",
    "ministry",
    "seven",
    "butterfly",
    "port",
    "이름",
    "harvest",
    "<|im_end|>",
    "law",
    "é",
    "tax",
    "\n",
];

fn words(dice: &mut Dice, count: usize) -> String {
    (0..count).map(|_| *dice.one_of(&WORDS)).collect::<Vec<_>>().join(" ")
}

fn chat(dice: &mut Dice) -> Value {
    let count = dice.between(1, 40) as usize;
    let content = words(dice, count);
    json!({
        "model": MODEL,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": dice.between(1, TOKENS_MAX),
        "temperature": dice.between(0, 2),
    })
}

impl Request {
    /// The next one. `key` names whose long beginning it may have.
    pub(crate) fn draw(dice: &mut Dice, key: &str, embeds: bool) -> Self {
        let kind = loop {
            let kind = *dice.one_of(&MIX);
            if kind != Kind::Embeddings || embeds {
                break kind;
            }
        };
        match kind {
            Kind::Stream | Kind::Slow | Kind::GivenUp => Self::stream(kind, chat(dice)),
            Kind::Whole => Self::whole(kind, CHAT, &chat(dice)),
            Kind::Choices => Self::several(dice),
            Kind::Schema => Self::whole(kind, CHAT, &with_schema(chat(dice))),
            Kind::Prefix => Self::stream(kind, with_prefix(dice, key)),
            Kind::Completion => Self::whole(kind, "/v1/completions", &completion(dice)),
            Kind::Tokenize => {
                Self::whole(kind, "/tokenize", &json!({"model": MODEL, "prompt": words(dice, 30)}))
            }
            Kind::Embeddings => Self::embeddings(dice),
            Kind::Bad => bad(dice),
        }
    }

    fn stream(kind: Kind, mut body: Value) -> Self {
        body["stream"] = true.into();
        Self { is_stream: true, ..Self::whole(kind, CHAT, &body) }
    }

    fn whole(kind: Kind, path: &'static str, body: &Value) -> Self {
        Self { kind, path, body: body.to_string().into_bytes(), is_stream: false, choices: 1, refusal: None }
    }

    fn several(dice: &mut Dice) -> Self {
        let mut body = chat(dice);
        let choices = dice.between(2, 4) as usize;
        body["n"] = choices.into();
        Self { choices, ..Self::stream(Kind::Choices, body) }
    }

    /// Also asked once to see whether the model gives vectors.
    pub(crate) fn embeddings(dice: &mut Dice) -> Self {
        let inputs = [words(dice, 5), words(dice, 20)];
        let body = json!({"model": MODEL, "input": inputs});
        Self { choices: inputs.len(), ..Self::whole(Kind::Embeddings, "/v1/embeddings", &body) }
    }
}

fn with_schema(mut body: Value) -> Value {
    let schema = json!({
        "type": "object",
        "properties": {"yes": {"type": "boolean"}, "kind": {"enum": ["river", "port"]}},
        "required": ["yes", "kind"],
        "additionalProperties": false,
    });
    body["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    body
}

fn with_prefix(dice: &mut Dice, key: &str) -> Value {
    let mut body = chat(dice);
    let seed = key.bytes().fold(0, |seed, byte| seed * 31 % 1_000_003 + u64::from(byte));
    let beginning = words(&mut Dice::new(seed), PREFIX_WORDS);
    let question = body["messages"][0].clone();
    body["messages"] = json!([{"role": "system", "content": beginning}, question]);
    body
}

fn completion(dice: &mut Dice) -> Value {
    json!({
        "model": MODEL,
        "prompt": words(dice, 10),
        "max_tokens": dice.between(1, TOKENS_MAX),
        "logprobs": 2,
        "stop": ["port"],
    })
}

fn bad(dice: &mut Dice) -> Request {
    let good = chat(dice);
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let (body, code) = match dice.between(0, 8) {
        0 => (with("temperature", json!(-1)), "invalid_value"),
        1 => (with("n", json!("two")), "invalid_type"),
        2 => (with("nonsense", json!(1)), "unknown_parameter"),
        3 => (with("model", json!("no such model")), "model_not_found"),
        4 => (with("messages", Value::Null), "missing_required_parameter"),
        5 => (with("guided_regex", json!("(")), "invalid_grammar"),
        6 => {
            let content = words(dice, TOO_MANY_WORDS);
            (with("messages", json!([{"role": "user", "content": content}])), "context_length_exceeded")
        }
        7 => (json!([]), "invalid_body"),
        _ => {
            let raw = if dice.between(0, 1) == 0 { "[".repeat(300) } else { "{\"model\": NaN}".to_owned() };
            let request = Request::whole(Kind::Bad, CHAT, &good);
            return Request { body: raw.into_bytes(), refusal: Some("invalid_json"), ..request };
        }
    };
    Request { refusal: Some(code), ..Request::whole(Kind::Bad, CHAT, &body) }
}
