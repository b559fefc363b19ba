//! From a chat to a prompt's pieces. Pure: no I/O, no clock, no randomness.
//!
//! # Caller text can never become a control token
//!
//! A chat template mixes its own text, in which `<|im_end|>` is a control token, with callers'
//! text, in which the same characters are just characters. Jinja joins both into one string and
//! forgets which was which. Replacing the literals in callers' strings beforehand is not enough:
//! a literal may form later, across a border (`'<' ~ key ~ '>'` with the key `think`), or by a
//! filter, a slice or a join. So each *character* carries its origin, see `veil`:
//!
//! 1. Before rendering, every character of every string of the caller is **veiled**: moved into
//!    two planes of Unicode where no character is assigned and no literal can be.
//! 2. The template renders, within bounds of fuel, output and recursion. It may slice, trim, split
//!    and join veiled text as any other: one character stays one character.
//! 3. Literals found in the output, all of whose characters are then the template's own, become
//!    [`Piece::Token`](nabi_domain::Piece); the rest is unveiled and becomes text.
//!
//! No secret is involved. A caller who sends characters of the veil's planes is refused
//! ([`RenderError::ReservedCharacter`]).
//!
//! Three things stay unveiled, so that templates can look at what they are given:
//!
//! - white space, for `trim` and its kin;
//! - the words of the chat format in their places: keys as `content`, well-known roles ([`ROLES`])
//!   and types, so that `message.content` is found and `'<|' + role + '|>'` works;
//! - words that the template itself spells (`'</think>' in content`), but only those that cannot
//!   overlap a literal, whatever of the template's text stands beside them: see `lexicon`.
//!
//! Guaranteed, then: a token comes of characters that the template or the chat format spelled, in
//! any template that does not take its own words apart (by slices, say) to glue them to caller
//! text. White space inside a literal (there are hardly any such literals), and the digits of
//! numbers that a template joins to text, may be the caller's.
//!
//! The price: what looks *into* caller text for something that is a token of the model does not
//! find it. Where `</think>` is an added token, a template that cuts reasoning off at `</think>`
//! leaves an assistant's content as it is, as text. So `<think>…</think>` at the beginning of such
//! content is given to the template as `reasoning_content`, where the caller gave none; further
//! inside it stays text. Elsewhere (`</think>` as ordinary text) it is cut off as the template says.
//!
//! # From an answer to its parts
//!
//! [`Template::answer_format`] knows how the model marks reasoning and tool calls. An
//! [`AnswerParser`] takes the answer's pieces as they come, and gives [`Part`]s as early as each is
//! certain. Markers that are tokens of the model are known by their ids alone: text can never pass
//! for one. Where markers are text, what may become one is held back.
//!
//! ```
//! # use nabi_domain::{ChatTemplate, Piece};
//! # use nabi_prompt::{AnswerOptions, AnswerParser, CallRules, Chat, Ending, Part, Template, ToolChoice};
//! # let jinja = "{{ tools }}<think></think><tool_call>\"arguments\"".to_owned();
//! # let (bos_token, eos_token) = (String::new(), String::new());
//! # let template = Template::compile(&ChatTemplate { jinja, bos_token, eos_token }, &[])?;
//! # let tools = serde_json::json!([{"type": "function", "function": {"name": "now"}}]);
//! let format = template.answer_format();
//! let prompt = template.render(&Chat { tools: Some(tools.clone()), ..Chat::default() })?;
//! let prompt_tail = format.prompt_tail(&prompt);
//! // For `tool_choice: "required"`; `None` where nothing is to be forced.
//! let rules = CallRules { tools: &tools, choice: ToolChoice::Required, parallel: true, prompt_tail };
//! let lark = format.call_grammar(&rules)?;
//! // For each of the answer's pieces, as the engine streams them:
//! let mut parser = AnswerParser::new(format, AnswerOptions { prompt_tail, has_tools: true });
//! let mut parts = parser.push(&[Piece::Text("<tool_call>\n{\"name\": \"now\"}\n</tool_call>".to_owned())]);
//! let finish = parser.finish(Ending::Stopped);
//! parts.extend(finish.parts);
//! assert_eq!(parts[2], Part::CallEnd { index: 0 });
//! # assert!(lark.is_some() && finish.fault.is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod chat;
mod error;
mod history;
mod lexicon;
mod pieces;
mod python;
mod template;
mod veil;

pub use answer::{
    AnswerFault, AnswerForm, AnswerFormat, AnswerOptions, AnswerParser, CALL_ARGUMENTS_BYTES_MAX,
    CALL_HEAD_BYTES_MAX, CALLS_MAX, CallRules, Ending, FUNCTION_NAME_BYTES_MAX, FUNCTIONS_MAX, Finish,
    GrammarError, Part, PromptTail, ToolChoice,
};
pub use chat::{CHAT_DEPTH_MAX, CHAT_MESSAGES_MAX, Chat, ROLES};
pub use error::{RenderError, TemplateError};
pub use lexicon::TEMPLATE_SPELLINGS_MAX;
pub use template::{PROMPT_CHARS_MAX, RENDER_FUEL_MAX, RENDER_RECURSION_MAX, TEMPLATE_BYTES_MAX, Template};
