//! Models with the markup of published ones, and answers in a form that is easy to write.

use std::collections::BTreeMap;
use std::sync::Mutex;

use nabi_domain::{AddedToken, ChatTemplate, Piece};
use nabi_prompt::{AnswerFormat, AnswerOptions, AnswerParser, Ending, Finish, Part, PromptTail, Template};

/// Its added tokens are numbered from [`FIRST_ID`].
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) name: &'static str,
    jinja: &'static str,
    special: &'static [&'static str],
    shown: &'static [&'static str],
}

/// Below are the tokens of single bytes.
pub(crate) const FIRST_ID: u32 = 256;

const DEEPSEEK_SPECIAL: &[&str] =
    &["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"];
const DEEPSEEK_SHOWN: &[&str] = &[
    "<think>",
    "</think>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁sep｜>",
    "｜DSML｜",
    "<place▁holder>",
];
const TOOLS: &str = "{% if tools %}{{ tools | tojson }}{% endif %}";

pub(crate) const R1: Model = Model {
    name: "DeepSeek R1",
    jinja: include_str!("../templates/deepseek-r1.jinja"),
    special: DEEPSEEK_SPECIAL,
    shown: DEEPSEEK_SHOWN,
};
pub(crate) const V3_1: Model = Model {
    name: "DeepSeek V3.1",
    jinja: include_str!("../templates/deepseek-v3.1.jinja"),
    special: DEEPSEEK_SPECIAL,
    shown: DEEPSEEK_SHOWN,
};
pub(crate) const V3_2: Model = Model {
    name: "DeepSeek V3.2",
    jinja: include_str!("../templates/deepseek-v3.2.jinja"),
    special: DEEPSEEK_SPECIAL,
    shown: DEEPSEEK_SHOWN,
};
pub(crate) const V4: Model = Model {
    name: "DeepSeek V4",
    jinja: "</think><｜DSML｜tool_calls>{{ tools }}",
    special: DEEPSEEK_SPECIAL,
    shown: DEEPSEEK_SHOWN,
};
/// DSML in a vocabulary that has no token for it.
pub(crate) const V3_2_TEXT: Model = Model {
    name: "DeepSeek V3.2 without tokens",
    jinja: include_str!("../templates/deepseek-v3.2.jinja"),
    special: &[],
    shown: &[],
};
pub(crate) const QWEN: Model = Model {
    name: "Qwen 3",
    jinja: include_str!("../templates/hermes.jinja"),
    special: &["<|im_start|>", "<|im_end|>"],
    shown: &["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>"],
};
/// Markers that are plain text, as in Hermes on Llama's vocabulary.
pub(crate) const HERMES: Model = Model {
    name: "Hermes",
    jinja: include_str!("../templates/hermes.jinja"),
    special: &["<|im_start|>", "<|im_end|>"],
    shown: &[],
};
pub(crate) const LLAMA: Model = Model {
    name: "Llama 3",
    jinja: include_str!("../templates/llama3.jinja"),
    special: &["<|begin_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|python_tag|>", "<|start_header_id|>"],
    shown: &[],
};
pub(crate) const NEMO: Model = Model {
    name: "Mistral Nemo",
    jinja: include_str!("../templates/mistral-tools.jinja"),
    special: &["<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]"],
    shown: &[],
};
pub(crate) const SMALL: Model = Model {
    name: "Mistral Small 3.2",
    jinja: "[TOOL_CALLS]{{ tools }}[CALL_ID][ARGS]",
    special: &["<s>", "</s>", "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"],
    shown: &[],
};
pub(crate) const MINISTRAL: Model = Model {
    name: "Ministral 3",
    jinja: "[THINK][/THINK][TOOL_CALLS]{{ tools }}[ARGS]",
    special: &["<s>", "</s>", "[TOOL_CALLS]", "[ARGS]", "[THINK]", "[/THINK]"],
    shown: &[],
};
/// No markup is known.
pub(crate) const PLAIN: Model = Model { name: "plain", jinja: TOOLS, special: &["</s>"], shown: &["<code>"] };

pub(crate) const TAILS: [PromptTail; 3] =
    [PromptTail::Plain, PromptTail::InReasoning, PromptTail::AfterReasoning];

