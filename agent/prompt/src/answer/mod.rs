//! The way back: from a model's answer to reasoning, content and tool calls.

mod call_object;
mod deepseek;
mod dsml;
mod format;
mod grammar;
mod hermes;
mod json;
mod llama;
mod marker;
mod markup;
mod mistral;
mod output;
mod parser;
mod reader;
mod text;

pub use format::{AnswerFormat, PromptTail};
pub use grammar::{AnswerForm, CallRules, FUNCTION_NAME_BYTES_MAX, FUNCTIONS_MAX, GrammarError, ToolChoice};
pub(crate) use markup::ReasoningMarkup;
pub use output::{AnswerFault, CALL_ARGUMENTS_BYTES_MAX, CALL_HEAD_BYTES_MAX, CALLS_MAX, Part};
pub use parser::{AnswerOptions, AnswerParser, Finish};
pub use reader::Ending;
