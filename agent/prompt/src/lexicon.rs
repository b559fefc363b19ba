//! The words that a template spells, and which of them may stay unveiled in callers' text.
//!
//! Templates look at what they are given: `item.type == 'text'`, `'</think>' in content`,
//! `message.tool_calls`. For that the caller's `text`, `</think>` and `tool_calls` must read as
//! they do in the template. So the lexicon keeps a word that the template spells, a string constant
//! or a name, if it is **safe**: no literal of an added token can overlap it, whatever stands
//! beside it. Beside it can stand only what is not veiled: the template's own fragments (its raw
//! text, constants, names), words of the chat format, white space, and what Jinja itself writes (digits,
//! punctuation of lists). For each way to lay the word over a literal it is therefore asked whether
//! the rest of the literal, on both sides, can be spelled from those.
//!
//! `text` lies within `<|endoftext|>` and is safe, as no template writes `<|endof` and then a
//! field. `think` lies within `<think>` and is not safe in a template that writes `'<' ~ key ~ '>'`.

use std::collections::{BTreeSet, HashMap};

use aho_corasick::{AhoCorasick, MatchKind};
use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;

use crate::chat::format_words;
use crate::error::{RenderError, TemplateError};
use crate::veil;

/// Most different fragments of one template. Large published templates have a few hundred.
pub const TEMPLATE_SPELLINGS_MAX: usize = 4_096;

/// What Jinja may write by itself next to other text, besides single characters.
const GENERATED_WORDS: [&str; 3] = ["True", "False", "None"];

/// Keeps what a template must be able to read, veils the rest.
#[derive(Debug)]
pub(crate) struct Lexicon {
    safe_words: AhoCorasick,
}

impl Lexicon {
    /// Of a template that compiles, for literals that are control literals. `given` is what the
    /// template may write besides its own text: the texts of its variables that are not veiled.
    pub(crate) fn new(
        template: &str,
        syntax: &SyntaxConfig,
        given: &[&str],
        literals: &[&str],
    ) -> Result<Self, TemplateError> {
        let mut spellings = Spellings::of(template, syntax);
        spellings.fragments.extend(given.iter().map(|&text| text.to_owned()));
        spellings.fragments.extend(format_words().chain(GENERATED_WORDS).map(str::to_owned));
        spellings.fragments.retain(|fragment| !fragment.is_empty());
        let count = spellings.fragments.len();
        if count > TEMPLATE_SPELLINGS_MAX {
            return Err(TemplateError::TooManySpellings { spellings: count });
        }
        let fragments = Fragments::new(&spellings.fragments);
        let literals: Vec<_> =
            literals.iter().map(|literal| SpelledLiteral::new(literal, &fragments)).collect();
        let safe = |word: &&String| !literals.iter().any(|literal| literal.can_overlap(word));
        let safe_words = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(spellings.words.iter().filter(safe))
            .map_err(|source| TemplateError::TooManyLiterals { tokens: literals.len(), source })?;
        Ok(Self { safe_words })
    }

    /// A caller's string as the template may see it.
    pub(crate) fn veil(&self, text: &str) -> Result<String, RenderError> {
        if let Some(character) = text.chars().find(|&c| veil::is_veiled(c)) {
            return Err(RenderError::ReservedCharacter { character });
        }
        let mut veiled = String::with_capacity(text.len());
        let mut begin = 0;
        for word in self.safe_words.find_iter(text) {
            veiled.extend(text[begin..word.start()].chars().map(veil::veil_char));
            veiled.push_str(&text[word.range()]);
            begin = word.end();
        }
        veiled.extend(text[begin..].chars().map(veil::veil_char));
        Ok(veiled)
    }
}

/// All that a template can write by itself, piece by piece, and what of it are words.
struct Spellings {
    fragments: BTreeSet<String>,
    words: BTreeSet<String>,
}

