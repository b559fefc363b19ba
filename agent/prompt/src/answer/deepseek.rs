//! Calls of DeepSeek V3 and R1, and of V3.1.
//!
//! V3, R1: `<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME⏎` + "```json" +
//! `⏎ARGUMENTS⏎` + "```" + `<｜tool▁call▁end｜>…<｜tool▁calls▁end｜>`; V3.1:
//! `<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>ARGUMENTS<｜tool▁call▁end｜>`. One reader takes both,
//! as models mix them: the name is what stands before the arguments, or else before the separator.

use std::sync::Arc;

use super::json::JsonScanner;
use super::marker::{Alphabet, Here, Marker, Scan, here, scan};
use super::output::{AnswerFault, CALL_HEAD_BYTES_MAX, Output};
use super::reader::{CallReader, Ending, Input, Pause, head_text, read_arguments};
use crate::pieces::Literals;

#[derive(Debug)]
pub(crate) struct DeepSeek {
    pub(crate) calls_begin: Marker,
    pub(crate) calls_end: Marker,
    pub(crate) call_begin: Marker,
    pub(crate) call_end: Marker,
    pub(crate) separator: Marker,
    /// Whether arguments stand in a code fence, as in V3 and R1.
    pub(crate) is_fenced: bool,
}

impl DeepSeek {
    pub(crate) fn found(jinja: &str, alphabet: &mut Alphabet, literals: &Literals) -> Option<Self> {
        let mut marker = |text| alphabet.marker(literals, text);
        jinja.contains("<｜tool▁calls▁begin｜>").then(|| Self {
            calls_begin: marker("<｜tool▁calls▁begin｜>"),
            calls_end: marker("<｜tool▁calls▁end｜>"),
            call_begin: marker("<｜tool▁call▁begin｜>"),
            call_end: marker("<｜tool▁call▁end｜>"),
            separator: marker("<｜tool▁sep｜>"),
            is_fenced: jinja.contains("```json"),
        })
    }
}

#[derive(Debug)]
pub(crate) struct Reader {
    markup: Arc<DeepSeek>,
    state: State,
}

#[derive(Debug)]
enum State {
    Between,
    /// Before the separator.
    Kind,
    /// After it, with what stood before it.
    Name(String),
    Arguments(JsonScanner),
    CallEnd,
    Skip,
}

impl Reader {
    pub(crate) fn new(markup: Arc<DeepSeek>) -> Self {
        Self { markup, state: State::Between }
    }

    fn between(&mut self, input: &mut Input) -> Option<Pause> {
        input.skip_white();
        let markup = &self.markup;
        let markers =
            [&markup.calls_begin, &markup.call_begin, &markup.calls_end, &markup.call_end, &markup.separator];
        match here(input.rest(), &markers) {
            Here::Undecided => Some(Pause::Wait),
            Here::Other if input.rest().is_empty() => Some(Pause::Wait),
            Here::Other => Some(Pause::Over),
            Here::Marker { which, len } => {
                input.advance(len);
                if which == 1 {
                    self.state = State::Kind;
                }
                (which == 2).then_some(Pause::Over)
            }
        }
    }

    fn kind(&mut self, input: &mut Input, output: &Output) -> Result<Option<Pause>, AnswerFault> {
        let markup = &self.markup;
        let markers = [&markup.separator, &markup.call_end, &markup.call_begin, &markup.calls_end];
        let (at, which) = match scan(input.rest(), &markers) {
            Scan::Found { at, which } => (at, Some(which)),
            Scan::Missing { safe } => (safe, None),
        };
        if at > CALL_HEAD_BYTES_MAX {
            return Err(output.too_long());
        }
        match which {
            None => return Ok(Some(Pause::Wait)),
            Some(0) => {}
            Some(_) => return Err(output.malformed()),
        }
        let kind = head_text(&input.rest()[..at], output)?.trim().to_owned();
        input.advance(at + markup.separator.bytes().len());
        self.state = State::Name(kind);
        Ok(None)
    }

    fn name(&mut self, input: &mut Input, output: &mut Output) -> Result<Option<Pause>, AnswerFault> {
        let (State::Name(kind), markup) = (&self.state, &self.markup) else { return Ok(None) };
        let object = input.rest().iter().position(|&byte| byte == b'{');
        let before = &input.rest()[..object.unwrap_or(input.rest().len())];
        let (at, has_arguments) = match scan(before, &[&markup.call_end]) {
            Scan::Found { at, .. } => (at, false),
            Scan::Missing { .. } if object.is_some() => (before.len(), true),
            Scan::Missing { safe } if safe > CALL_HEAD_BYTES_MAX => return Err(output.too_long()),
            Scan::Missing { .. } => return Ok(Some(Pause::Wait)),
        };
        if at > CALL_HEAD_BYTES_MAX {
            return Err(output.too_long());
        }
        let head = head_text(&input.rest()[..at], output)?.trim();
        let unfenced =
            head.strip_suffix("```json").or_else(|| head.strip_suffix("```")).unwrap_or(head).trim();
        output.begin_call(if unfenced.is_empty() { kind } else { unfenced })?;
        input.advance(at);
        self.state = if has_arguments { State::Arguments(JsonScanner::new()) } else { State::CallEnd };
        Ok(None)
    }

    fn call_end(&mut self, input: &mut Input, output: &mut Output) -> Result<Option<Pause>, AnswerFault> {
        input.skip(|byte| byte.is_ascii_whitespace() || byte == b'`');
        match here(input.rest(), &[&self.markup.call_end]) {
            Here::Undecided => return Ok(Some(Pause::Wait)),
            Here::Other if input.rest().is_empty() => return Ok(Some(Pause::Wait)),
            Here::Other => return Err(output.malformed()),
            Here::Marker { len, .. } => input.advance(len),
        }
        output.end_call()?;
        self.state = State::Between;
        Ok(None)
    }

    fn skip(&mut self, input: &mut Input) -> Option<Pause> {
        let markup = &self.markup;
        match scan(input.rest(), &[&markup.call_end, &markup.call_begin, &markup.calls_end]) {
            Scan::Found { at, .. } => {
                input.advance(at);
                self.state = State::Between;
                None
            }
            Scan::Missing { safe } => {
                input.advance(safe);
                Some(Pause::Wait)
            }
        }
    }
}

impl CallReader for Reader {
    fn read(&mut self, input: &mut Input, output: &mut Output) -> Result<Pause, AnswerFault> {
        loop {
            let pause = match &mut self.state {
                State::Between => self.between(input),
                State::Kind => self.kind(input, output)?,
                State::Name(_) => self.name(input, output)?,
                State::Arguments(scanner) => {
                    let is_ended = read_arguments(scanner, input, output)?;
                    if is_ended {
                        self.state = State::CallEnd;
                    }
                    (!is_ended).then_some(Pause::Wait)
                }
                State::CallEnd => self.call_end(input, output)?,
                State::Skip => self.skip(input),
            };
            if let Some(pause) = pause {
                return Ok(pause);
            }
        }
    }

    fn skip_call(&mut self) {
        self.state = State::Skip;
    }

    fn end(&mut self, ending: Ending, output: &mut Output) -> Result<(), AnswerFault> {
        match self.state {
            State::Between | State::Skip => Ok(()),
            State::CallEnd if ending == Ending::Stopped => output.end_call(),
            _ => Err(output.incomplete()),
        }
    }
}
