//! Calls of Llama 3: the whole answer is `{"name": …, "parameters": {…}}`, or several with `;`
//! between. Nothing but its first keys tells it from an answer that is JSON.

use super::call_object::CallObject;
use super::output::{AnswerFault, CALL_HEAD_BYTES_MAX, Output};
use super::reader::{CallReader, Ending, Input, Pause};

/// Whether a template teaches this form.
pub(crate) fn is_found(jinja: &str) -> bool {
    jinja.contains("<|start_header_id|>")
        && jinja.contains("{\"name\": \"")
        && jinja.contains("\"parameters\": ")
        && !jinja.contains("<function=")
}

/// What an answer that begins like this is; `None` while it is open.
pub(crate) fn is_call(answer: &[u8]) -> Option<bool> {
    match begins_call(&mut Words(answer)) {
        Ok(is_call) => Some(is_call),
        Err(Open) if answer.len() > CALL_HEAD_BYTES_MAX => Some(false),
        Err(Open) => None,
    }
}

fn begins_call(words: &mut Words<'_>) -> Result<bool, Open> {
    if !words.take("{")? {
        return Ok(false);
    }
    if words.take("\"type\"")? && !(words.take(":")? && words.take("\"function\"")? && words.take(",")?) {
        return Ok(false);
    }
    if !(words.take("\"name\"")? && words.take(":")? && words.take_string()? && words.take(",")?) {
        return Ok(false);
    }
    Ok((words.take("\"parameters\"")? || words.take("\"arguments\"")?)
        && words.take(":")?
        && words.take("{")?)
}

/// The answer ends before it is decided.
struct Open;

struct Words<'a>(&'a [u8]);

impl Words<'_> {
    /// Takes this word, after white space, if it comes next.
    fn take(&mut self, word: &str) -> Result<bool, Open> {
        let rest = self.0.trim_ascii_start();
        if let Some(after) = rest.strip_prefix(word.as_bytes()) {
            self.0 = after;
            return Ok(true);
        }
        if word.as_bytes().starts_with(rest) { Err(Open) } else { Ok(false) }
    }

    fn take_string(&mut self) -> Result<bool, Open> {
        if !self.take("\"")? {
            return Ok(false);
        }
        let end = self.0.iter().position(|byte| matches!(byte, b'"' | b'\\')).ok_or(Open)?;
        let is_plain = self.0[end] == b'"';
        self.0 = &self.0[end + 1..];
        Ok(is_plain)
    }
}

#[derive(Debug)]
pub(crate) struct Reader {
    state: State,
}

#[derive(Debug)]
enum State {
    Object(CallObject),
    Between,
    Skip,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { state: State::Object(CallObject::new()) }
    }
}

impl CallReader for Reader {
    fn read(&mut self, input: &mut Input, output: &mut Output) -> Result<Pause, AnswerFault> {
        loop {
            match &mut self.state {
                State::Object(object) => {
                    if !object.read(input, output)? {
                        return Ok(Pause::Wait);
                    }
                    output.end_call()?;
                    self.state = State::Between;
                }
                State::Between => {
                    input.skip(|byte| byte.is_ascii_whitespace() || matches!(byte, b';' | b','));
                    match input.rest().first() {
                        None => return Ok(Pause::Wait),
                        Some(b'{') => self.state = State::Object(CallObject::new()),
                        Some(_) => return Ok(Pause::Over),
                    }
                }
                State::Skip => {
                    input.skip(|_| true);
                    return Ok(Pause::Wait);
                }
            }
        }
    }

    fn skip_call(&mut self) {
        self.state = State::Skip;
    }

    fn end(&mut self, _: Ending, output: &mut Output) -> Result<(), AnswerFault> {
        match self.state {
            State::Object(_) => Err(output.incomplete()),
            State::Between | State::Skip => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_call_by_its_first_keys() {
        for (answer, verdict) in [
            ("", None),
            (" {", None),
            ("{\"name\": \"f", None),
            ("{\"name\": \"f\", \"para", None),
            ("{\"name\": \"f\", \"parameters\": {", Some(true)),
            ("{\n \"name\" : \"f\" ,\"arguments\":{}", Some(true)),
            ("{\"type\": \"function\", \"name\": \"f\", \"parameters\": {", Some(true)),
            ("{\"name\": \"Ada\", \"age\": 36}", Some(false)),
            ("{\"name\": \"Ada\"}", Some(false)),
            ("{\"type\": \"person\"", Some(false)),
            ("{\"city\"", Some(false)),
            ("{\"name\": \"a\\", Some(false)),
            ("Hello", Some(false)),
        ] {
            assert_eq!(is_call(answer.as_bytes()), verdict, "{answer}");
        }
        let endless = format!("{{\"name\": \"{}", "x".repeat(CALL_HEAD_BYTES_MAX));
        assert_eq!(is_call(endless.as_bytes()), Some(false));
    }
}
