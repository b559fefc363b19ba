//! How the calls of one format are read.

use std::fmt::Debug;

use super::json::{JsonScanner, NotJson};
use super::output::{AnswerFault, CALL_HEAD_BYTES_MAX, Output};

/// Bytes of an answer that are still to be read.
#[derive(Debug, Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    begin: usize,
}

impl Input {
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.begin..]
    }

    pub(crate) fn advance(&mut self, count: usize) {
        self.begin += count;
    }

    /// Where to add more; what was read is forgotten.
    pub(crate) fn more(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.begin);
        self.begin = 0;
        &mut self.bytes
    }

    pub(crate) fn skip_white(&mut self) {
        self.skip(|byte| byte.is_ascii_whitespace());
    }

    pub(crate) fn skip(&mut self, is_skipped: impl Fn(u8) -> bool) {
        self.begin += self.rest().iter().take_while(|&&byte| is_skipped(byte)).count();
    }
}

/// Why reading stops for now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// More of the answer is needed.
    Wait,
    /// The calls are over; what follows is content.
    Over,
}

/// Why no more of an answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The model ended it, or a stop string did.
    Stopped,
    /// The limit of tokens was reached, or the answer was broken off.
    Cut,
}

/// Reads calls, from the first marker on. How the answer is cut into inputs makes no difference.
pub(crate) trait CallReader: Debug + Send {
    /// Reads as far as it can.
    fn read(&mut self, input: &mut Input, output: &mut Output) -> Result<Pause, AnswerFault>;

    /// What follows a fault up to the end of the call is to be left out.
    fn skip_call(&mut self);

    /// The answer ended here. A call that lacks only its closing markup is whole if the model stopped.
    fn end(&mut self, ending: Ending, output: &mut Output) -> Result<(), AnswerFault>;
}

/// The next bytes of a JSON value, at most so many, and whether it has ended with them.
pub(crate) fn take_json<'a>(
    scanner: &mut JsonScanner,
    input: &'a mut Input,
    bytes_max: usize,
) -> (&'a [u8], Result<bool, NotJson>) {
    let len = input.rest().len().min(bytes_max);
    let (used, verdict) = match scanner.take(&input.rest()[..len]) {
        Ok((used, is_ended)) => (used, Ok(is_ended)),
        Err((used, wrong)) => (used, Err(wrong)),
    };
    input.begin += used;
    (&input.bytes[input.begin - used..input.begin], verdict)
}

/// Streams the value that is a call's arguments. True once it has ended.
pub(crate) fn read_arguments(
    scanner: &mut JsonScanner,
    input: &mut Input,
    output: &mut Output,
) -> Result<bool, AnswerFault> {
    while !input.rest().is_empty() {
        let bytes_max = output.arguments_bytes_left();
        if bytes_max == 0 {
            return Err(output.too_long());
        }
        let (json, verdict) = take_json(scanner, input, bytes_max);
        output.arguments(json)?;
        if verdict.map_err(|NotJson| output.malformed())? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Everything before `end`, which stays to be read; `None` while it has not come.
pub(crate) fn take_head(
    input: &mut Input,
    output: &Output,
    end: &[u8],
) -> Result<Option<Vec<u8>>, AnswerFault> {
    let found = input.rest().windows(end.len()).position(|window| window == end);
    if found.unwrap_or(input.rest().len()) > CALL_HEAD_BYTES_MAX {
        return Err(output.too_long());
    }
    let head = found.map(|at| input.rest()[..at].to_vec());
    input.advance(head.as_ref().map_or(0, Vec::len));
    Ok(head)
}

/// A head as text; a token in it makes it none.
pub(crate) fn head_text<'a>(head: &'a [u8], output: &Output) -> Result<&'a str, AnswerFault> {
    str::from_utf8(head).map_err(|_| output.malformed())
}
