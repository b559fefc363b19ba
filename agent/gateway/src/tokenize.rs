//! `POST /tokenize` and `POST /detokenize`, as vLLM has them.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use nabi_domain::Piece;
use nabi_prompt::Chat;
use nabi_wire::engine::TokenText;
use serde::Serialize;
use serde_json::Value;

use crate::caller::{Caller, ReadyModel, Wanted, work};
use crate::chat::{messages, tools};
use crate::engine::{Answer, Begun, Event, Origin, begin};
use crate::error::{ApiError, FieldError};
use crate::request::prompts::{self, Prompt};
use crate::request::{Field, Parsed, Table, honoured, ignored, only_false, refused};
use crate::{body, chat};

/// A text or a chat, of which a caller wants the tokens.
#[derive(Debug, Default)]
pub(crate) struct TokenizeRequest {
    model: String,
    prompt: Option<String>,
    pub(crate) chat: Option<Chat>,
    tools: Option<Value>,
    has_no_generation_prompt: bool,
    variables: serde_json::Map<String, Value>,
    /// Whether a text begins as the model's tokenizer asks for.
    add_special_tokens: Option<bool>,
    has_strings: bool,
}

/// All fields of a request for tokens.
pub(crate) const TOKENIZE: Table<TokenizeRequest> = Table {
    own: TOKENIZE_FIELDS,
    generation: None,
    required: &["model"],
    one_of_required: &["prompt", "messages"],
    finish,
};

const TOKENIZE_FIELDS: &[Field<TokenizeRequest>] = &[
    honoured("model", r#"{"type": "string"}"#, |request, place| {
        request.model = place.string()?.to_owned();
        Ok(())
    }),
    honoured("prompt", r#"{"type": "string"}"#, |request, place| {
        request.prompt = Some(place.string()?.to_owned());
        Ok(())
    }),
    honoured("messages", messages::MESSAGES_SCHEMA, |request, place| {
        let messages = messages::read_all(&place)?;
        request.chat = Some(Chat { messages, ..Chat::default() });
        Ok(())
    }),
    honoured("tools", tools::TOOLS_SCHEMA, |request, place| {
        let tools = tools::read(&place)?;
        request.tools = (!tools.is_empty()).then_some(Value::Array(tools));
        Ok(())
    }),
    honoured("add_generation_prompt", r#"{"type": "boolean"}"#, |request, place| {
        request.has_no_generation_prompt = !place.boolean()?;
        Ok(())
    }),
    honoured("chat_template_kwargs", r#"{"type": "object"}"#, |request, place| {
        request.variables = chat::fields::variables(&place)?;
        Ok(())
    }),
    honoured("add_special_tokens", r#"{"type": "boolean"}"#, |request, place| {
        request.add_special_tokens = Some(place.boolean()?);
        Ok(())
    }),
    honoured("return_token_strs", r#"{"type": "boolean"}"#, |request, place| {
        request.has_strings = place.boolean()?;
        Ok(())
    }),
    ignored("user"),
    only_false("continue_final_message"),
    refused("chat_template"),
    refused("mm_processor_kwargs"),
];

fn finish(request: &mut TokenizeRequest) -> Result<(), FieldError> {
    let TokenizeRequest { prompt, chat, tools, variables, .. } = request;
    match (&prompt, chat) {
        (None, None) => Err(FieldError::missing("prompt")),
        (Some(_), Some(_)) => Err(FieldError::invalid("messages", "cannot be combined with 'prompt'")),
        (Some(_), None) if tools.is_some() => {
            Err(FieldError::invalid("tools", "is allowed only with messages"))
        }
        (Some(_), None) => Ok(()),
        (None, Some(_)) if request.add_special_tokens == Some(true) => Err(FieldError::invalid(
            "add_special_tokens",
            "must be false with messages: the chat template writes what begins a chat",
        )),
        (None, Some(chat)) => {
            chat.add_generation_prompt = !request.has_no_generation_prompt;
            chat.tools = tools.take();
            chat.variables = std::mem::take(variables);
            Ok(())
        }
    }
}

#[derive(Debug, Serialize)]
struct Tokens {
    count: usize,
    max_model_len: u32,
    tokens: Vec<u32>,
    token_strs: Option<Vec<String>>,
}

