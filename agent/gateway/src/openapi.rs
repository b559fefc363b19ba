//! `GET /openapi.json`: the routes as an OpenAPI document, made of the tables that requests are
//! read by.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};

use crate::error::Code;
use crate::request::generation::GENERATION_FIELDS;
use crate::request::{Field, Table, Treatment};
use crate::{chat, completions, embeddings, tokenize};

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(document_value().to_string()));

/// The document.
pub(crate) async fn document() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.clone())
}

fn document_value() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Nabi",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "OpenAI's API. See docs/api.md for what each field does.",
        },
        "security": [{"key": []}],
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": error_schema()},
        },
        "paths": paths(),
    })
}

fn paths() -> Value {
    let tokens = post(&tokenize::TOKENIZE, "the tokens of a text or a chat", TOKENS, false);
    let text = post(&tokenize::DETOKENIZE, "the text of tokens", TEXT, false);
    let models = get("what is served", &json_content(&parsed(MODELS)), &[401, 403], true);
    let mut model = get("one model", &json_content(&parsed(MODEL)), &[401, 403, 404], true);
    model["get"]["parameters"] =
        json!([{"name": "name", "in": "path", "required": true, "schema": {"type": "string"}}]);
    let mut readyz =
        get("whether a model is served and every one answers", &json_content(&parsed(READINESS)), &[], false);
    readyz["get"]["responses"]["503"] =
        json!({"description": "not so", "content": json_content(&parsed(READINESS))});
    let plain = json!({"text/plain": {"schema": {"type": "string"}}});
    let metrics = json!({"application/openmetrics-text": {"schema": {"type": "string"}}});
    json!({
        "/v1/chat/completions": post(&chat::fields::TABLE, "the answer to a chat", CHAT, true),
        "/v1/completions": post(&completions::fields::TABLE, "how texts go on", COMPLETION, true),
        "/v1/embeddings": post(&embeddings::TABLE, "vectors for texts", EMBEDDINGS, false),
        "/tokenize": tokens.clone(),
        "/v1/tokenize": tokens,
        "/detokenize": text.clone(),
        "/v1/detokenize": text,
        "/v1/models": models,
        "/v1/models/{name}": model,
        "/metrics": get("figures for Prometheus", &metrics, &[401, 403], true),
        "/healthz": get("that the gateway lives", &plain, &[], false),
        "/readyz": readyz,
        "/openapi.json": get("this document", &json_content(&json!({"type": "object"})), &[], false),
    })
}

fn get(summary: &str, content: &Value, errors: &[u16], has_key: bool) -> Value {
    let mut responses = error_responses(|code| errors.contains(&code.status().as_u16()));
    responses.insert("200".into(), json!({"description": summary, "content": content}));
    let mut operation = json!({"summary": summary, "responses": responses});
    if !has_key {
        operation["security"] = json!([]);
    }
    json!({ "get": operation })
}

fn post<R>(table: &Table<R>, summary: &str, answer: &str, is_streamed: bool) -> Value {
    let mut responses = error_responses(|code| code != Code::MethodNotAllowed);
    let mut content = json_content(&parsed(answer));
    if is_streamed {
        content["text/event-stream"] = json!({});
    }
    responses.insert("200".into(), json!({"description": summary, "content": content}));
    let body = json!({"required": true, "content": json_content(&request_schema(table))});
    json!({"post": {"summary": summary, "requestBody": body, "responses": responses}})
}

/// An entry for each status of the codes that may come, which names them.
fn error_responses(may_come: impl Fn(Code) -> bool) -> Map<String, Value> {
    let mut responses = Map::new();
    for code in Code::ALL.iter().copied().filter(|code| may_come(*code)) {
        let schema = json!({"$ref": "#/components/schemas/Error"});
        let new = json!({"description": "", "content": json_content(&schema)});
        let entry = responses.entry(code.status().as_str()).or_insert(new);
        let before = entry["description"].as_str().unwrap_or_default();
        let separator = if before.is_empty() { "" } else { ", " };
        entry["description"] = format!("{before}{separator}{}", code.text()).into();
    }
    responses
}

fn json_content(schema: &Value) -> Value {
    json!({"application/json": {"schema": schema}})
}

/// A schema out of this file or a table, all of which the tests read.
fn parsed(schema: &str) -> Value {
    serde_json::from_str(schema).expect("schemas are JSON")
}

fn request_schema<R>(table: &Table<R>) -> Value {
    let mut properties = Map::new();
    add(&mut properties, table.own, table.required);
    if table.generation.is_some() {
        add(&mut properties, GENERATION_FIELDS, table.required);
    }
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "required": table.required,
        "additionalProperties": false,
    });
    if !table.one_of_required.is_empty() {
        let one = |name: &&str| json!({"required": [name], "properties": {*name: {"not": {"type": "null"}}}});
        schema["anyOf"] = table.one_of_required.iter().map(one).collect();
    }
    schema
}

