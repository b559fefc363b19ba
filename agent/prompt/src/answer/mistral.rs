//! Calls of Mistral: `[TOOL_CALLS][{"name": …, "arguments": …}, …]`, and since Small 3.2
//! `[TOOL_CALLS]NAME[ARGS]{…}` once for each call, in some with `[CALL_ID]…` before `[ARGS]`.
//! One reader takes all.

use std::sync::Arc;

use super::call_object::CallObject;
use super::json::JsonScanner;
use super::marker::{Alphabet, Here, Marker, Scan, here, scan};
use super::output::{AnswerFault, Output};
use super::reader::{CallReader, Ending, Input, Pause, head_text, read_arguments, take_head};
use crate::pieces::Literals;

#[derive(Debug)]
pub(crate) struct Mistral {
    pub(crate) open: Marker,
    pub(crate) arguments: Marker,
    pub(crate) call_id: Marker,
    /// Whether the model writes a name rather than a list.
    pub(crate) is_named: bool,
    /// Whether it writes an id after the name.
    pub(crate) has_call_id: bool,
}

impl Mistral {
    pub(crate) fn found(jinja: &str, alphabet: &mut Alphabet, literals: &Literals) -> Option<Self> {
        let mut marker = |text| alphabet.marker(literals, text);
        jinja.contains("[TOOL_CALLS]").then(|| Self {
            open: marker("[TOOL_CALLS]"),
            arguments: marker("[ARGS]"),
            call_id: marker("[CALL_ID]"),
            is_named: jinja.contains("[ARGS]"),
            has_call_id: jinja.contains("[CALL_ID]"),
        })
    }
}

#[derive(Debug)]
pub(crate) struct Reader {
    markup: Arc<Mistral>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Before `[TOOL_CALLS]`.
    Between,
    /// After it.
    Begin,
    /// Within a list.
    Item,
    Object(CallObject),
    Name,
    Arguments(JsonScanner),
    Skip,
}

impl Reader {
    pub(crate) fn new(markup: Arc<Mistral>) -> Self {
        Self { markup, state: State::Between }
    }

    fn between(&mut self, input: &mut Input) -> Option<Pause> {
        input.skip_white();
        match here(input.rest(), &[&self.markup.open]) {
            Here::Marker { len, .. } => {
                input.advance(len);
                self.state = State::Begin;
                None
            }
            Here::Other if !input.rest().is_empty() => Some(Pause::Over),
            _ => Some(Pause::Wait),
        }
    }

    fn begin(&mut self, input: &mut Input) -> Option<Pause> {
        input.skip_white();
        self.state = match input.rest().first()? {
            b'[' => {
                input.advance(1);
                State::Item
            }
            b'{' => State::Object(CallObject::new()),
            _ => State::Name,
        };
        None
    }

    fn item(&mut self, input: &mut Input, output: &Output) -> Result<Option<Pause>, AnswerFault> {
        input.skip(|byte| byte.is_ascii_whitespace() || byte == b',');
        match input.rest().first() {
            None => return Ok(Some(Pause::Wait)),
            Some(b'{') => self.state = State::Object(CallObject::new()),
            Some(b']') => {
                input.advance(1);
                self.state = State::Between;
            }
            Some(_) => return Err(output.malformed()),
        }
        Ok(None)
    }

    fn name(&mut self, input: &mut Input, output: &mut Output) -> Result<Option<Pause>, AnswerFault> {
        let Some(head) = take_head(input, output, b"{")? else { return Ok(Some(Pause::Wait)) };
        let markers = [&self.markup.arguments, &self.markup.call_id];
        let name = match scan(&head, &markers) {
            Scan::Found { at, .. } => &head[..at],
            Scan::Missing { .. } => &head[..],
        };
        output.begin_call(head_text(name, output)?.trim())?;
        self.state = State::Arguments(JsonScanner::new());
        Ok(None)
    }

    fn skip(&mut self, input: &mut Input) -> Pause {
        match scan(input.rest(), &[&self.markup.open]) {
            Scan::Found { at, .. } => {
                input.advance(at);
                self.state = State::Between;
                Pause::Over
            }
            Scan::Missing { safe } => {
                input.advance(safe);
                Pause::Wait
            }
        }
    }
}

impl CallReader for Reader {
    fn read(&mut self, input: &mut Input, output: &mut Output) -> Result<Pause, AnswerFault> {
        loop {
            let pause = match &mut self.state {
                State::Between => self.between(input),
                State::Begin if input.rest().is_empty() => Some(Pause::Wait),
                State::Begin => self.begin(input),
                State::Item => self.item(input, output)?,
                State::Object(object) => {
                    let is_ended = object.read(input, output)?;
                    if is_ended {
                        output.end_call()?;
                        self.state = State::Item;
                    }
                    (!is_ended).then_some(Pause::Wait)
                }
                State::Name => self.name(input, output)?,
                State::Arguments(scanner) => {
                    let is_ended = read_arguments(scanner, input, output)?;
                    if is_ended {
                        output.end_call()?;
                        self.state = State::Between;
                    }
                    (!is_ended).then_some(Pause::Wait)
                }
                State::Skip => Some(self.skip(input)),
            };
            if let Some(pause) = pause {
                return Ok(pause);
            }
        }
    }

    fn skip_call(&mut self) {
        self.state = State::Skip;
    }

    fn end(&mut self, _: Ending, output: &mut Output) -> Result<(), AnswerFault> {
        match self.state {
            State::Between | State::Item | State::Skip => Ok(()),
            _ => Err(output.incomplete()),
        }
    }
}