/// The tokens of a text or a chat.
pub(crate) async fn tokenize(caller: Caller, body: Body) -> Result<Response, ApiError> {
    let body = body::read(body, &caller.app).await?;
    let bytes = body.len();
    let Parsed { mut request, ignored } = work(bytes, move || TOKENIZE.parse(&body)).await?;
    if let Some(chat) = &mut request.chat {
        chat.now = Timestamp::now().to_zoned(TimeZone::UTC).datetime();
    }
    let request = Arc::new(request);
    let begun = begin(&caller.app.shutdown, || {
        let (request, caller) = (Arc::clone(&request), caller.clone());
        work(bytes, move || send_text(&request, &caller))
    });
    let (model, tokens) = tokens(begun.await?)?;
    let string = |token: &TokenText| String::from_utf8_lossy(&token.bytes).into_owned();
    let answer = Tokens {
        count: tokens.len(),
        max_model_len: model.session.model.card.context_tokens,
        token_strs: request.has_strings.then(|| tokens.iter().map(string).collect()),
        tokens: tokens.into_iter().map(|token| token.token).collect(),
    };
    let mut response = Json(answer).into_response();
    ignored.name_in(&mut response);
    Ok(response)
}

fn tokens(begun: Begun<ReadyModel>) -> Result<(ReadyModel, Vec<TokenText>), ApiError> {
    match begun.first {
        Event::Tokens(tokens) => Ok((begun.prepared, tokens)),
        _ => Err(ApiError::EngineLost),
    }
}

fn send_text(request: &TokenizeRequest, caller: &Caller) -> Result<(ReadyModel, Answer), ApiError> {
    let model = caller.model(&request.model, Wanted::Tokens)?;
    let loaded = &model.session.model;
    let (pieces, field) = match (&request.chat, &request.prompt) {
        (Some(chat), _) => {
            let template = loaded.template.as_ref();
            let template = template.ok_or_else(|| ApiError::NoTemplate(model.name.clone()))?;
            (template.render(chat).map_err(ApiError::Prompt)?, "messages")
        }
        (None, prompt) => {
            let prompt = Prompt::Text(prompt.clone().unwrap_or_default());
            (prompt.pieces(&loaded.card, request.add_special_tokens.unwrap_or(true)), "prompt")
        }
    };
    let answer = model.session.tokenize(pieces, Origin { prompt: field, grammar: None })?;
    Ok((model, answer))
}

fn send_tokens(request: &DetokenizeRequest, caller: &Caller) -> Result<(ReadyModel, Answer), ApiError> {
    let model = caller.model(&request.model, Wanted::Tokens)?;
    prompts::check_tokens("tokens", request.tokens.iter().copied(), &model.session.model.card)?;
    let pieces = request.tokens.iter().copied().map(Piece::Token).collect();
    let answer = model.session.tokenize(pieces, Origin { prompt: "tokens", grammar: None })?;
    Ok((model, answer))
}

/// Tokens of which a caller wants the text.
#[derive(Debug, Default)]
pub(crate) struct DetokenizeRequest {
    model: String,
    tokens: Vec<u32>,
}

/// All fields of a request for a text.
pub(crate) const DETOKENIZE: Table<DetokenizeRequest> = Table {
    own: DETOKENIZE_FIELDS,
    generation: None,
    required: &["model", "tokens"],
    one_of_required: &[],
    finish: |_| Ok(()),
};

const DETOKENIZE_FIELDS: &[Field<DetokenizeRequest>] = &[
    honoured("model", r#"{"type": "string"}"#, |request, place| {
        request.model = place.string()?.to_owned();
        Ok(())
    }),
    honoured(
        "tokens",
        r#"{"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 4294967295}}"#,
        |request, place| {
            request.tokens = prompts::token_ids(&place)?;
            Ok(())
        },
    ),
    ignored("user"),
];

#[derive(Debug, Serialize)]
struct Text {
    prompt: String,
}

/// The text of tokens.
pub(crate) async fn detokenize(caller: Caller, body: Body) -> Result<Response, ApiError> {
    let body = body::read(body, &caller.app).await?;
    let bytes = body.len();
    let Parsed { request, ignored } = work(bytes, move || DETOKENIZE.parse(&body)).await?;
    let request = Arc::new(request);
    let begun = begin(&caller.app.shutdown, || {
        let (request, caller) = (Arc::clone(&request), caller.clone());
        work(bytes, move || send_tokens(&request, &caller))
    });
    let (_, tokens) = tokens(begun.await?)?;
    let bytes: Vec<u8> = tokens.into_iter().flat_map(|token| token.bytes).collect();
    let mut response = Json(Text { prompt: String::from_utf8_lossy(&bytes).into_owned() }).into_response();
    ignored.name_in(&mut response);
    Ok(response)
}