impl Model {
    pub(crate) fn tokens(&self) -> Vec<AddedToken> {
        let special = self.special.iter().map(|literal| (literal, true));
        let literals = special.chain(self.shown.iter().map(|literal| (literal, false)));
        let token = |(id, (literal, special)): (u32, (&&str, bool))| AddedToken {
            id,
            literal: (*literal).to_owned(),
            special,
        };
        (FIRST_ID..).zip(literals).map(token).collect()
    }

    pub(crate) fn template(&self) -> Template {
        let template =
            ChatTemplate { jinja: self.jinja.to_owned(), bos_token: String::new(), eos_token: String::new() };
        Template::compile(&template, &self.tokens()).expect("a good template")
    }

    /// Compiled once for all tests.
    pub(crate) fn format(&self) -> AnswerFormat {
        static FORMATS: Mutex<BTreeMap<&str, AnswerFormat>> = Mutex::new(BTreeMap::new());
        let mut formats = FORMATS.lock().expect("no test panics while it compiles");
        formats.entry(self.name).or_insert_with(|| self.template().answer_format().clone()).clone()
    }

    /// Pieces as one text.
    pub(crate) fn text(&self, pieces: &[Piece]) -> String {
        let tokens = self.tokens();
        let text = |piece: &Piece| match piece {
            Piece::Token(id) => tokens[(id - FIRST_ID) as usize].literal.clone(),
            Piece::Text(text) => text.clone(),
        };
        pieces.iter().map(text).collect()
    }

    /// The answer with each literal of an added token as that token.
    pub(crate) fn pieces(&self, answer: &str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut rest = answer;
        while !rest.is_empty() {
            let first =
                self.tokens().into_iter().filter_map(|token| Some((rest.find(&token.literal)?, token)));
            let Some((at, token)) = first.min_by_key(|(at, _)| *at) else {
                pieces.push(Piece::Text(rest.to_owned()));
                break;
            };
            if at > 0 {
                pieces.push(Piece::Text(rest[..at].to_owned()));
            }
            pieces.push(Piece::Token(token.id));
            rest = &rest[at + token.literal.len()..];
        }
        pieces
    }
}

pub(crate) fn options(prompt_tail: PromptTail) -> AnswerOptions {
    AnswerOptions { prompt_tail, has_tools: true }
}

/// Each item of `inputs` is pushed by itself; parts of one kind in a row are joined.
pub(crate) fn read(
    format: &AnswerFormat,
    options: AnswerOptions,
    inputs: &[Vec<Piece>],
    ending: Ending,
) -> Finish {
    let mut parser = AnswerParser::new(format, options);
    let mut parts = Vec::new();
    for input in inputs {
        parts.extend(parser.push(input));
    }
    let finish = parser.finish(ending);
    parts.extend(finish.parts);
    Finish { parts: joined(parts), fault: finish.fault }
}

fn joined(parts: Vec<Part>) -> Vec<Part> {
    let mut joined: Vec<Part> = Vec::new();
    for part in parts {
        match (joined.last_mut(), part) {
            (Some(Part::Reasoning(last)), Part::Reasoning(next))
            | (Some(Part::Content(last)), Part::Content(next)) => last.push_str(&next),
            (
                Some(Part::CallArguments { index: last_index, json_fragment: last }),
                Part::CallArguments { index, json_fragment },
            ) if *last_index == index => last.push_str(&json_fragment),
            (_, part) => joined.push(part),
        }
    }
    joined
}

/// An answer's parts as one line each: `T` thought, `C` content, `name(arguments)` a whole call,
/// `name(arguments…` one that did not end.
pub(crate) fn shown(finish: &Finish) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in &finish.parts {
        match part {
            Part::Reasoning(text) => lines.push(format!("T {text}")),
            Part::Content(text) => lines.push(format!("C {text}")),
            Part::CallBegin { name, .. } => lines.push(format!("{name}(…")),
            Part::CallArguments { json_fragment, .. } => {
                let line = lines.last_mut().expect("a call has begun");
                *line = line.replace('…', &format!("{json_fragment}…"));
            }
            Part::CallEnd { .. } => {
                let line = lines.last_mut().expect("a call has begun");
                *line = line.replace('…', ")");
            }
        }
    }
    lines
}
