//! Models with published templates and vocabularies, cut to the tokens that matter.

use std::sync::LazyLock;

use nabi_domain::{AddedToken, ChatTemplate, Piece};
use nabi_prompt::Template;

/// A model's template with its added tokens, numbered from 0.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) template: Template,
    pub(crate) tokens: Vec<AddedToken>,
    /// Literals and parts of them, and what else is worth a try.
    pub(crate) fragments: Vec<&'static str>,
}

struct Source {
    name: &'static str,
    jinja: &'static str,
    bos_eos: [&'static str; 2],
    special: &'static [&'static str],
    /// Added tokens that are text with a meaning.
    shown: &'static [&'static str],
}

macro_rules! jinja {
    ($name:literal) => {
        include_str!(concat!("../../../agent/prompt/tests/templates/", $name, ".jinja"))
    };
}

const DEEPSEEK_BOS_EOS: [&str; 2] = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"];
const DEEPSEEK_SPECIAL: &[&str] =
    &["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"];
const DEEPSEEK_SHOWN: &[&str] = &[
    "<think>",
    "</think>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁outputs▁begin｜>",
    "<｜tool▁outputs▁end｜>",
    "<｜tool▁output▁begin｜>",
    "<｜tool▁output▁end｜>",
    "<｜tool▁sep｜>",
    "｜DSML｜",
    "<place▁holder>",
];
const CHATML: &[&str] = &["<|im_start|>", "<|im_end|>"];
const QWEN_SHOWN: &[&str] =
    &["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"];

const fn source(
    name: &'static str,
    jinja: &'static str,
    bos_eos: [&'static str; 2],
    special: &'static [&'static str],
    shown: &'static [&'static str],
) -> Source {
    Source { name, jinja, bos_eos, special, shown }
}

const SOURCES: [Source; 12] = [
    source("R1", jinja!("deepseek-r1"), DEEPSEEK_BOS_EOS, DEEPSEEK_SPECIAL, DEEPSEEK_SHOWN),
    source("V3.1", jinja!("deepseek-v3.1"), DEEPSEEK_BOS_EOS, DEEPSEEK_SPECIAL, DEEPSEEK_SHOWN),
    source("V3.2", jinja!("deepseek-v3.2"), DEEPSEEK_BOS_EOS, DEEPSEEK_SPECIAL, DEEPSEEK_SHOWN),
    source("V3.2 without tokens", jinja!("deepseek-v3.2"), ["", ""], &[], &[]),
    source("Qwen", jinja!("hermes"), ["", ""], CHATML, QWEN_SHOWN),
    source("Hermes", jinja!("hermes"), ["", ""], CHATML, &[]),
    source("reasoning", jinja!("reasoning"), ["", ""], CHATML, QWEN_SHOWN),
    source("tags", jinja!("xml-tools"), ["", ""], CHATML, QWEN_SHOWN),
    source(
        "Llama",
        jinja!("llama3"),
        ["<|begin_of_text|>", "<|eot_id|>"],
        &[
            "<|begin_of_text|>",
            "<|eot_id|>",
            "<|eom_id|>",
            "<|python_tag|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
        ],
        &[],
    ),
    source(
        "Mistral",
        jinja!("mistral-tools"),
        ["<s>", "</s>"],
        &["<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"],
        &[],
    ),
    source(
        "Phi",
        jinja!("phi3"),
        ["", "<|endoftext|>"],
        &["<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|endoftext|>"],
        &[],
    ),
    source(
        "Gemma",
        jinja!("gemma"),
        ["<bos>", "<eos>"],
        &["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"],
        &["\n\n"],
    ),
];

/// What templates and readers of answers look for, beside the literals.
const WORDS: [&str; 26] = [
    "<|",
    "|>",
    "<",
    ">",
    "</",
    "[",
    "]",
    "/",
    "user",
    "assistant",
    "system",
    "think",
    "im_end",
    "function",
    "content",
    "parameters",
    " ",
    "\n",
    "\"",
    "\\",
    "{",
    "}",
    "{}",
    "```",
    "true\">",
    "서울",
];
/// Reasoning and calls as the models write them.
const MARKUP: [&str; 14] = [
    "<think>\nHm.\n</think>\n\n",
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": \"서울\"}\n```<｜tool▁call▁end｜>",
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>g<｜tool▁sep｜>{\"a\": [1, {\"b\": null}]}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>g<｜tool▁sep｜>",
    "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" string=\"true\">x</b></｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>",
    "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n",
    "<｜DSML｜parameter name=\"b\" string=\"false\">[1, \"</b>\"]</｜DSML｜parameter>\n",
    "</｜DSML｜invoke>\n</｜DSML｜function_calls>",
    "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"</tool_call>\"}}\n</tool_call>",
    "<tool_call>\n{\"arguments\": \"{\\\"a\\\": 1}\", \"name\": \"f\"}",
    "{\"name\": \"f\", \"parameters\": {\"a\": 2.5e3}}",
    "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"id\": \"abcdefghi\"}]",
    "\"name\": \"g\", ",
    "\"arguments\": {\"a\": -0}",
];

/// Every model.
pub(crate) static MODELS: LazyLock<Vec<Model>> = LazyLock::new(|| SOURCES.iter().map(Model::new).collect());

impl Model {
    fn new(source: &Source) -> Self {
        let token = |(literal, special): (&&str, bool)| ((*literal).to_owned(), special);
        let special = source.special.iter().zip(std::iter::repeat(true));
        let literals = special.chain(source.shown.iter().zip(std::iter::repeat(false))).map(token);
        let tokens: Vec<_> =
            (0..).zip(literals).map(|(id, (literal, special))| AddedToken { id, literal, special }).collect();
        let [bos_token, eos_token] = source.bos_eos.map(str::to_owned);
        let template = ChatTemplate { jinja: source.jinja.to_owned(), bos_token, eos_token };
        Self {
            name: source.name,
            template: Template::compile(&template, &tokens).expect("a published template"),
            fragments: [source.special, source.shown, &WORDS, &MARKUP].concat(),
            tokens,
        }
    }

    /// The text with each literal of an added token as that token, the longest one first.
    pub(crate) fn pieces(&self, text: &str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let found = self.tokens.iter().filter_map(|token| Some((rest.find(&token.literal)?, token)));
            let first = found.min_by_key(|(at, token)| (*at, std::cmp::Reverse(token.literal.len())));
            let at = first.map_or(rest.len(), |(at, _)| at);
            if at > 0 {
                pieces.push(Piece::Text(rest[..at].to_owned()));
            }
            rest = &rest[at..];
            if let Some((_, token)) = first {
                pieces.push(Piece::Token(token.id));
                rest = &rest[token.literal.len()..];
            }
        }
        pieces
    }
}
