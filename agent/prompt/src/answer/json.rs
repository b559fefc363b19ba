//! JSON, byte by byte: where a value ends, and that it is one.

/// Deepest nesting of arguments: as deep as `serde_json` reads.
const JSON_DEPTH_MAX: usize = 127;

/// A byte that no JSON value can have at its place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotJson;

/// Follows one JSON value. White space before it is part of it.
#[derive(Debug)]
pub(crate) struct JsonScanner {
    state: State,
    /// Open containers: whether each is an object.
    nesting: Vec<bool>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Value,
    /// After `[`.
    FirstItem,
    /// After `{`.
    FirstKey,
    /// After a comma in an object.
    Key,
    Colon,
    /// After a value within a container.
    After,
    Text {
        is_key: bool,
    },
    Escape {
        is_key: bool,
    },
    Hex {
        is_key: bool,
        left: u8,
    },
    /// What is left of `true`, `false` or `null`.
    Word(&'static [u8]),
    Number(Number),
    Ended,
}

#[derive(Debug, Clone, Copy)]
enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    E,
    ESign,
    Exponent,
}

impl JsonScanner {
    pub(crate) fn new() -> Self {
        Self { state: State::Value, nesting: Vec::new() }
    }

    /// How many of these bytes belong to the value, and whether it ends with them. What ends a
    /// number is the byte after it.
    ///
    /// # Errors
    /// With the place of the first byte that is wrong.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(usize, bool), (usize, NotJson)> {
        for (at, &byte) in bytes.iter().enumerate() {
            if matches!(self.state, State::Number(number) if number.can_end() && !number.has_next(byte)) {
                self.end_value();
                if self.is_ended() {
                    return Ok((at, true));
                }
            }
            self.state = self.next(byte).ok_or((at, NotJson))?;
            if self.is_ended() {
                return Ok((at + 1, true));
            }
        }
        Ok((bytes.len(), false))
    }

    fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn end_value(&mut self) {
        self.state = self.after_value();
    }

    fn after_value(&self) -> State {
        if self.nesting.is_empty() { State::Ended } else { State::After }
    }

    fn next(&mut self, byte: u8) -> Option<State> {
        Some(match (self.state, byte) {
            (
                State::Value | State::FirstItem | State::FirstKey | State::Key | State::Colon | State::After,
                b' ' | b'\n' | b'\r' | b'\t',
            ) => self.state,
            (State::FirstItem, b']') | (State::FirstKey, b'}') => self.close(byte)?,
            (State::FirstKey | State::Key, b'"') => State::Text { is_key: true },
            (State::Colon, b':') => State::Value,
            (State::After, b',') => {
                if *self.nesting.last()? {
                    State::Key
                } else {
                    State::Value
                }
            }
            (State::After, b']' | b'}') => self.close(byte)?,
            (State::Value | State::FirstItem, _) => self.begin_value(byte)?,
            (State::Text { is_key: true }, b'"') => State::Colon,
            (State::Text { is_key: false }, b'"') => self.after_value(),
            (State::Text { is_key }, b'\\') => State::Escape { is_key },
            // Above are the bytes that stand for tokens.
            (State::Text { .. }, 0x20..=0xF4) => self.state,
            (State::Escape { is_key }, b'u') => State::Hex { is_key, left: 4 },
            (State::Escape { is_key }, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                State::Text { is_key }
            }
            (State::Hex { is_key, left }, _) if byte.is_ascii_hexdigit() => match left {
                1 => State::Text { is_key },
                _ => State::Hex { is_key, left: left - 1 },
            },
            (State::Word([first, rest @ ..]), _) if byte == *first => match rest {
                [] => self.after_value(),
                _ => State::Word(rest),
            },
            (State::Number(number), _) => State::Number(number.next(byte)?),
            _ => return None,
        })
    }

    fn begin_value(&mut self, byte: u8) -> Option<State> {
        Some(match byte {
            b'{' | b'[' if self.nesting.len() == JSON_DEPTH_MAX => return None,
            b'{' => {
                self.nesting.push(true);
                State::FirstKey
            }
            b'[' => {
                self.nesting.push(false);
                State::FirstItem
            }
            b'"' => State::Text { is_key: false },
            b't' => State::Word(b"rue"),
            b'f' => State::Word(b"alse"),
            b'n' => State::Word(b"ull"),
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Integer),
            _ => return None,
        })
    }

    fn close(&mut self, byte: u8) -> Option<State> {
        let is_object = self.nesting.pop()?;
        (is_object == (byte == b'}')).then(|| self.after_value())
    }
}

