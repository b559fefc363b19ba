//! Literals of added tokens in plain text: which matter, and how to keep a tokenizer from seeing them.

use aho_corasick::{AhoCorasick, BuildError};

/// Whether the literal of an added token must be kept out of callers' text.
///
/// Literals that are only white space (Gemma has `"\n\n"`; `▁` is SentencePiece's space) are a
/// matter of encoding, not of control: they stay ordinary text.
pub fn is_control_literal(literal: &str) -> bool {
    !literal.chars().all(|c| c.is_whitespace() || c == '▁')
}

/// Cuts text so that no part holds a literal.
///
/// llama.cpp matches USER_DEFINED added tokens even where `parse_special` is false. Parts that
/// are encoded one by one, and each of which holds no literal, leave it nothing to match.
#[derive(Debug, Clone)]
pub struct LiteralCutter(AhoCorasick);

impl LiteralCutter {
    /// For these literals. Left out are those that are no control literal, see
    /// [`is_control_literal`], and those of one character, within which there is no place to cut.
    ///
    /// # Errors
    /// When the literals together are too large for a search automaton (2³¹ states).
    pub fn new<'a>(literals: impl IntoIterator<Item = &'a str>) -> Result<Self, BuildError> {
        let cuttable = |literal: &&str| is_control_literal(literal) && literal.chars().nth(1).is_some();
        AhoCorasick::new(literals.into_iter().filter(cuttable)).map(Self)
    }

    /// The parts of `text`, in order and none of them empty; joined they are `text` again.
    ///
    /// A part is a substring of `text`, so a literal in it would be an occurrence in `text`, and
    /// each of those has a cut inside: cutting makes no new literal. Matches come by increasing
    /// end; cutting as late as possible inside each one that is still whole needs the fewest cuts.
    pub fn cut<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
        let mut matches = self.0.find_overlapping_iter(text);
        let mut begin = 0;
        std::iter::from_fn(move || {
            let end = matches
                .by_ref()
                .find(|found| found.start() >= begin)
                .map_or(text.len(), |whole| text.floor_char_boundary(whole.end() - 1));
            let part = &text[begin..end];
            begin = end;
            (!part.is_empty()).then_some(part)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(literals: &[&str], text: &str) -> Vec<String> {
        let cutter = LiteralCutter::new(literals.iter().copied()).expect("small");
        cutter.cut(text).map(str::to_owned).collect()
    }

    #[test]
    fn each_occurrence_is_cut_once_and_other_text_is_left_alone() {
        assert_eq!(parts(&["<think>"], "no literal"), ["no literal"]);
        assert_eq!(parts(&["<think>"], "a<think>b<think>"), ["a<think", ">b<think", ">"]);
        assert_eq!(parts(&["<｜end｜>"], "<｜end｜>"), ["<｜end｜", ">"]);
        assert_eq!(parts(&["aa"], "aaaa"), ["a", "a", "a", "a"]);
        assert_eq!(parts(&["[a]", "a][b"], "[a][b]"), ["[a", "][b]"]);
        assert!(parts(&["x"], "").is_empty());
    }

    #[test]
    fn white_space_and_single_characters_are_no_business_of_the_cutter() {
        assert_eq!(parts(&["\n\n", "▁▁", "▁", "", "q"], "a\n\nb▁▁q"), ["a\n\nb▁▁q"]);
    }

    #[test]
    fn a_long_text_of_overlapping_literals_takes_linear_time() {
        let text = "<".repeat(1 << 20);
        let cutter = LiteralCutter::new(["<<<<<<<<", "<<<<>", "<<"]).expect("small");
        assert_eq!(cutter.cut(&text).count(), text.len());
    }

    proptest! {
        #[test]
        fn no_part_holds_a_literal_and_the_parts_are_the_text(
            literals in prop::collection::vec("[ab<｜]{2,4}", 1..6),
            text in "[ab<｜]{0,40}",
        ) {
            let cutter = LiteralCutter::new(literals.iter().map(String::as_str)).expect("small");
            let parts: Vec<_> = cutter.cut(&text).collect();
            prop_assert_eq!(parts.concat(), text.as_str());
            for part in parts {
                prop_assert!(!part.is_empty());
                prop_assert!(!literals.iter().any(|literal| part.contains(literal)), "{part:?}");
            }
        }
    }
}
