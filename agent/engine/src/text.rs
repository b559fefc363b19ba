//! From the bytes of tokens to what can be shown: whole characters, added tokens as themselves,
//! and nothing of a stop string. Pure.

use std::collections::VecDeque;

use nabi_domain::Piece;

/// One answer as it grows.
///
/// Whatever the borders between tokens, what is shown is the same: the text of all bytes together,
/// with added tokens at their places, up to the first stop string.
#[derive(Debug, Default)]
pub struct TextStream {
    stop: Vec<String>,
    /// Bytes of a character that is not complete yet; at most three.
    partial: Vec<u8>,
    /// Text that may be the beginning of a stop string.
    held: String,
    /// Added tokens in `held`, in order.
    added: VecDeque<Added>,
}

/// An added token's place in the text that is held.
#[derive(Debug, Clone, Copy)]
struct Added {
    token: u32,
    start: usize,
    /// Stop strings see the literal of a token that is text; that of a control token has no bytes.
    end: usize,
}

/// What a token added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// To show; may be empty.
    More(Vec<Piece>),
    /// To show; a stop string follows it.
    Stopped(Vec<Piece>),
}

impl TextStream {
    /// An answer that ends before any of `stop`. Empty strings are ignored.
    pub fn new(stop: Vec<String>) -> Self {
        Self { stop: stop.into_iter().filter(|stop| !stop.is_empty()).collect(), ..Self::default() }
    }

    /// Takes the bytes of the next token of ordinary text.
    pub fn push_text(&mut self, bytes: &[u8]) -> Shown {
        self.partial.extend_from_slice(bytes);
        let complete = take_complete(&mut self.partial);
        self.held.push_str(&complete);
        self.show()
    }

    /// Takes an added token: with its literal if that is text, with none if it is a control token.
    pub fn push_added(&mut self, token: u32, literal: &str) -> Shown {
        self.replace_partial();
        let start = self.held.len();
        self.held.push_str(literal);
        self.added.push_back(Added { token, start, end: self.held.len() });
        self.show()
    }

    /// The rest, when no token follows. An incomplete character becomes U+FFFD.
    pub fn finish(mut self) -> Vec<Piece> {
        self.replace_partial();
        // The replacement may complete a stop string.
        match self.show() {
            Shown::Stopped(pieces) => pieces,
            Shown::More(mut pieces) => {
                let rest = self.take_shown(self.held.len());
                pieces.extend(rest);
                merged(pieces)
            }
        }
    }

    fn replace_partial(&mut self) {
        if !self.partial.is_empty() {
            self.partial.clear();
            self.held.push(char::REPLACEMENT_CHARACTER);
        }
    }

    fn show(&mut self) -> Shown {
        // The one that is complete first: so it is found wherever the borders between tokens are.
        let found = |stop: &String| self.held.find(stop.as_str()).map(|at| (at + stop.len(), at));
        if let Some((_, at)) = self.stop.iter().filter_map(found).min() {
            return Shown::Stopped(self.take_shown(at));
        }
        let hold = self.stop.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let mut end = self.held.len() - hold;
        // A token is shown whole, or not yet.
        if let Some(cut) = self.added.iter().find(|added| added.start < end && end < added.end) {
            end = cut.start;
        }
        Shown::More(self.take_shown(end))
    }

    /// Takes what is held up to here. Of a token that lies across the end, the text before it.
    fn take_shown(&mut self, end: usize) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut shown = 0;
        let text = |pieces: &mut Vec<Piece>, held: &str| {
            if !held.is_empty() {
                pieces.push(Piece::Text(held.to_owned()));
            }
        };
        while let Some(added) = self.added.pop_front_if(|added| added.end <= end) {
            text(&mut pieces, &self.held[shown..added.start]);
            pieces.push(Piece::Token(added.token));
            shown = added.end;
        }
        text(&mut pieces, &self.held[shown..end]);
        self.held.drain(..end);
        for added in &mut self.added {
            added.start = added.start.saturating_sub(end);
            added.end -= end;
        }
        pieces
    }
}

