//! Server-sent events, as far as OpenAI's streams use them.

use std::collections::VecDeque;

/// Cuts a stream of bytes into the data of its events.
#[derive(Debug, Default)]
pub(crate) struct Events {
    unfinished: Vec<u8>,
    whole: VecDeque<String>,
}

impl Events {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' && self.unfinished.last() == Some(&b'\n') {
                self.end_event();
            } else if byte != b'\r' {
                self.unfinished.push(byte);
            }
        }
    }

    fn end_event(&mut self) {
        let text = String::from_utf8_lossy(&self.unfinished);
        let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data:")).collect();
        // An event without data is a comment that keeps the connection alive.
        if !data.is_empty() {
            self.whole.push_back(data.join("\n").trim_start().to_owned());
        }
        self.unfinished.clear();
    }

    pub(crate) fn next(&mut self) -> Option<String> {
        self.whole.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_however_the_bytes_arrive() {
        let stream = b": comment\n\ndata: {\"a\":1}\n\ndata: two\r\n\r\nevent: x\ndata:[DONE]\n\ndata: cut";
        for size in 1..stream.len() {
            let mut events = Events::default();
            stream.chunks(size).for_each(|chunk| events.push(chunk));
            let found: Vec<String> = std::iter::from_fn(|| events.next()).collect();
            assert_eq!(found, ["{\"a\":1}", "two", "[DONE]"], "chunks of {size}");
        }
    }
}
