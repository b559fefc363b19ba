//! What is read out of an answer.

use std::mem;

/// Most tool calls in one answer.
pub const CALLS_MAX: u32 = 128;
/// Longest text of one call's arguments.
pub const CALL_ARGUMENTS_BYTES_MAX: usize = 8 << 20;
/// Longest head of a call: the name, and the markup around it.
pub const CALL_HEAD_BYTES_MAX: usize = 1 << 10;

/// A part of an answer, in the order in which the model wrote it. Texts are never empty; parts of
/// one kind in a row are to be joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// What the model thinks before it answers.
    Reasoning(String),
    /// The answer itself.
    Content(String),
    /// A tool call begins. Calls are numbered from 0, one after the other.
    CallBegin {
        /// Its number.
        index: u32,
        /// The function's name, as the model wrote it.
        name: String,
    },
    /// More of a call's arguments: text of one JSON object.
    CallArguments {
        /// The call's number.
        index: u32,
        /// The next part of the JSON text.
        json_fragment: String,
    },
    /// The call is whole, its arguments are one JSON object. A call without this never ended.
    CallEnd {
        /// The call's number.
        index: u32,
    },
}

/// What was wrong in an answer. Nothing of it is in the answer's content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// The answer ended within markup.
    #[error("the answer ended within tool call {call}; allow it more tokens")]
    Incomplete {
        /// The number of the call that it ended in, or that would have begun.
        call: u32,
    },
    /// A call is not in the model's own form.
    #[error("the model wrote tool call {call} in a form that it was not taught")]
    Malformed {
        /// The number of the call, or that it would have had.
        call: u32,
    },
    /// More than [`CALLS_MAX`] calls. Those beyond are left out.
    #[error("the answer has more than {CALLS_MAX} tool calls")]
    TooManyCalls,
    /// Arguments longer than [`CALL_ARGUMENTS_BYTES_MAX`], or a head longer than
    /// [`CALL_HEAD_BYTES_MAX`].
    #[error(
        "tool call {call} has more than {CALL_ARGUMENTS_BYTES_MAX} bytes of arguments, or more than \
         {CALL_HEAD_BYTES_MAX} bytes before them"
    )]
    TooLong {
        /// The number of the call.
        call: u32,
    },
}

/// Collects parts, and the state of the calls among them.
#[derive(Debug, Default)]
pub(crate) struct Output {
    parts: Vec<Part>,
    /// Calls begun so far; the last of them may be open.
    begun: u32,
    is_open: bool,
    arguments_bytes: usize,
}

impl Output {
    pub(crate) fn take(&mut self) -> Vec<Part> {
        mem::take(&mut self.parts)
    }

    pub(crate) fn reasoning(&mut self, text: &str) {
        match self.parts.last_mut() {
            Some(Part::Reasoning(last)) => last.push_str(text),
            _ => self.parts.push(Part::Reasoning(text.to_owned())),
        }
    }

    pub(crate) fn content(&mut self, text: &str) {
        match self.parts.last_mut() {
            Some(Part::Content(last)) => last.push_str(text),
            _ => self.parts.push(Part::Content(text.to_owned())),
        }
    }

    pub(crate) fn begin_call(&mut self, name: &str) -> Result<(), AnswerFault> {
        let is_name = |c: char| !c.is_whitespace() && !c.is_control();
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(self.malformed());
        }
        if self.begun == CALLS_MAX {
            return Err(AnswerFault::TooManyCalls);
        }
        self.parts.push(Part::CallBegin { index: self.begun, name: name.to_owned() });
        self.begun += 1;
        self.is_open = true;
        self.arguments_bytes = 0;
        Ok(())
    }

    pub(crate) fn arguments(&mut self, json: &[u8]) -> Result<(), AnswerFault> {
        let json = str::from_utf8(json).map_err(|_| self.malformed())?;
        let fitting = &json[..json.floor_char_boundary(self.arguments_bytes_left())];
        self.arguments_bytes += fitting.len();
        match self.parts.last_mut() {
            _ if fitting.is_empty() => {}
            Some(Part::CallArguments { json_fragment, .. }) => json_fragment.push_str(fitting),
            _ => {
                let index = self.begun - 1;
                self.parts.push(Part::CallArguments { index, json_fragment: fitting.to_owned() });
            }
        }
        if fitting.len() < json.len() { Err(self.too_long()) } else { Ok(()) }
    }

    /// How much longer the open call's arguments may grow.
    pub(crate) fn arguments_bytes_left(&self) -> usize {
        CALL_ARGUMENTS_BYTES_MAX - self.arguments_bytes
    }

    /// Ends the open call; one without arguments has none.
    pub(crate) fn end_call(&mut self) -> Result<(), AnswerFault> {
        if self.arguments_bytes == 0 {
            self.arguments(b"{}")?;
        }
        self.is_open = false;
        self.parts.push(Part::CallEnd { index: self.begun - 1 });
        Ok(())
    }

    pub(crate) fn abandon_call(&mut self) {
        self.is_open = false;
    }

    /// The open call, or the next one.
    fn call(&self) -> u32 {
        self.begun - u32::from(self.is_open)
    }

    pub(crate) fn malformed(&self) -> AnswerFault {
        AnswerFault::Malformed { call: self.call() }
    }

    pub(crate) fn incomplete(&self) -> AnswerFault {
        AnswerFault::Incomplete { call: self.call() }
    }

    pub(crate) fn too_long(&self) -> AnswerFault {
        AnswerFault::TooLong { call: self.call() }
    }
}
