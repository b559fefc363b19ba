//! Calls of DeepSeek V3.2 and V4 in DSML, whose `｜DSML｜` is one token:
//!
//! ```text
//! <｜DSML｜function_calls>
//! <｜DSML｜invoke name="NAME">
//! <｜DSML｜parameter name="KEY" string="true">TEXT</｜DSML｜parameter>
//! <｜DSML｜parameter name="KEY" string="false">JSON</｜DSML｜parameter>
//! </｜DSML｜invoke>
//! </｜DSML｜function_calls>
//! ```
//!
//! V4 names the block `tool_calls`. Source: `encoding_dsv32.py` in DeepSeek's model repository.

use std::sync::Arc;

use super::json::JsonScanner;
use super::marker::{Alphabet, Here, Marker, Scan, here, is_token_byte, scan};
use super::output::{AnswerFault, Output};
use super::reader::{CallReader, Ending, Input, Pause, head_text, read_arguments, take_head};
use crate::pieces::Literals;

#[derive(Debug)]
pub(crate) struct Dsml {
    /// Of the block that the template teaches, then the other.
    pub(crate) open: [Marker; 2],
    pub(crate) close: [Marker; 2],
    pub(crate) invoke: Marker,
    pub(crate) invoke_end: Marker,
    pub(crate) parameter: Marker,
    pub(crate) parameter_end: Marker,
}

impl Dsml {
    pub(crate) fn found(jinja: &str, alphabet: &mut Alphabet, literals: &Literals) -> Option<Self> {
        if !jinja.contains("｜DSML｜") {
            return None;
        }
        let mut marker = |text: &str| alphabet.marker(literals, text);
        let mut names = ["function_calls", "tool_calls"];
        if !jinja.contains("function_calls>") {
            names.reverse();
        }
        Some(Self {
            open: names.map(|name| marker(&format!("<｜DSML｜{name}>"))),
            close: names.map(|name| marker(&format!("</｜DSML｜{name}>"))),
            invoke: marker("<｜DSML｜invoke"),
            invoke_end: marker("</｜DSML｜invoke>"),
            parameter: marker("<｜DSML｜parameter"),
            parameter_end: marker("</｜DSML｜parameter>"),
        })
    }
}

#[derive(Debug)]
pub(crate) struct Reader {
    markup: Arc<Dsml>,
    state: State,
}

#[derive(Debug)]
enum State {
    Between,
    InvokeHead,
    /// Between the parameters of a call, of which so many are read.
    Parameters(usize),
    ParameterHead(usize),
    Text(usize),
    Json(usize, JsonScanner),
    ParameterEnd(usize),
    Skip,
}

impl Reader {
    pub(crate) fn new(markup: Arc<Dsml>) -> Self {
        Self { markup, state: State::Between }
    }

    fn between(&mut self, input: &mut Input) -> Option<Pause> {
        input.skip_white();
        let markup = &self.markup;
        let [open, other_open] = &markup.open;
        let [close, other_close] = &markup.close;
        match here(input.rest(), &[open, other_open, &markup.invoke, close, other_close]) {
            Here::Marker { which, len } => {
                input.advance(len);
                if which == 2 {
                    self.state = State::InvokeHead;
                }
                (which > 2).then_some(Pause::Over)
            }
            Here::Other if !input.rest().is_empty() => Some(Pause::Over),
            _ => Some(Pause::Wait),
        }
    }

    fn invoke_head(&mut self, input: &mut Input, output: &mut Output) -> Result<Option<Pause>, AnswerFault> {
        let Some(head) = take_head(input, output, b"\">")? else { return Ok(Some(Pause::Wait)) };
        let head = head_text(&head, output)?;
        let name = head.trim_start().strip_prefix("name=\"").ok_or_else(|| output.malformed())?;
        output.begin_call(name)?;
        input.advance(2);
        self.state = State::Parameters(0);
        Ok(None)
    }

    fn parameters(
        &mut self,
        count: usize,
        input: &mut Input,
        output: &mut Output,
    ) -> Result<Option<Pause>, AnswerFault> {
        input.skip_white();
        match here(input.rest(), &[&self.markup.parameter, &self.markup.invoke_end]) {
            Here::Marker { which: 0, len } => {
                input.advance(len);
                self.state = State::ParameterHead(count);
                Ok(None)
            }
            Here::Marker { len, .. } => {
                input.advance(len);
                output.arguments(if count == 0 { b"" } else { b"}" })?;
                output.end_call()?;
                self.state = State::Between;
                Ok(None)
            }
            Here::Other if !input.rest().is_empty() => Err(output.malformed()),
            _ => Ok(Some(Pause::Wait)),
        }
    }