impl Number {
    fn next(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus, b'1'..=b'9') | (Self::Integer, b'0'..=b'9') => Self::Integer,
            (Self::Zero | Self::Integer, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Self::E,
            (Self::E, b'+' | b'-') => Self::ESign,
            (Self::E | Self::ESign | Self::Exponent, b'0'..=b'9') => Self::Exponent,
            _ => return None,
        })
    }

    fn has_next(self, byte: u8) -> bool {
        self.next(byte).is_some()
    }

    fn can_end(self) -> bool {
        matches!(self, Self::Zero | Self::Integer | Self::Fraction | Self::Exponent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether all of the text is one value.
    fn is_json(text: &str) -> bool {
        // A number ends with what follows it.
        let text = text.trim_end_matches([' ', '\n', '\r', '\t']);
        JsonScanner::new().take(format!("{text} ").as_bytes()) == Ok((text.len(), true))
    }

    #[test]
    fn a_value_ends_with_its_last_byte_and_a_number_with_the_next() {
        for (text, used) in [("{}x", 2), (" [1, {}]]", 8), ("\"a\\\"\" ", 5), ("12,", 2), ("-0.5e+3}", 7)] {
            assert_eq!(JsonScanner::new().take(text.as_bytes()), Ok((used, true)), "{text}");
        }
        assert_eq!(JsonScanner::new().take(b"[[["), Ok((3, false)));
    }

    #[test]
    fn what_is_wrong_is_wrong_at_its_first_byte() {
        for (text, at) in [
            ("{]", 1),
            ("{\"a\",", 4),
            ("{\"a\":1,}", 7),
            ("[1,]", 3),
            ("01", 1),
            ("[1.]", 3),
            ("\"\n\"", 1),
            ("\"\\x\"", 2),
            ("nul1", 3),
            ("[1}", 2),
            ("}", 0),
        ] {
            let error = JsonScanner::new().take(text.as_bytes());
            // A number that ends too early has a byte too many, not a wrong one.
            let expected = if text == "01" { Ok((1, true)) } else { Err((at, NotJson)) };
            assert_eq!(error, expected, "{text}");
        }
        let deep = "[".repeat(JSON_DEPTH_MAX + 1);
        assert_eq!(JsonScanner::new().take(deep.as_bytes()), Err((JSON_DEPTH_MAX, NotJson)));
        assert_eq!(JsonScanner::new().take(b"\"\xF5\""), Err((1, NotJson)), "a token is no text");
    }

    proptest! {
        #[test]
        fn it_agrees_with_serde_json(text in "[\\[\\]{},:\" \\\\u0a1.e+tru-]{0,12}|(-?[0-9.eE+-]{1,5})|\\[(true|null|\"a\"|1.5|,| |\\{\"a\":|\\}){0,8}\\]") {
            let theirs = serde_json::from_str::<serde_json::Value>(&text).map_err(|error| error.to_string());
            // serde_json refuses numbers and halves of surrogate pairs that JSON allows.
            let is_taste = |error: &String| error.contains("out of range") || error.contains("surrogate");
            if !theirs.as_ref().is_err_and(is_taste) {
                prop_assert_eq!(is_json(&text), theirs.is_ok(), "{}", text);
            }
        }
    }
}
