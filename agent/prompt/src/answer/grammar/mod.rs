//! Grammars that force tool calls in a model's own form, in llguidance's variant of Lark
//! (`docs/syntax.md` of guidance-ai/llguidance).
//!
//! Tokens of markers stand in them by id, so the engine's vocabulary must hold added tokens as
//! tokens that no text matches.

mod blocks;
mod functions;
mod lark;
mod parameters;

use serde_json::Value as Json;

use self::blocks::Block;
use self::functions::Function;
use self::lark::Lark;
use super::format::{AnswerFormat, PromptTail};

/// Most functions of one request.
pub const FUNCTIONS_MAX: usize = 128;
/// Longest name of a function.
pub const FUNCTION_NAME_BYTES_MAX: usize = 64;

/// What of its tools the model is to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolChoice<'a> {
    /// What it likes, or nothing.
    Auto,
    /// At least one.
    Required,
    /// The function of this name.
    Function(&'a str),
}

/// What an answer's calls must be like.
#[derive(Debug, Clone, Copy)]
pub struct CallRules<'a> {
    /// Tool definitions in OpenAI's form, as in [`crate::Chat::tools`].
    pub tools: &'a Json,
    /// What is to be called.
    pub choice: ToolChoice<'a>,
    /// Whether there may be more than one call.
    pub parallel: bool,
    /// How the prompt ends, from [`AnswerFormat::prompt_tail`].
    pub prompt_tail: PromptTail,
}

/// What an answer must be, but for its reasoning.
#[derive(Debug, Clone, Copy)]
pub enum AnswerForm<'a> {
    /// JSON of this schema.
    Json(&'a Json),
    /// What this regular expression matches whole, in the syntax of Rust's `regex` crate.
    Regex(&'a str),
    /// What this grammar accepts, in llguidance's variant of Lark.
    Lark(&'a str),
}

/// Why calls cannot be forced. Another request may do: answer 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// The model writes no calls, or in no known way.
    #[error("this model's tool calls have no known form; leave `tools` out")]
    NoCalls,
    /// There is nothing to choose from.
    #[error("`tool_choice` asks for a call, but there are no `tools`")]
    NoTools,
    /// The named function is not among the tools.
    #[error("`tool_choice` names the function {name:?}, which is not among the `tools`")]
    UnknownFunction {
        /// The name.
        name: String,
    },
    /// A tool is not in OpenAI's form.
    #[error("tool {index} is no function: {detail}")]
    Tool {
        /// Its place in the list, from 0.
        index: usize,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// More than [`FUNCTIONS_MAX`] tools.
    #[error("there are {tools} `tools`, at most {FUNCTIONS_MAX} are allowed")]
    TooManyTools {
        /// How many there are.
        tools: usize,
    },
    /// The form of the model's calls cannot express these parameters.
    #[error("the parameters of function {function:?} cannot be forced on this model: {detail}")]
    Parameters {
        /// The function.
        function: String,
        /// What stands in the way.
        detail: &'static str,
    },
}

impl AnswerFormat {
    /// The grammar that an answer must follow; `None` where it needs none: calls are free, and no
    /// function is strict.
    ///
    /// Arguments follow a function's schema; in functions that are not `strict`, what the schema says
    /// beyond llguidance's JSON schema is left out rather than refused.
    ///
    /// # Errors
    /// When calls cannot be read or forced, or the tools are not in OpenAI's form: ask for each request
    /// with tools.
    pub fn call_grammar(&self, rules: &CallRules<'_>) -> Result<Option<String>, GrammarError> {
        let mut functions = functions::read(rules.tools)?;
        match rules.choice {
            ToolChoice::Auto if functions.is_empty() => return Ok(None),
            ToolChoice::Auto => {}
            ToolChoice::Required if functions.is_empty() => return Err(GrammarError::NoTools),
            ToolChoice::Required => {}
            ToolChoice::Function(name) => {
                functions.retain(|function| function.name == name);
                if functions.is_empty() {
                    return Err(GrammarError::UnknownFunction { name: name.to_owned() });
                }
            }
        }
        let markup = self.calls().ok_or(GrammarError::NoCalls)?;
        let is_free = rules.choice == ToolChoice::Auto && rules.parallel;
        if is_free && !functions.iter().any(|function| function.is_strict) {
            return Ok(None);
        }
        let mut lark = Lark::default();
        let block = Block::new(markup, &functions, rules.parallel, &mut lark)?;
        let reasoning = self.reasoning_prefix(rules.prompt_tail, &mut lark);
        let calls = match rules.choice {
            ToolChoice::Auto => block.optional(&mut lark),
            ToolChoice::Required | ToolChoice::Function(_) => block.forced(&mut lark),
        };
        Ok(Some(lark.finish(&format!("{reasoning} {calls}"))))
    }

    /// The grammar of an answer that has this form after its reasoning.
    pub fn form_grammar(&self, form: AnswerForm<'_>, prompt_tail: PromptTail) -> String {
        let mut lark = Lark::default();
        let reasoning = self.reasoning_prefix(prompt_tail, &mut lark);
        let form = match form {
            AnswerForm::Json(schema) => lark.json(schema),
            AnswerForm::Regex(regex) => lark.regex(regex),
            AnswerForm::Lark(grammar) => lark.lark(grammar),
        };
        lark.finish(&format!("{reasoning} {form}"))
    }

    /// The rest of the reasoning that the prompt began, or such as the model may begin.
    fn reasoning_prefix(&self, prompt_tail: PromptTail, lark: &mut Lark) -> String {
        match (self.reasoning(), prompt_tail) {
            (Some(markup), PromptTail::InReasoning) => {
                format!("{} {}?", lark.until(&markup.close), lark.white())
            }
            (Some(markup), PromptTail::Plain) => {
                let thought = lark.until(&markup.close);
                format!("({} {thought} {}?)?", lark::marker(&markup.open), lark.white())
            }
            _ => String::new(),
        }
    }
}

/// The functions as alternatives, each in its own rule.
fn alternatives(
    functions: &[Function],
    lark: &mut Lark,
    mut rule: impl FnMut(&Function, &mut Lark) -> Result<String, GrammarError>,
) -> Result<String, GrammarError> {
    let mut calls = Vec::new();
    for function in functions {
        let body = rule(function, lark)?;
        calls.push(lark.rule(&body));
    }
    Ok(lark.rule(&calls.join(" | ")))
}
