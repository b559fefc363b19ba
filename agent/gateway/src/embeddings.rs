//! `POST /v1/embeddings`: vectors for texts.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nabi_domain::ModelName;
use nabi_wire::engine::{self, EMBED_INPUTS_MAX, Embed};
use serde::Serialize;

use crate::body;
use crate::caller::{Caller, ReadyModel, Wanted, work};
use crate::engine::{Answer, Begun, Event, Origin, begin};
use crate::error::{ApiError, FieldError};
use crate::request::generation::natural;
use crate::request::prompts::{self, Prompt};
use crate::request::{Field, Parsed, Table, honoured, ignored, neutral, only_true, refused};

/// What a caller asks for.
#[derive(Debug, Default)]
pub(crate) struct EmbeddingRequest {
    model: String,
    inputs: Vec<Prompt>,
    dimensions: Option<u32>,
    is_base64: bool,
}

/// All fields of an embedding request.
pub(crate) const TABLE: Table<EmbeddingRequest> = Table {
    own: FIELDS,
    generation: None,
    required: &["model", "input"],
    one_of_required: &[],
    finish: |_| Ok(()),
};

const INPUTS_SCHEMA: &str = r#"{"anyOf": [
    {"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "maxItems": 2048},
    {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 4294967295}, "minItems": 1},
    {"type": "array", "items": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 4294967295}, "minItems": 1},
        "minItems": 1, "maxItems": 2048}]}"#;

const FIELDS: &[Field<EmbeddingRequest>] = &[
    honoured("model", r#"{"type": "string"}"#, |request, place| {
        request.model = place.string()?.to_owned();
        Ok(())
    }),
    honoured("input", INPUTS_SCHEMA, |request, place| {
        request.inputs = prompts::read(&place, EMBED_INPUTS_MAX)?;
        match request.inputs.iter().position(Prompt::is_empty) {
            Some(index) => Err(place.invalid(format_args!("must have no empty text, but number {index} is"))),
            None => Ok(()),
        }
    }),
    honoured("encoding_format", r#"{"enum": ["float", "base64"]}"#, |request, place| {
        request.is_base64 = match place.string()? {
            "float" => false,
            "base64" => true,
            _ => return Err(place.invalid("must be float or base64")),
        };
        Ok(())
    }),
    honoured("dimensions", r#"{"type": "integer", "minimum": 1}"#, |request, place| {
        request.dimensions = Some(natural(&place, 1, u32::MAX)?);
        Ok(())
    }),
    ignored("user"),
    ignored("priority"),
    ignored("request_id"),
    only_true("add_special_tokens"),
    neutral("input_type", r#"{"type": "null"}"#, |_| false, "put the model's own prefix into the texts"),
    refused("truncate_prompt_tokens"),
    refused("messages"),
];

#[derive(Debug, Serialize)]
struct EmbeddingList {
    object: &'static str,
    data: Vec<Embedding>,
    model: ModelName,
    usage: EmbeddingUsage,
}

#[derive(Debug, Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Numbers,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Numbers {
    Float(Vec<f32>),
    /// Of little-endian 32-bit numbers.
    Base64(String),
}

#[derive(Debug, Serialize)]
struct EmbeddingUsage {
    prompt_tokens: u32,
    total_tokens: u32,
}

/// Gives a vector for each text.
pub(crate) async fn embed(caller: Caller, body: Body) -> Result<Response, ApiError> {
    let body = body::read(body, &caller.app).await?;
    let bytes = body.len();
    let Parsed { request, ignored } = work(bytes, move || TABLE.parse(&body)).await?;
    let request = Arc::new(request);
    let begun = begin(&caller.app.shutdown, || {
        let (request, caller) = (Arc::clone(&request), caller.clone());
        work(bytes, move || send(&request, &caller))
    });
    let Begun { prepared: model, first, .. } = begun.await?;
    let Event::Embedded(vectors, usage) = first else { return Err(ApiError::EngineLost) };
    // A request is embedded once.
    let _ = caller.record.usage.set(usage);
    let mut response = Json(list(&request, model, vectors, usage)).into_response();
    ignored.name_in(&mut response);
    Ok(response)
}

fn send(request: &EmbeddingRequest, caller: &Caller) -> Result<(ReadyModel, Answer), ApiError> {
    let model = caller.model(&request.model, Wanted::Vectors)?;
    let card = &model.session.model.card;
    if let (Some(wanted), Some(given)) = (request.dimensions, card.embedding_numbers)
        && wanted != given
    {
        return Err(FieldError::invalid("dimensions", format_args!("must be {given} with this model")).into());
    }
    let inputs_max = card.embedding_numbers.map_or(EMBED_INPUTS_MAX, engine::embed_inputs_max);
    if request.inputs.len() > inputs_max {
        let rule = format_args!("must be at most {inputs_max} texts with this model");
        return Err(FieldError::invalid("input", rule).into());
    }
    for input in &request.inputs {
        input.check("input", card)?;
    }
    let inputs = request.inputs.iter().map(|input| input.pieces(card, true)).collect();
    let embed = Embed { id: 0, share: caller.share, inputs };
    let answer = model.session.embed(embed, Origin { prompt: "input", grammar: None })?;
    Ok((model, answer))
}

fn list(
    request: &EmbeddingRequest,
    model: ReadyModel,
    vectors: Vec<Vec<f32>>,
    usage: engine::Usage,
) -> EmbeddingList {
    let numbers = |vector: Vec<f32>| match request.is_base64 {
        false => Numbers::Float(vector),
        true => {
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            Numbers::Base64(STANDARD.encode(bytes))
        }
    };
    let embedding = |(index, vector)| Embedding { object: "embedding", index, embedding: numbers(vector) };
    EmbeddingList {
        object: "list",
        data: vectors.into_iter().enumerate().map(embedding).collect(),
        model: model.name,
        usage: EmbeddingUsage { prompt_tokens: usage.prompt_tokens, total_tokens: usage.prompt_tokens },
    }
}