/// Neighbouring texts in one.
fn merged(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut merged: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match (merged.last_mut(), piece) {
            (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
            (_, piece) => merged.push(piece),
        }
    }
    merged
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

    use super::*;

    #[derive(Debug, Clone)]
    enum Token {
        Text(Vec<u8>),
        /// With an id and a literal; control tokens have none.
        Added(u32, &'static str),
    }

    fn text(bytes: impl AsRef<[u8]>) -> Token {
        Token::Text(bytes.as_ref().to_vec())
    }

    /// All that is shown for these tokens, and whether a stop string ended it.
    fn shown(stop: &[&str], tokens: impl IntoIterator<Item = Token>) -> (Vec<Piece>, bool) {
        let mut stream = TextStream::new(stop.iter().map(|&stop| stop.to_owned()).collect());
        let mut all = Vec::new();
        for token in tokens {
            let shown = match token {
                Token::Text(bytes) => stream.push_text(&bytes),
                Token::Added(token, literal) => stream.push_added(token, literal),
            };
            match shown {
                Shown::More(pieces) => all.extend(pieces),
                Shown::Stopped(pieces) => {
                    all.extend(pieces);
                    return (merged(all), true);
                }
            }
        }
        all.extend(stream.finish());
        (merged(all), false)
    }

    fn only_text(text: &str) -> Vec<Piece> {
        if text.is_empty() { Vec::new() } else { vec![Piece::Text(text.to_owned())] }
    }

    #[test]
    fn characters_across_tokens_are_shown_when_whole() {
        let mut stream = TextStream::new(Vec::new());
        let bytes = "나🦋".as_bytes();
        assert_eq!(stream.push_text(&bytes[..2]), Shown::More(Vec::new()));
        assert_eq!(stream.push_text(&bytes[2..5]), Shown::More(only_text("나")));
        assert_eq!(stream.push_text(&bytes[5..]), Shown::More(only_text("🦋")));
        assert_eq!(stream.finish(), []);
    }

    #[test]
    fn invalid_and_unfinished_bytes_become_replacements() {
        let tokens = [text(b"a\xffb"), text(b"\xe2\x82")];
        assert_eq!(shown(&[], tokens), (only_text("a\u{fffd}b\u{fffd}"), false));
        let tokens = [text(b"\xe2\x82"), Token::Added(7, "")];
        assert_eq!(shown(&[], tokens).0, [Piece::Text("\u{fffd}".into()), Piece::Token(7)]);
    }

    #[test]
    fn stop_strings_are_found_across_tokens_and_never_shown() {
        let texts = |parts: &[&'static str]| parts.iter().map(text).collect::<Vec<_>>();
        for (stop, parts, expected, stopped) in [
            (&["User:"][..], &["Hi\nUs", "er", ": x"][..], "Hi\n", true),
            (&["User:"], &["Hi Us", "ual"], "Hi Usual", false),
            (&["aab"], &["aa", "aab"], "aa", true),
            (&["bc", "abcd"], &["a", "bc"], "a", true),
            (&["끝"], &["이제 끝", "!"], "이제 ", true),
            (&["", "x"], &["abc"], "abc", false),
        ] {
            assert_eq!(shown(stop, texts(parts)), (only_text(expected), stopped), "{stop:?} {parts:?}");
        }
    }

    #[test]
    fn added_tokens_keep_their_place() {
        let tokens = [text("a"), Token::Added(1, "<think>"), text("b"), Token::Added(2, ""), text("c")];
        let all = [
            Piece::Text("a".into()),
            Piece::Token(1),
            Piece::Text("b".into()),
            Piece::Token(2),
            Piece::Text("c".into()),
        ];
        assert_eq!(shown(&[], tokens.clone()), (all.to_vec(), false));
        // Held back for a while, by what might have become a stop string.
        assert_eq!(shown(&["a<think>x", "nk>bcd"], tokens.clone()), (all.to_vec(), false));
        // A literal that is text can be a stop string, or a part of one.
        assert_eq!(shown(&["<think>"], tokens.clone()), (all[..1].to_vec(), true));
        assert_eq!(shown(&["k>b"], tokens.clone()), (only_text("a<thin"), true));
        // A control token is no text: it does not come between.
        assert_eq!(shown(&["bc"], tokens), (all[..2].to_vec(), true));
    }

    fn any_token() -> impl Strategy<Value = Token> {
        prop_oneof![
            4 => "[ab<k>\u{e9}\u{1f98b}]{1,3}".prop_map(text),
            1 => Just(Token::Added(1, "<k>")),
            1 => Just(Token::Added(2, "")),
        ]
    }

    proptest! {
        #[test]
        fn what_is_shown_does_not_depend_on_the_borders_between_tokens(
            tokens in proptest::collection::vec(any_token(), 0..12),
            stop in proptest::collection::vec("[ab<k>\u{e9}\u{1f98b}]{1,4}", 0..3),
        ) {
            let stop: Vec<&str> = stop.iter().map(String::as_str).collect();
            let bytewise = tokens.iter().flat_map(|token| match token {
                Token::Text(bytes) => bytes.iter().map(|&byte| text([byte])).collect::<Vec<_>>(),
                added => vec![added.clone()],
            });
            prop_assert_eq!(shown(&stop, bytewise), shown(&stop, tokens.clone()));
        }

        #[test]
        fn the_first_stop_string_ends_it(
            text_all in "[ab\u{e9}\u{1f98b}]{0,24}",
            stop in proptest::collection::vec("[ab\u{e9}\u{1f98b}]{1,4}", 0..3),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let stop: Vec<&str> = stop.iter().map(String::as_str).collect();
            let found = |stop: &&str| text_all.find(stop).map(|at| (at + stop.len(), at));
            let first = stop.iter().filter_map(found).min().map(|(_, at)| at);
            let expected = (only_text(&text_all[..first.unwrap_or(text_all.len())]), first.is_some());
            let mut borders: Vec<usize> = cuts.iter().map(|cut| cut.index(text_all.len() + 1)).collect();
            borders.extend([0, text_all.len()]);
            borders.sort_unstable();
            let tokens = borders.windows(2).map(|w| text(&text_all.as_bytes()[w[0]..w[1]]));
            prop_assert_eq!(shown(&stop, tokens), expected);
        }

        #[test]
        fn any_bytes_give_what_the_standard_library_gives(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
            cut in any::<prop::sample::Index>(),
        ) {
            let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(shown(&[], [text(head), text(tail)]).0, only_text(&String::from_utf8_lossy(&bytes)));
        }
    }
}
