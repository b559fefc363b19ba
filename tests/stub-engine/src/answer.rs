//! From a request to the frames of its answer.

use nabi_domain::Piece;
use nabi_wire::engine::{Delta, FinishReason, FromEngine, Generate, Refusal, Usage};

/// Words of the prompt's texts and its tokens, as this engine counts.
pub(crate) fn prompt_tokens(pieces: &[Piece]) -> u32 {
    let tokens: usize = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Token(_) => 1,
            Piece::Text(text) => text.split_whitespace().count(),
        })
        .sum();
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

/// The refusal that a real engine would give too.
pub(crate) fn refusal(generate: &Generate, prompt_tokens: u32, context_tokens: u32) -> Option<Refusal> {
    if generate.pieces.is_empty() {
        return Some(Refusal::PromptEmpty);
    }
    (prompt_tokens >= context_tokens).then_some(Refusal::PromptTooLong { prompt_tokens, context_tokens })
}

/// One frame with text.
pub(crate) fn text(id: u64, token_id: u32, text: String) -> FromEngine {
    FromEngine::Delta(Delta { id, token_ids: vec![token_id], text, logprobs: Vec::new() })
}

/// The words of the prompt, one frame each, then the end.
pub(crate) fn echo(generate: &Generate, prompt_tokens: u32, send: &mut impl FnMut(FromEngine)) {
    let texts = generate.pieces.iter().filter_map(|piece| match piece {
        Piece::Text(text) => Some(text),
        Piece::Token(_) => None,
    });
    let words = texts.flat_map(|text| text.split_inclusive(char::is_whitespace));
    let words_max = generate.tokens_max.unwrap_or(u32::MAX);
    let mut completion_tokens = 0;
    let mut reason = FinishReason::Stop;
    for word in words {
        if completion_tokens == words_max {
            reason = FinishReason::Length;
            break;
        }
        send(text(generate.id, completion_tokens, word.to_owned()));
        completion_tokens += 1;
    }
    let usage = Usage { prompt_tokens, completion_tokens };
    send(FromEngine::Finish { id: generate.id, reason, usage });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generate(text: &str, tokens_max: Option<u32>) -> Generate {
        let pieces = vec![Piece::Token(7), Piece::Text(text.into())];
        Generate { id: 3, pieces, sampling: Default::default(), stop: vec![], tokens_max, logprobs: false }
    }

    fn echoed(generate: &Generate) -> (String, FromEngine) {
        let mut frames = Vec::new();
        echo(generate, prompt_tokens(&generate.pieces), &mut |frame| frames.push(frame));
        let end = frames.pop().expect("an end");
        let texts = frames.into_iter().map(|frame| match frame {
            FromEngine::Delta(delta) => delta.text,
            other => panic!("{other:?} before the end"),
        });
        (texts.collect(), end)
    }

    #[test]
    fn the_echo_is_the_text_and_counts_words() {
        let (text, end) = echoed(&generate("one two  three", None));
        assert_eq!(text, "one two  three");
        let usage = Usage { prompt_tokens: 4, completion_tokens: 4 };
        assert_eq!(end, FromEngine::Finish { id: 3, reason: FinishReason::Stop, usage });
    }

    #[test]
    fn the_echo_ends_at_the_most_tokens() {
        let (text, end) = echoed(&generate("one two three", Some(2)));
        assert_eq!(text, "one two ");
        let usage = Usage { prompt_tokens: 4, completion_tokens: 2 };
        assert_eq!(end, FromEngine::Finish { id: 3, reason: FinishReason::Length, usage });
    }

    #[test]
    fn a_prompt_that_fills_the_context_is_refused_with_both_numbers() {
        let request = generate("one two three", None);
        assert_eq!(refusal(&request, 4, 5), None);
        let too_long = Refusal::PromptTooLong { prompt_tokens: 4, context_tokens: 4 };
        assert_eq!(refusal(&request, 4, 4), Some(too_long));
    }
}
