//! Ordinary chats render exactly as `transformers` renders them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::model::{Model, chat};
use nabi_domain::Piece;
use nabi_prompt::{Chat, RenderError};
use serde::Deserialize;
use serde_json::{Map, Value};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> T {
    let json = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&json).expect("JSON of the expected form")
}

#[derive(Deserialize)]
struct Row {
    template: String,
    bos: String,
    eos: String,
    tokens: Vec<String>,
    chat: RowChat,
    text: Option<String>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct RowChat {
    messages: Value,
    tools: Option<Value>,
    #[serde(default)]
    add_generation_prompt: bool,
    #[serde(default)]
    variables: Map<String, Value>,
}

impl Row {
    fn model(&self) -> Model {
        let path = folder().join(format!("templates/{}.jinja", self.template));
        let jinja = fs::read_to_string(&path).expect("a template");
        let literals: Vec<_> = self.tokens.iter().map(String::as_str).collect();
        Model::new(&jinja, [&self.bos, &self.eos], &literals)
    }

    fn chat(&self) -> Chat {
        Chat {
            tools: self.chat.tools.clone(),
            add_generation_prompt: self.chat.add_generation_prompt,
            variables: self.chat.variables.clone(),
            ..chat(self.chat.messages.clone())
        }
    }
}

/// How often control literals occur, where none is written inside another.
fn count(text: &str, literals: &[String]) -> usize {
    let control = literals.iter().filter(|literal| !literal.trim().is_empty());
    control.map(|literal| text.matches(literal.as_str()).count()).sum()
}

#[test]
fn each_style_of_template_gives_the_text_and_the_tokens_of_transformers() {
    let rows: Vec<Row> = read(&folder().join("reference.json"));
    assert!(rows.len() > 40);
    for row in rows {
        let (model, name, mut chat) = (row.model(), &row.template, row.chat());
        if chat.tools.is_some() && !model.template().takes_tools() {
            assert_eq!(model.template().render(&chat), Err(RenderError::NoTools), "{name}");
            chat.tools = None;
        }
        let Some(text) = &row.text else {
            let refused =
                Err(RenderError::Refused { message: row.refusal.clone().expect("text or refusal") });
            assert_eq!(model.template().render(&chat), refused, "{name}");
            continue;
        };
        assert_eq!(model.text(&chat), *text, "{name}");
        // A literal in a message is no token, as attacks.rs shows.
        if count(&row.chat.messages.to_string(), &row.tokens) == 0 {
            assert_eq!(model.tokens(&chat).len(), count(text, &row.tokens), "{name}");
        }
    }
}

#[test]
fn texts_are_merged_and_never_empty() {
    for row in read::<Vec<Row>>(&folder().join("reference.json")) {
        let Ok(pieces) = row.model().template().render(&row.chat()) else { continue };
        let is_text = |piece: &Piece| matches!(piece, Piece::Text(_));
        assert!(!pieces.windows(2).any(|pair| pair.iter().all(is_text)), "{pieces:?}");
        assert!(!pieces.contains(&Piece::Text(String::new())), "{pieces:?}");
    }
}

#[derive(Deserialize)]
struct Golden {
    templates: BTreeMap<String, GoldenTemplate>,
    renderings: Vec<GoldenRow>,
}

#[derive(Deserialize)]
struct GoldenTemplate {
    template: String,
    bos: String,
    eos: String,
}

#[derive(Deserialize)]
struct GoldenRow {
    template: String,
    messages: Value,
    add_generation_prompt: bool,
    text: String,
}

#[derive(Deserialize)]
struct Tokenization {
    added_tokens: Map<String, Value>,
}

#[test]
fn the_golden_chats_give_the_golden_texts() {
    let golden = folder().join("../../../tests/golden");
    let tokens: Tokenization = read(&golden.join("tokenization.json"));
    let mut literals: Vec<_> = tokens.added_tokens.keys().map(String::as_str).collect();
    literals.extend(["<|im_start|>", "<|im_end|>"]);
    let Golden { templates, renderings } = read(&golden.join("chat.json"));
    assert!(!renderings.is_empty());
    let model = |of: GoldenTemplate| Model::new(&of.template, [&of.bos, &of.eos], &literals);
    let models: BTreeMap<_, _> = templates.into_iter().map(|(name, of)| (name, model(of))).collect();
    for row in renderings {
        let model = &models[&row.template];
        let chat = Chat { add_generation_prompt: row.add_generation_prompt, ..chat(row.messages) };
        assert_eq!(model.text(&chat), row.text, "{}", row.template);
    }
}
