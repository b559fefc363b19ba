//! Texts and chats become the reference's tokens; tokens become text again.

use std::collections::{BTreeMap, BTreeSet};

use nabi_domain::{ChatTemplate, Piece};
use nabi_makers::Kind;
use nabi_prompt::{Chat, Template};
use nabi_tests::engine::{self, Answer, Client, Engine, Spelling, Tiny, delta_text};
use nabi_tests::programs::demo_model;
use nabi_wire::engine::{Generate, ModelCard, Sampling};
use serde::Deserialize;
use serde_json::Value;

use crate::text;

async fn deepseek() -> (Tiny, Engine, Client) {
    let model = Tiny::make(Kind::DeepseekV3, None);
    let (engine, client) = Engine::ready(&engine::config(&model.path())).await;
    (model, engine, client)
}

#[derive(Deserialize)]
struct Tokenization {
    added_tokens: BTreeMap<String, u32>,
    strings: Vec<TokenizedString>,
}

#[derive(Deserialize)]
struct TokenizedString {
    text: String,
    plain_ids: Vec<u32>,
}

#[tokio::test]
async fn the_card_names_every_added_token() {
    let (_model, _engine, client) = deepseek().await;
    let golden: Tokenization = engine::golden("tokenization.json");
    let named: BTreeMap<_, _> =
        client.card.added_tokens.into_iter().map(|token| (token.literal, token.id)).collect();
    assert_eq!(named, golden.added_tokens);
}

/// Where a user-defined literal must be cut, so that llama.cpp does not match it, merges end at the
/// cut: the ids may then differ from the reference's, but none is an added token's.
#[tokio::test]
async fn text_is_encoded_as_the_reference_does_without_added_tokens() {
    let (model, _engine, mut client) = deepseek().await;
    let spelling = Spelling::read(&model.path());
    let golden: Tokenization = engine::golden("tokenization.json");
    let added: BTreeSet<u32> = golden.added_tokens.into_values().collect();
    let mut cut = 0;
    for TokenizedString { text: string, plain_ids } in golden.strings {
        let ids = client.tokenize(text(&string)).await;
        if spelling.holds_user_defined(&string) {
            cut += 1;
            assert!(!ids.iter().any(|id| added.contains(id)), "{string:?}: {ids:?}");
            assert_eq!(spelling.text(&ids), string);
        } else {
            assert_eq!(ids, plain_ids, "{string:?}");
        }
    }
    assert!(cut > 0);
}

#[derive(Deserialize)]
struct Chats {
    templates: BTreeMap<String, GoldenTemplate>,
    renderings: Vec<Rendering>,
}

#[derive(Deserialize)]
struct GoldenTemplate {
    template: String,
    bos: String,
    eos: String,
}

#[derive(Deserialize)]
struct Rendering {
    template: String,
    messages: Vec<Value>,
    add_generation_prompt: bool,
    /// None where a caller's text holds an added token's literal.
    ids: Option<Vec<u32>>,
}

#[tokio::test]
async fn chats_are_encoded_as_the_reference_does_and_callers_write_no_added_token() {
    let (_model, _engine, mut client) = deepseek().await;
    let added: BTreeSet<u32> = client.card.added_tokens.iter().map(|token| token.id).collect();
    let chats: Chats = engine::golden("chat.json");
    let compiled: BTreeMap<_, _> = chats
        .templates
        .into_iter()
        .map(|(name, GoldenTemplate { template: jinja, bos: bos_token, eos: eos_token })| {
            let template = ChatTemplate { jinja, bos_token, eos_token };
            (name, Template::compile(&template, &client.card.added_tokens).expect("a good template"))
        })
        .collect();
    for Rendering { template, messages, add_generation_prompt, ids } in chats.renderings {
        let chat = Chat { messages, add_generation_prompt, ..Chat::default() };
        let pieces = compiled[&template].render(&chat).expect("a good chat");
        let ours = client.tokenize(pieces.clone()).await;
        if let Some(ids) = ids {
            assert_eq!(ours, ids, "{template}: {chat:?}");
        }
        let tokens = pieces.into_iter().filter_map(|piece| match piece {
            Piece::Token(id) => Some(id),
            Piece::Text(_) => None,
        });
        let encoded = ours.into_iter().filter(|id| added.contains(id));
        assert!(encoded.eq(tokens), "{template}: {chat:?}");
    }
}

#[tokio::test]
async fn the_card_carries_the_template_of_the_file() {
    let (_model, _engine, client) = deepseek().await;
    let chats: Chats = engine::golden("chat.json");
    let golden = &chats.templates["deepseek-v3"];
    let template = client.card.template.expect("the file has one");
    assert_eq!((template.jinja, template.bos_token, template.eos_token), {
        (golden.template.clone(), golden.bos.clone(), golden.eos.clone())
    });
}

/// An answer's text with the literals of those added tokens that are text.
fn written(answer: &Answer, card: &ModelCard) -> String {
    let literal = |id: u32| {
        let token = card.added_tokens.iter().find(|token| token.id == id).expect("it is on the card");
        if token.special { String::new() } else { token.literal.clone() }
    };
    let pieces = answer.deltas.iter().flat_map(|delta| &delta.pieces);
    pieces
        .map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Token(id) => literal(*id),
        })
        .collect()
}

/// Random weights choose tokens that cut characters anywhere: the hardest case for a stream of text.
#[tokio::test]
async fn the_text_of_all_deltas_is_that_of_all_tokens() {
    let (model, _engine, mut client) = deepseek().await;
    let spelling = Spelling::read(&model.path());
    let mut broken = 0;
    for prompt in ["나비 한 마리가", "🦋👩🏽‍🔬🇰🇷", "مرحبا"] {
        for seed in 0..8 {
            let sampling = Sampling { seed: Some(seed), ..Sampling::default() };
            let (pieces, tokens_max) = (text(prompt), Some(96));
            let request = Generate { sampling, tokens_max, ..Generate::new(0, pieces) };
            let answer = client.answer(request).await;
            let expected = spelling.text(&answer.token_ids());
            assert_eq!(written(&answer, &client.card), expected, "{prompt}, seed {seed}");
            broken += usize::from(expected.contains('\u{fffd}'));
        }
    }
    assert!(broken > 0, "some tokens were no whole characters");
}

/// A real model writes Korean of which each syllable lies across tokens.
#[tokio::test]
async fn characters_across_tokens_come_whole() {
    let (_engine, mut client) = Engine::ready(&engine::config(&demo_model())).await;
    let spelling = Spelling::read(&demo_model());
    for prompt in ["나비 ".repeat(12), "🦋🐝".repeat(12)] {
        let answer = client.answer(engine::greedy(text(&prompt), 24)).await;
        assert_eq!(answer.text(), spelling.text(&answer.token_ids()));
        assert!(answer.text().chars().any(|c| !c.is_ascii() && prompt.contains(c)), "{}", answer.text());
        assert!(
            answer.deltas.iter().any(|delta| delta_text(delta).is_empty()),
            "no character lay across tokens"
        );
        let before_the_last = &answer.deltas[..answer.deltas.len() - 2];
        assert!(before_the_last.iter().all(|delta| !delta_text(delta).contains('\u{fffd}')), "{answer:?}");
    }
}
