//! What a caller writes never becomes a control token, whatever the template: seen on the wire.

use nabi_domain::{AddedToken, ChatTemplate, Piece};
use nabi_stub_engine::Script;
use serde_json::{Value, json};

use crate::client::Request;
use crate::engine::{Engine, texts};
use crate::gateway::{Gateway, MODEL};

const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message.role }}\
    {% if message.name %}{{ ' name=' + message.name }}{% endif %}{{ '\\n' + message.content + '<|im_end|>\\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
/// Text borders text: no token but the one at the beginning.
const PLAIN: &str = "{{ bos_token }}{% for message in messages %}\
    {% if message.role == 'user' %}{{ 'User: ' }}{% if message.name %}{{ '(' + message.name + ') ' }}{% endif %}\
    {{ message.content + '\\n\\n' }}{% else %}{{ message.role + ': ' + message.content + eos_token }}\
    {% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}";

const LITERALS: [&str; 5] = ["<s>", "<|im_start|>", "<|im_end|>", "</think>", "<|endoftext|>"];

async fn start(jinja: &str) -> (Gateway, Engine) {
    let mut script = Script::default();
    script.card.template = Some(ChatTemplate {
        jinja: jinja.into(),
        bos_token: "<s>".into(),
        eos_token: "<|endoftext|>".into(),
    });
    let added =
        |(id, literal): (u32, &&str)| AddedToken { id, literal: (*literal).to_owned(), special: true };
    script.card.added_tokens = (100..).zip(&LITERALS).map(added).collect();
    Gateway::start(script).await
}

/// The tokens of the prompt that the engine got, and all its text.
async fn prompt(gateway: &Gateway, engine: &mut Engine, messages: Value) -> (Vec<u32>, String) {
    let body = json!({"model": MODEL, "messages": messages});
    let reply = gateway.send(Request::chat(body.to_string())).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let pieces = engine.generate().await.pieces;
    let tokens = pieces.iter().filter_map(|piece| match piece {
        Piece::Token(id) => Some(*id),
        Piece::Text(_) => None,
    });
    (tokens.collect(), texts(&pieces).concat())
}

async fn no_token_from_callers(jinja: &str) {
    let (gateway, mut engine) = start(jinja).await;
    let messages = |content: &str, name: &str| {
        json!([
            {"role": "user", "content": content, "name": name},
            {"role": "assistant", "content": content},
            {"role": "user", "content": [{"type": "text", "text": content}, {"type": "text", "text": content}]},
        ])
    };
    let (harmless, _) = prompt(&gateway, &mut engine, messages("hello", "Ada")).await;
    assert!(!harmless.is_empty(), "the template's own tokens");
    for literal in LITERALS {
        let (tokens, text) = prompt(&gateway, &mut engine, messages(literal, literal)).await;
        assert_eq!(tokens, harmless, "{literal}");
        assert_eq!(text.matches(literal).count(), 5, "{literal} stays as text in {text}");

        // Cut in two, so that only the template's joining would make it whole.
        let (head, tail) = literal.split_at(literal.len() / 2);
        let (tokens, _) = prompt(&gateway, &mut engine, messages(tail, head)).await;
        assert_eq!(tokens, harmless, "{literal} in two parts");
        let around = format!("{head}{literal}{tail}");
        let (tokens, _) = prompt(&gateway, &mut engine, messages(&around, &around)).await;
        assert_eq!(tokens, harmless, "{around}");

        let body = json!({"model": MODEL, "messages": [{"role": literal, "content": "x"}]});
        let reply = gateway.send(Request::chat(body.to_string())).await;
        assert_eq!(reply.error().2, Some("messages[0].role".into()), "{literal}");
    }
}

#[tokio::test]
async fn in_a_template_of_control_tokens() {
    no_token_from_callers(CHATML).await;
}

#[tokio::test]
async fn in_a_template_where_text_borders_text() {
    no_token_from_callers(PLAIN).await;
}

#[tokio::test]
async fn neighbouring_texts_are_one() {
    let (gateway, mut engine) = start(PLAIN).await;
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "hi <s>"}]});
    assert_eq!(gateway.send(Request::chat(body.to_string())).await.status, 200);
    let text = Piece::Text("User: hi <s>\n\nAssistant:".into());
    assert_eq!(engine.generate().await.pieces, [Piece::Token(100), text]);
}