fn add<R>(properties: &mut Map<String, Value>, fields: &[Field<R>], required: &[&str]) {
    for field in fields {
        let mut schema = parsed(field.schema);
        if !required.contains(&field.name) {
            // Null means absent.
            schema = json!({"anyOf": [schema, {"type": "null"}]});
        }
        schema["description"] = match field.treatment {
            Treatment::Honoured(_) => "honoured".into(),
            Treatment::Ignored => "accepted, without effect".into(),
            Treatment::Refused(_, accepted) => format!("not supported: {accepted}").into(),
        };
        properties.insert(field.name.into(), schema);
    }
}

fn error_schema() -> Value {
    let codes: Vec<_> = Code::ALL.iter().map(|code| code.text()).collect();
    json!({
        "type": "object",
        "properties": {"error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"enum": codes},
            },
            "required": ["message", "type", "param", "code"],
        }},
        "required": ["error"],
    })
}

const CHAT: &str = r#"{"type": "object", "properties": {
    "id": {"type": "string"}, "object": {"const": "chat.completion"}, "created": {"type": "integer"},
    "model": {"type": "string"}, "system_fingerprint": {"type": "string"},
    "choices": {"type": "array", "minItems": 1, "items": {"type": "object", "properties": {
        "index": {"type": "integer"}, "finish_reason": {"enum": ["stop", "length", "tool_calls"]},
        "message": {"type": "object", "properties": {"role": {"const": "assistant"}, "content": {"type": ["string", "null"]},
            "reasoning_content": {"type": "string"}, "tool_calls": {"type": "array"}}, "required": ["role", "content"]},
        "logprobs": {"type": ["object", "null"]}}, "required": ["index", "message", "logprobs", "finish_reason"]}},
    "usage": {"type": "object"}},
    "required": ["id", "object", "created", "model", "choices", "usage"]}"#;
const COMPLETION: &str = r#"{"type": "object", "properties": {
    "id": {"type": "string"}, "object": {"const": "text_completion"}, "created": {"type": "integer"},
    "model": {"type": "string"}, "system_fingerprint": {"type": "string"},
    "choices": {"type": "array", "minItems": 1, "items": {"type": "object", "properties": {
        "index": {"type": "integer"}, "text": {"type": "string"}, "finish_reason": {"enum": ["stop", "length"]},
        "logprobs": {"type": ["object", "null"]}}, "required": ["index", "text", "logprobs", "finish_reason"]}},
    "usage": {"type": "object"}},
    "required": ["id", "object", "created", "model", "choices", "usage"]}"#;
const EMBEDDINGS: &str = r#"{"type": "object", "properties": {"object": {"const": "list"}, "model": {"type": "string"},
    "data": {"type": "array", "items": {"type": "object", "properties": {"object": {"const": "embedding"},
        "index": {"type": "integer"}, "embedding": {"type": ["array", "string"]}}, "required": ["object", "index", "embedding"]}},
    "usage": {"type": "object"}}, "required": ["object", "data", "model", "usage"]}"#;
const TOKENS: &str = r#"{"type": "object", "properties": {"count": {"type": "integer"}, "max_model_len": {"type": "integer"},
    "tokens": {"type": "array", "items": {"type": "integer"}}, "token_strs": {"type": ["array", "null"]}},
    "required": ["count", "max_model_len", "tokens", "token_strs"]}"#;
const TEXT: &str =
    r#"{"type": "object", "properties": {"prompt": {"type": "string"}}, "required": ["prompt"]}"#;
const MODEL: &str = r#"{"type": "object", "properties": {"id": {"type": "string"}, "object": {"const": "model"},
    "created": {"type": "integer"}, "owned_by": {"type": "string"}}, "required": ["id", "object", "created", "owned_by"]}"#;
const MODELS: &str = r#"{"type": "object", "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": {"type": "object"}}},
    "required": ["object", "data"]}"#;
const READINESS: &str = r#"{"type": "object", "properties": {"ready": {"type": "boolean"}, "draining": {"type": "boolean"},
    "models": {"type": "array"}}, "required": ["ready", "draining", "models"]}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_in_the_document_with_its_treatment() {
        let document = document_value();
        let chat = &document["paths"]["/v1/chat/completions"]["post"];
        let schema = &chat["requestBody"]["content"]["application/json"]["schema"];
        for field in GENERATION_FIELDS {
            assert!(schema["properties"][field.name]["description"].is_string(), "{}", field.name);
        }
        assert_eq!(schema["properties"]["user"]["description"], "accepted, without effect");
        assert_eq!(schema["required"], json!(["model", "messages"]));
        assert!(
            chat["responses"]["503"]["description"]
                .as_str()
                .is_some_and(|text| text.contains("queue_time_over"))
        );
        assert_eq!(chat["responses"].get("405"), None);
    }
}
