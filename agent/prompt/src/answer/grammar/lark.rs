//! Writes Lark.

use nabi_domain::Piece;
use serde_json::Value as Json;

use crate::answer::marker::Marker;

/// Rules so far; expressions refer to them by name.
#[derive(Debug, Default)]
pub(super) struct Lark {
    rules: String,
    count: usize,
}

impl Lark {
    fn name(&mut self, prefix: &str) -> String {
        self.count += 1;
        format!("{prefix}{}", self.count)
    }

    pub(super) fn rule(&mut self, body: &str) -> String {
        let name = self.name("r");
        self.rules.push_str(&format!("{name}: {body}\n"));
        name
    }

    /// A rule that is one lexeme, which one regular expression matches.
    pub(super) fn terminal(&mut self, body: &str) -> String {
        let name = self.name("T");
        self.rules.push_str(&format!("{name}: {body}\n"));
        name
    }

    /// Any text, but not none.
    pub(super) fn any_text(&mut self) -> String {
        self.terminal("/(?s:.+)/")
    }

    /// Some white space.
    pub(super) fn white(&mut self) -> String {
        self.terminal("/[ \\n\\r\\t]{1,16}/")
    }

    /// Any text or none, and then the marker. Where the marker is text, the first one is it.
    pub(super) fn until(&mut self, end: &Marker) -> String {
        let (first, rest) = match end.parts() {
            [Piece::Text(first), rest @ ..] => (quoted(first), rest),
            parts => (String::new(), parts),
        };
        let rest = expression(rest);
        if first.is_empty() {
            return format!("{}? {rest}", self.any_text());
        }
        let text = self.terminal(&format!("/(?s:.*)/ {first}"));
        if !rest.is_empty() {
            // The longest text that ends so: only then can the token come.
            return format!("{text} {rest}");
        }
        let name = self.name("r");
        self.rules.push_str(&format!("{name}[lazy]: {text}\n"));
        name
    }

    /// JSON of a schema, references within which are to its own root.
    pub(super) fn json(&mut self, schema: &Json) -> String {
        self.rule(&format!("%json {schema}"))
    }

    /// What a regular expression of the caller's matches, whole.
    pub(super) fn regex(&mut self, regex: &str) -> String {
        // In a group, which a last backslash cannot leave.
        self.terminal(&format!("/(?:{})/", without_slashes(regex)))
    }

    /// A grammar of the caller's, whose names are its own.
    pub(super) fn lark(&mut self, lark: &str) -> String {
        self.rule(&format!("%lark {{\n{lark}\n}}"))
    }

    pub(super) fn finish(self, start: &str) -> String {
        format!("%llguidance {{}}\nstart: {}\n{}", start.trim(), self.rules)
    }
}

/// The same regular expression, with nothing in it that ends one in Lark, and none of the single `&` that
/// engines would take for intersections of Lark's.
fn without_slashes(regex: &str) -> String {
    let mut written = String::with_capacity(regex.len());
    let (mut is_escaped, mut before) = (false, None);
    let mut characters = regex.chars().peekable();
    while let Some(character) = characters.next() {
        let is_single = before != Some('&') && characters.peek() != Some(&'&');
        match (character, is_escaped) {
            ('/', false) => written.push_str("\\/"),
            ('\n', false) => written.push_str("\\n"),
            ('\n', true) => written.push('n'),
            ('&', false) if is_single => written.push_str("\\x26"),
            ('&', true) => written.push_str("x26"),
            (other, _) => written.push(other),
        }
        is_escaped = character == '\\' && !is_escaped;
        before = Some(character);
    }
    written
}

/// The text itself.
pub(super) fn quoted(text: &str) -> String {
    Json::from(text).to_string()
}

pub(super) fn marker(marker: &Marker) -> String {
    expression(marker.parts())
}

fn expression(parts: &[Piece]) -> String {
    let part = |part: &Piece| match part {
        Piece::Text(text) => quoted(text),
        Piece::Token(id) => format!("<[{id}]>"),
    };
    parts.iter().map(part).collect::<Vec<_>>().join(" ")
}
