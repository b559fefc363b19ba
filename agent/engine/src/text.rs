//! From the bytes of tokens to text that can be shown: whole characters, and nothing of a stop
//! string. Pure.

/// The text of one answer as it grows.
///
/// Whatever the borders between tokens, the text shown is the same: that of all bytes together,
/// up to the first stop string.
#[derive(Debug, Default)]
pub struct TextStream {
    stop: Vec<String>,
    /// Bytes of a character that is not complete yet; at most three.
    partial: Vec<u8>,
    /// Text that may be the beginning of a stop string.
    held: String,
}

/// What a token added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// Text to show; may be empty.
    Text(String),
    /// Text to show; a stop string follows it.
    Stopped(String),
}

impl TextStream {
    /// An answer that ends before any of `stop`. Empty strings are ignored.
    pub fn new(stop: Vec<String>) -> Self {
        let stop = stop.into_iter().filter(|stop| !stop.is_empty()).collect();
        Self { stop, partial: Vec::new(), held: String::new() }
    }

    /// Takes the bytes of the next token.
    pub fn push(&mut self, bytes: &[u8]) -> Shown {
        self.partial.extend_from_slice(bytes);
        let complete = take_complete(&mut self.partial);
        self.held.push_str(&complete);
        self.show()
    }

    /// The rest, when no token follows. An incomplete character becomes U+FFFD.
    pub fn finish(mut self) -> String {
        if !self.partial.is_empty() {
            self.held.push(char::REPLACEMENT_CHARACTER);
            // The replacement may complete a stop string.
            return match self.show() {
                Shown::Text(text) => text + &self.held,
                Shown::Stopped(text) => text,
            };
        }
        self.held
    }

    fn show(&mut self) -> Shown {
        if let Some(at) = self.stop.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(at);
            return Shown::Stopped(std::mem::take(&mut self.held));
        }
        let hold = self.stop.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let held = self.held.split_off(self.held.len() - hold);
        Shown::Text(std::mem::replace(&mut self.held, held))
    }
}

/// Bytes of the longest proper beginning of `stop` that `text` ends with.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len() - 1);
    (1..=longest).rev().find(|&n| text.as_bytes().ends_with(&stop.as_bytes()[..n])).unwrap_or(0)
}

/// Takes all complete characters; leaves the beginning of one that may still be completed.
fn take_complete(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut rest = bytes.as_slice();
    loop {
        match std::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                rest = &[];
                break;
            }
            Err(error) => {
                let (valid, invalid) = rest.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(valid));
                let Some(bad) = error.error_len() else {
                    rest = invalid;
                    break;
                };
                text.push(char::REPLACEMENT_CHARACTER);
                rest = &invalid[bad..];
            }
        }
    }
    *bytes = rest.to_vec();
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Shown, TextStream};

    /// All text shown for these tokens, and whether a stop string ended it.
    fn shown<'a>(stop: &[&str], tokens: impl IntoIterator<Item = &'a [u8]>) -> (String, bool) {
        let mut stream = TextStream::new(stop.iter().map(|&stop| stop.to_owned()).collect());
        let mut all = String::new();
        for token in tokens {
            match stream.push(token) {
                Shown::Text(text) => all += &text,
                Shown::Stopped(text) => return (all + &text, true),
            }
        }
        (all + &stream.finish(), false)
    }

    #[test]
    fn characters_across_tokens_are_shown_when_whole() {
        let mut stream = TextStream::new(Vec::new());
        let bytes = "나🦋".as_bytes();
        assert_eq!(stream.push(&bytes[..2]), Shown::Text(String::new()));
        assert_eq!(stream.push(&bytes[2..5]), Shown::Text("나".into()));
        assert_eq!(stream.push(&bytes[5..]), Shown::Text("🦋".into()));
        assert_eq!(stream.finish(), "");
    }

    #[test]
    fn invalid_and_unfinished_bytes_become_replacements() {
        assert_eq!(shown(&[], [&b"a\xffb"[..], b"\xe2\x82"]), ("a\u{fffd}b\u{fffd}".into(), false));
    }

    #[test]
    fn stop_strings_are_found_across_tokens_and_never_shown() {
        let tokens = |parts: &[&'static str]| parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>();
        assert_eq!(shown(&["User:"], tokens(&["Hi\nUs", "er", ": x"])), ("Hi\n".into(), true));
        assert_eq!(shown(&["User:"], tokens(&["Hi Us", "ual"])), ("Hi Usual".into(), false));
        assert_eq!(shown(&["aab"], tokens(&["aa", "aab"])), ("aa".into(), true));
        assert_eq!(shown(&["bc", "abcd"], tokens(&["a", "bc"])), ("a".into(), true));
        assert_eq!(shown(&["끝"], tokens(&["이제 끝", "!"])), ("이제 ".into(), true));
        assert_eq!(shown(&["", "x"], tokens(&["abc"])), ("abc".into(), false));
    }

    proptest! {
        #[test]
        fn text_does_not_depend_on_the_borders_between_tokens(
            text in "[ab\u{e9}\u{1f98b}]{0,24}",
            stop in proptest::collection::vec("[ab\u{e9}\u{1f98b}]{1,4}", 0..3),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let stop: Vec<&str> = stop.iter().map(String::as_str).collect();
            let first = stop.iter().filter_map(|stop| text.find(stop)).min();
            let expected = (text[..first.unwrap_or(text.len())].to_owned(), first.is_some());
            let mut borders: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            borders.extend([0, text.len()]);
            borders.sort_unstable();
            let tokens: Vec<&[u8]> = borders.windows(2).map(|w| &text.as_bytes()[w[0]..w[1]]).collect();
            prop_assert_eq!(shown(&stop, tokens), expected);
        }

        #[test]
        fn any_bytes_give_what_the_standard_library_gives(bytes in proptest::collection::vec(any::<u8>(), 0..40), cut in any::<prop::sample::Index>()) {
            let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(shown(&[], [head, tail]).0, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