impl Spellings {
    fn of(template: &str, syntax: &SyntaxConfig) -> Self {
        let mut spellings = Self { fragments: BTreeSet::new(), words: BTreeSet::new() };
        for (token, _) in tokenize(template, false, syntax.clone()).map_while(Result::ok) {
            match token {
                Token::TemplateData(text) => spellings.add_fragment(text),
                Token::Ident(text) | Token::Str(text) => spellings.add_word(text),
                Token::String(text) => spellings.add_word(&text),
                _ => {}
            }
        }
        spellings
    }

    fn add_word(&mut self, text: &str) {
        // White space at its ends is never veiled, and would only hide a shorter word.
        let word = text.trim();
        if !word.is_empty() {
            self.words.insert(word.to_owned());
        }
        self.add_fragment(text);
        format_parts(text).for_each(|part| self.add_fragment(part));
    }

    fn add_fragment(&mut self, text: &str) {
        self.fragments.insert(text.to_owned());
        self.fragments.insert(text.trim().to_owned());
    }
}

/// What a constant writes if it is a format: `'<%s>' % name`, `'<{}>'.format(name)`.
fn format_parts(text: &str) -> impl Iterator<Item = &str> {
    let flags = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | ' ' | '#' | '.');
    let percent = text.split('%').flat_map(move |part| {
        let conversion = part.trim_start_matches(flags);
        [part, conversion.get(1..).unwrap_or_default()]
    });
    percent.chain(text.split(['{', '}']))
}

/// Single characters that callers or Jinja can put beside a word unveiled.
fn is_free(c: char) -> bool {
    c.is_whitespace() || c.is_ascii_digit() || "'\",:{}[]()-.\\".contains(c)
}

/// Fragments by their first and their last character.
struct Fragments<'a> {
    by_first: HashMap<char, Vec<&'a str>>,
    by_last: HashMap<char, Vec<&'a str>>,
}

impl<'a> Fragments<'a> {
    fn new(fragments: &'a BTreeSet<String>) -> Self {
        let mut indexed = Self { by_first: HashMap::new(), by_last: HashMap::new() };
        for fragment in fragments {
            indexed.by_first.entry(fragment.chars().next().unwrap_or_default()).or_default().push(fragment);
            indexed
                .by_last
                .entry(fragment.chars().next_back().unwrap_or_default())
                .or_default()
                .push(fragment);
        }
        indexed
    }

    fn beginning_with(&self, first: char) -> &[&'a str] {
        self.by_first.get(&first).map_or(&[], Vec::as_slice)
    }

    fn ending_in(&self, last: char) -> &[&'a str] {
        self.by_last.get(&last).map_or(&[], Vec::as_slice)
    }
}

/// A literal, and which of its beginnings and ends a template can spell.
struct SpelledLiteral<'a> {
    text: &'a str,
    /// At byte `i`: whether what precedes it can be written right before a word.
    before: Vec<bool>,
    /// At byte `i`: whether what is left from there on can be written right after a word.
    after: Vec<bool>,
}

impl<'a> SpelledLiteral<'a> {
    fn new(text: &'a str, fragments: &Fragments<'_>) -> Self {
        let mut before = vec![false; text.len() + 1];
        let mut after = before.clone();
        before[0] = true;
        after[text.len()] = true;
        for (at, c) in text.char_indices() {
            let end = at + c.len_utf8();
            let head = &text[..end];
            let completes = |fragment: &&str| {
                fragment.ends_with(head) || (head.ends_with(*fragment) && before[end - fragment.len()])
            };
            before[end] = (is_free(c) && before[at]) || fragments.ending_in(c).iter().any(completes);
        }
        for (at, c) in text.char_indices().rev() {
            let tail = &text[at..];
            let completes = |fragment: &&str| {
                fragment.starts_with(tail) || (tail.starts_with(*fragment) && after[at + fragment.len()])
            };
            after[at] =
                (is_free(c) && after[at + c.len_utf8()]) || fragments.beginning_with(c).iter().any(completes);
        }
        Self { text, before, after }
    }