    /// ` name="KEY" string="true">`, up to the last quote.
    fn parameter_head(
        &mut self,
        count: usize,
        input: &mut Input,
        output: &mut Output,
    ) -> Result<Option<Pause>, AnswerFault> {
        let Some(head) = take_head(input, output, b"\">")? else { return Ok(Some(Pause::Wait)) };
        let head = head_text(&head, output)?;
        let attributes = head.trim_start().strip_prefix("name=\"").ok_or_else(|| output.malformed())?;
        let (key, is_text) = match attributes.rsplit_once("\" string=\"") {
            Some((key, "true")) => (key, true),
            Some((key, "false")) => (key, false),
            _ => return Err(output.malformed()),
        };
        input.advance(2);
        output.arguments(if count == 0 { b"{\"" } else { b", \"" })?;
        write_escaped(key, output)?;
        output.arguments(if is_text { b"\": \"" } else { b"\": " })?;
        self.state =
            if is_text { State::Text(count + 1) } else { State::Json(count + 1, JsonScanner::new()) };
        Ok(None)
    }

    fn text(
        &mut self,
        count: usize,
        input: &mut Input,
        output: &mut Output,
    ) -> Result<Option<Pause>, AnswerFault> {
        let found = scan(input.rest(), &[&self.markup.parameter_end]);
        let (Scan::Found { at, .. } | Scan::Missing { safe: at }) = found;
        let len = input.rest()[..at].iter().position(|&byte| is_token_byte(byte)).unwrap_or(at);
        write_escaped(head_text(&input.rest()[..len], output)?, output)?;
        input.advance(len);
        if len < at {
            return Err(output.malformed());
        }
        if matches!(found, Scan::Missing { .. }) {
            return Ok(Some(Pause::Wait));
        }
        output.arguments(b"\"")?;
        self.state = State::ParameterEnd(count);
        Ok(None)
    }

    fn parameter_end(
        &mut self,
        count: usize,
        input: &mut Input,
        output: &Output,
    ) -> Result<Option<Pause>, AnswerFault> {
        input.skip_white();
        match here(input.rest(), &[&self.markup.parameter_end]) {
            Here::Marker { len, .. } => input.advance(len),
            Here::Other if !input.rest().is_empty() => return Err(output.malformed()),
            _ => return Ok(Some(Pause::Wait)),
        }
        self.state = State::Parameters(count);
        Ok(None)
    }

    fn skip(&mut self, input: &mut Input) -> Option<Pause> {
        let [close, other_close] = &self.markup.close;
        match scan(input.rest(), &[&self.markup.invoke_end, close, other_close]) {
            Scan::Found { at, which } => {
                let ends_call = which == 0;
                input.advance(at + if ends_call { self.markup.invoke_end.bytes().len() } else { 0 });
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
                State::InvokeHead => self.invoke_head(input, output)?,
                &mut State::Parameters(count) => self.parameters(count, input, output)?,
                &mut State::ParameterHead(count) => self.parameter_head(count, input, output)?,
                &mut State::Text(count) => self.text(count, input, output)?,
                State::Json(count, scanner) => {
                    let is_ended = read_arguments(scanner, input, output)?;
                    if is_ended {
                        self.state = State::ParameterEnd(*count);
                    }
                    (!is_ended).then_some(Pause::Wait)
                }
                &mut State::ParameterEnd(count) => self.parameter_end(count, input, output)?,
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

    fn end(&mut self, _: Ending, output: &mut Output) -> Result<(), AnswerFault> {
        match self.state {
            State::Between | State::Skip => Ok(()),
            _ => Err(output.incomplete()),
        }
    }
}

/// Text as it stands within a JSON string.
fn write_escaped(text: &str, output: &mut Output) -> Result<(), AnswerFault> {
    let quoted = serde_json::Value::from(text).to_string();
    output.arguments(&quoted.as_bytes()[1..quoted.len() - 1])
}
