//! A call as a JSON object: `{"name": …, "arguments": {…}}`, its keys in any order.

use serde_json::Value as Json;

use super::json::{JsonScanner, NotJson};
use super::output::{AnswerFault, CALL_ARGUMENTS_BYTES_MAX, CALL_HEAD_BYTES_MAX, Output};
use super::reader::{Input, read_arguments, take_json};

/// Reads one such object, and ends no call: what must follow the object is the format's affair.
#[derive(Debug)]
pub(crate) struct CallObject {
    state: State,
    is_named: bool,
    has_arguments: bool,
    /// Arguments that came before the name.
    early: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Open,
    KeyOrClose,
    Key {
        scanner: JsonScanner,
        text: Vec<u8>,
    },
    Colon(Field),
    Begin(Field),
    Value {
        field: Field,
        scanner: JsonScanner,
        text: Vec<u8>,
    },
    /// The object that is the arguments, passed on as it comes.
    Arguments(JsonScanner),
    CommaOrClose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Arguments,
    Other,
}

impl CallObject {
    pub(crate) fn new() -> Self {
        Self { state: State::Open, is_named: false, has_arguments: false, early: Vec::new() }
    }

    /// True once the object has ended; then the call has begun and has all its arguments.
    pub(crate) fn read(&mut self, input: &mut Input, output: &mut Output) -> Result<bool, AnswerFault> {
        loop {
            let is_within_value =
                matches!(self.state, State::Key { .. } | State::Value { .. } | State::Arguments(_));
            if !is_within_value {
                input.skip_white();
            }
            let Some(&byte) = input.rest().first() else { return Ok(false) };
            if is_within_value {
                if !self.read_value(input, output)? {
                    return Ok(false);
                }
                continue;
            }
            match (&self.state, byte) {
                (State::Open, b'{') => self.state = State::KeyOrClose,
                (State::KeyOrClose, b'"') => {
                    self.state = State::Key { scanner: JsonScanner::new(), text: Vec::new() };
                    continue;
                }
                (State::Colon(field), b':') => self.state = State::Begin(*field),
                (State::Begin(field), _) => {
                    self.state = self.begin_value(*field, byte, output)?;
                    continue;
                }
                (State::CommaOrClose, b',') => self.state = State::KeyOrClose,
                (State::KeyOrClose | State::CommaOrClose, b'}') if self.is_named => {
                    input.advance(1);
                    return Ok(true);
                }
                _ => return Err(output.malformed()),
            }
            input.advance(1);
        }
    }

    fn begin_value(&mut self, field: Field, first: u8, output: &Output) -> Result<State, AnswerFault> {
        let scanner = JsonScanner::new();
        if field == Field::Arguments && std::mem::replace(&mut self.has_arguments, true) {
            return Err(output.malformed());
        }
        if field == Field::Arguments && first == b'{' && self.is_named {
            return Ok(State::Arguments(scanner));
        }
        Ok(State::Value { field, scanner, text: Vec::new() })
    }

    /// Reads on within a key or a value. False when it needs more.
    fn read_value(&mut self, input: &mut Input, output: &mut Output) -> Result<bool, AnswerFault> {
        let (scanner, text, bytes_max) = match &mut self.state {
            State::Arguments(scanner) => {
                let is_ended = read_arguments(scanner, input, output)?;
                if is_ended {
                    self.state = State::CommaOrClose;
                }
                return Ok(is_ended);
            }
            State::Key { scanner, text } => (scanner, text, CALL_HEAD_BYTES_MAX),
            State::Value { field: Field::Arguments, scanner, text } => {
                (scanner, text, CALL_ARGUMENTS_BYTES_MAX)
            }
            State::Value { scanner, text, .. } => (scanner, text, CALL_HEAD_BYTES_MAX),
            _ => return Ok(true),
        };
        let bytes_left = bytes_max - text.len();
        if bytes_left == 0 {
            return Err(output.too_long());
        }
        let (json, verdict) = take_json(scanner, input, bytes_left);
        text.extend_from_slice(json);
        let is_ended = verdict.map_err(|NotJson| output.malformed())?;
        if is_ended {
            self.end_value(output)?;
        }
        Ok(is_ended || !input.rest().is_empty())
    }

    fn end_value(&mut self, output: &mut Output) -> Result<(), AnswerFault> {
        match std::mem::replace(&mut self.state, State::CommaOrClose) {
            State::Key { text, .. } => self.state = State::Colon(Field::of(&text)),
            State::Value { field: Field::Name, text, .. } => self.name(&text, output)?,
            State::Value { field: Field::Arguments, text, .. } => self.arguments(text, output)?,
            _ => {}
        }
        Ok(())
    }

    fn name(&mut self, text: &[u8], output: &mut Output) -> Result<(), AnswerFault> {
        let name: String = serde_json::from_slice(text).map_err(|_| output.malformed())?;
        if self.is_named {
            return Err(output.malformed());
        }
        output.begin_call(&name)?;
        self.is_named = true;
        output.arguments(&std::mem::take(&mut self.early))
    }

    /// Arguments that could not be passed on as they came: before the name, an object within a
    /// string, as models write that saw such in their history, or none.
    fn arguments(&mut self, text: Vec<u8>, output: &mut Output) -> Result<(), AnswerFault> {
        let object = match text.first() {
            Some(b'{') => text,
            Some(b'"') => serde_json::from_slice::<String>(&text)
                .ok()
                .filter(|inner| matches!(serde_json::from_str(inner), Ok(Json::Object(_))))
                .ok_or_else(|| output.malformed())?
                .into_bytes(),
            _ if text == b"null" => Vec::new(),
            _ => return Err(output.malformed()),
        };
        if self.is_named {
            return output.arguments(&object);
        }
        self.early = object;
        Ok(())
    }
}

impl Field {
    fn of(key: &[u8]) -> Self {
        match key {
            b"\"name\"" => Self::Name,
            b"\"arguments\"" | b"\"parameters\"" => Self::Arguments,
            _ => Self::Other,
        }
    }
}
