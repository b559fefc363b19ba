//! The running text of an answer, outside of markup.

use super::marker::is_token_byte;

fn is_white(c: char) -> bool {
    c.is_ascii_whitespace()
}

/// Passes text on without the white space around markup, which is the markup's.
#[derive(Debug)]
pub(crate) struct TextRun {
    /// Whether white space that comes next follows markup.
    is_after_markup: bool,
    /// White space after which markup may come.
    held: String,
    is_untouched: bool,
    fence: Fence,
}

impl Default for TextRun {
    fn default() -> Self {
        Self { is_after_markup: false, held: String::new(), is_untouched: true, fence: Fence::default() }
    }
}

impl TextRun {
    /// Passes `bytes` on. Tokens in them are no text.
    pub(crate) fn push(&mut self, bytes: &[u8], mut pass: impl FnMut(&str)) {
        let texts = bytes.split(|&byte| is_token_byte(byte)).filter_map(|text| str::from_utf8(text).ok());
        for text in texts {
            let text = if self.is_after_markup { text.trim_start_matches(is_white) } else { text };
            let body = text.trim_end_matches(is_white);
            if !body.is_empty() {
                self.is_after_markup = false;
                self.is_untouched = false;
                self.fence.push(&self.held);
                self.fence.push(body);
                let held = std::mem::take(&mut self.held);
                [held.as_str(), body].into_iter().filter(|text| !text.is_empty()).for_each(&mut pass);
            }
            self.held.push_str(&text[body.len()..]);
        }
    }

    /// Markup stands here.
    pub(crate) fn markup(&mut self) {
        *self = Self { is_after_markup: true, ..Self::default() };
    }

    /// The text is over.
    pub(crate) fn end(&mut self, pass: impl FnOnce(&str)) {
        if !self.held.is_empty() {
            pass(&std::mem::take(&mut self.held));
        }
    }

    /// Whether no text but white space came since the beginning or the last markup.
    pub(crate) fn is_at_start(&self) -> bool {
        self.is_untouched
    }

    /// Whether a code fence is open here.
    pub(crate) fn is_in_fence(&self) -> bool {
        self.fence.is_open
    }
}

/// Follows Markdown's code fences: lines that begin with three backquotes.
#[derive(Debug, Default)]
struct Fence {
    is_open: bool,
    line: Line,
}

#[derive(Debug, Clone, Copy)]
enum Line {
    /// So many backquotes, and white space before them.
    Begin(u8),
    Other,
}

impl Default for Line {
    fn default() -> Self {
        Self::Begin(0)
    }
}

impl Fence {
    fn push(&mut self, text: &str) {
        for c in text.chars() {
            self.line = match (self.line, c) {
                (_, '\n') | (Line::Begin(0), ' ' | '\t') => Line::Begin(0),
                (Line::Begin(2), '`') => {
                    self.is_open = !self.is_open;
                    Line::Other
                }
                (Line::Begin(backquotes), '`') => Line::Begin(backquotes + 1),
                _ => Line::Other,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(run: &mut TextRun, bytes: &[u8]) -> String {
        let mut text = String::new();
        run.push(bytes, |part| text.push_str(part));
        text
    }

    #[test]
    fn white_space_waits_for_what_follows_and_belongs_to_markup() {
        let mut run = TextRun::default();
        assert_eq!(passed(&mut run, b"\n a  "), "\n a");
        assert_eq!(passed(&mut run, b"b\n"), "  b");
        run.markup();
        assert_eq!(passed(&mut run, b" \n\nc\xF5d \xF6"), "cd");
        let mut end = String::new();
        run.end(|part| end.push_str(part));
        assert_eq!(end, " ");
    }

    #[test]
    fn a_code_fence_is_open_between_lines_of_backquotes() {
        for (text, is_open) in [
            ("", false),
            ("a ``` b", false),
            ("``", false),
            ("```", true),
            ("a\n  ```json\nb", true),
            ("```\na\n```\nb", false),
        ] {
            let mut run = TextRun::default();
            passed(&mut run, text.as_bytes());
            assert_eq!(run.is_in_fence(), is_open, "{text}");
        }
    }
}
