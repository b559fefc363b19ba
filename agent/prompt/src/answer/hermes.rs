//! Calls of Hermes, Qwen 2.5 and Qwen 3: `<tool_call>⏎{"name": …, "arguments": …}⏎</tool_call>`.

use std::sync::Arc;

use super::call_object::CallObject;
use super::marker::{Alphabet, Here, Marker, Scan, here, scan};
use super::output::{AnswerFault, Output};
use super::reader::{CallReader, Ending, Input, Pause};
use crate::pieces::Literals;

#[derive(Debug)]
pub(crate) struct Hermes {
    pub(crate) open: Marker,
    pub(crate) close: Marker,
}

impl Hermes {
    /// Others write XML or pairs of keys and values between the same tags.
    pub(crate) fn found(jinja: &str, alphabet: &mut Alphabet, literals: &Literals) -> Option<Self> {
        let has_arguments = ["\"arguments\"", "\\\"arguments\\\""].iter().any(|&key| jinja.contains(key));
        let is_other = ["<function=", "<arg_key>", "<tool_calls>"].iter().any(|&tag| jinja.contains(tag));
        let mut marker = |text| alphabet.marker(literals, text);
        (jinja.contains("<tool_call>") && has_arguments && !is_other)
            .then(|| Self { open: marker("<tool_call>"), close: marker("</tool_call>") })
    }
}

#[derive(Debug)]
pub(crate) struct Reader {
    markup: Arc<Hermes>,
    state: State,
}

#[derive(Debug)]
enum State {
    Open,
    Object(CallObject),
    Close,
    Skip,
}

impl Reader {
    pub(crate) fn new(markup: Arc<Hermes>) -> Self {
        Self { markup, state: State::Open }
    }

    /// A model may forget to close a call before it opens the next.
    fn close(&mut self, input: &mut Input, output: &mut Output) -> Result<Pause, AnswerFault> {
        input.skip_white();
        match here(input.rest(), &[&self.markup.close, &self.markup.open]) {
            Here::Marker { which, len } => {
                input.advance(if which == 0 { len } else { 0 });
                output.end_call()?;
                Ok(Pause::Over)
            }
            Here::Other if !input.rest().is_empty() => Err(output.malformed()),
            _ => Ok(Pause::Wait),
        }
    }
}

impl CallReader for Reader {
    fn read(&mut self, input: &mut Input, output: &mut Output) -> Result<Pause, AnswerFault> {
        loop {
            match &mut self.state {
                State::Open => match here(input.rest(), &[&self.markup.open]) {
                    Here::Marker { len, .. } => {
                        input.advance(len);
                        self.state = State::Object(CallObject::new());
                    }
                    _ => return Ok(Pause::Wait),
                },
                State::Object(object) => {
                    if !object.read(input, output)? {
                        return Ok(Pause::Wait);
                    }
                    self.state = State::Close;
                }
                State::Close => return self.close(input, output),
                State::Skip => match scan(input.rest(), &[&self.markup.close]) {
                    Scan::Found { at, .. } => {
                        input.advance(at + self.markup.close.bytes().len());
                        return Ok(Pause::Over);
                    }
                    Scan::Missing { safe } => {
                        input.advance(safe);
                        return Ok(Pause::Wait);
                    }
                },
            }
        }
    }

    fn skip_call(&mut self) {
        self.state = State::Skip;
    }

    fn end(&mut self, ending: Ending, output: &mut Output) -> Result<(), AnswerFault> {
        match self.state {
            State::Close if ending == Ending::Stopped => output.end_call(),
            State::Skip => Ok(()),
            _ => Err(output.incomplete()),
        }
    }
}
