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
//! leaves an assistant's content as it is, as text; callers give reasoning in its own field.
//! Elsewhere (`</think>` as ordinary text) it is cut off as the template says.

mod chat;
mod error;
mod lexicon;
mod pieces;
mod python;
mod template;
mod veil;

pub use chat::{CHAT_DEPTH_MAX, CHAT_MESSAGES_MAX, Chat, ROLES};
pub use error::{RenderError, TemplateError};
pub use lexicon::TEMPLATE_SPELLINGS_MAX;
pub use template::{PROMPT_CHARS_MAX, RENDER_FUEL_MAX, RENDER_RECURSION_MAX, TEMPLATE_BYTES_MAX, Template};