    /// Whether some output of the template can have this literal over a part of `word`.
    fn can_overlap(&self, word: &str) -> bool {
        let (literal, word) = (self.text.as_bytes(), word.as_bytes());
        // Of the literal, `skip_literal` bytes stand before the word, or else of the word,
        // `skip_word` bytes before the literal.
        let aligned = |skip_literal: usize, skip_word: usize| {
            let common = (literal.len() - skip_literal).min(word.len() - skip_word);
            self.before[skip_literal]
                && self.after[skip_literal + common]
                && literal[skip_literal..][..common] == word[skip_word..][..common]
        };
        (0..literal.len()).any(|skip| aligned(skip, 0)) || (1..word.len()).any(|skip| aligned(0, skip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::veil::veil;

    fn lexicon(template: &str, literals: &[&str]) -> Lexicon {
        Lexicon::new(template, &SyntaxConfig::default(), &[], literals).expect("small")
    }

    #[test]
    fn words_of_the_template_stay_and_all_else_is_veiled() {
        let lexicon = lexicon("{% if m.type == 'text' %}x{% endif %}", &["<|endoftext|>"]);
        assert_eq!(lexicon.veil("text"), Ok("text".to_owned()));
        assert_eq!(lexicon.veil("con text <"), Ok(format!("{} text {}", veil("con"), veil("<"))));
    }

    #[test]
    fn a_word_is_veiled_where_the_template_can_complete_it_to_a_literal() {
        let is_kept = |template: &str, word: &str, literal: &str| {
            lexicon(template, &[literal]).veil(word).expect("plain") == word
        };
        for (template, word, literal) in [
            ("{{ 'think' }}{{ '<' ~ key ~ '>' }}", "think", "<think>"),
            ("{{ 'think' }}<{{ key }}>", "think", "<think>"),
            ("{{ 'think' }}{{ '<' ~ 'th' }}", "think", "think"),
            ("{{ '<%s>' % 'think' }}", "think", "<think>"),
            ("{{ '<{}>'.format('think') }}", "think", "<think>"),
            ("{{ 'end_of' }}<{{ '|' }}{{ x }}{{ '|>' }}", "end_of", "<|end_of|>"),
            ("{{ 'a<|' }}{{ x }}{{ 'eos' }}|>", "a<|", "<|eos|>"),
            ("{{ 'INST' }}", "INST", "[INST]"),
            ("{{ x.a_b }}<", "a_b", "<a_b 7"),
            ("{{ '</think>' }}", "</think>", "</think>"),
        ] {
            assert!(!is_kept(template, word, literal), "{word} in {template}");
        }
        for (template, word, literal) in [
            ("{{ 'think' }}<{{ key }}", "think", "<think>"),
            ("{{ 'think' }}{{ key }}>", "think", "<think>"),
            ("{{ '</think>' }}<|im_end|>", "</think>", "<|im_end|>"),
            ("{{ 'text' }}<|endoftext|>", "text", "<|endoftext|>"),
        ] {
            assert!(is_kept(template, word, literal), "{word} in {template}");
        }
    }

    #[test]
    fn the_veils_own_planes_are_refused() {
        let lexicon = lexicon("", &[]);
        let character = '\u{B0041}';
        assert_eq!(lexicon.veil("a\u{B0041}"), Err(RenderError::ReservedCharacter { character }));
    }

    #[test]
    fn a_template_of_endless_spellings_is_refused() {
        let many: String = (0..=TEMPLATE_SPELLINGS_MAX).map(|i| format!("{{{{ v{i} }}}}")).collect();
        let result = Lexicon::new(&many, &SyntaxConfig::default(), &[], &[]);
        assert!(matches!(result, Err(TemplateError::TooManySpellings { .. })));
    }
}
