//! From a request to the frames of its answer. The tokens of this engine are words.

use nabi_domain::{AddedToken, Piece};
use nabi_wire::engine::{Delta, FinishReason, Generate, Refusal, ScoredToken, TokenText};

/// Ids of words begin here, beyond those of added tokens.
pub(crate) const FIRST_WORD_ID: u32 = 100;

/// The tokens of a prompt: added tokens, and words with the white space that follows them.
pub(crate) fn tokens(pieces: &[Piece], added: &[AddedToken]) -> Vec<TokenText> {
    let mut tokens = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Token(token) => tokens.push(TokenText { token: *token, bytes: literal(*token, added) }),
            Piece::Text(text) => {
                for word in text.split_inclusive(char::is_whitespace) {
                    let token = word_id(tokens.len());
                    tokens.push(TokenText { token, bytes: word.into() });
                }
            }
        }
    }
    tokens
}

/// The id of a word that is the `index`th token of its text.
pub(crate) fn word_id(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX).saturating_add(FIRST_WORD_ID)
}

/// What a token given by its id adds to the text.
fn literal(token: u32, added: &[AddedToken]) -> Vec<u8> {
    match added.iter().find(|known| known.id == token) {
        Some(known) => known.literal.clone().into_bytes(),
        None => format!("<{token}>").into_bytes(),
    }
}

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
pub(crate) fn refusal(pieces: &[Piece], prompt_tokens: u32, context_tokens: u32) -> Option<Refusal> {
    if pieces.is_empty() {
        return Some(Refusal::PromptEmpty);
    }
    (prompt_tokens >= context_tokens).then_some(Refusal::PromptTooLong { prompt_tokens, context_tokens })
}

/// A token with a log-probability of −½, and so many others after it, each ½ less likely.
pub(crate) fn scored(text: TokenText, top: u8) -> ScoredToken {
    let other = |rank: u8| TokenText { token: u32::from(rank), bytes: format!("other-{rank}").into_bytes() };
    let likely = (0..top).map(|rank| {
        let token = if rank == 0 { text.clone() } else { other(rank) };
        (token, -0.5 * (f32::from(rank) + 1.0))
    });
    ScoredToken { top: likely.collect(), text, logprob: Some(-0.5) }
}

/// The prompt's tokens as its log-probabilities tell them: the first has none.
pub(crate) fn scored_prompt(tokens: Vec<TokenText>, top: u8) -> Vec<ScoredToken> {
    let mut scored: Vec<_> = tokens.into_iter().map(|token| scored(token, top)).collect();
    if let Some(first) = scored.first_mut() {
        (first.logprob, first.top) = (None, Vec::new());
    }
    scored
}

/// A delta of one token with text.
pub(crate) fn word(choice: u32, token: u32, text: String) -> Delta {
    Delta { choice, token_ids: vec![token], pieces: vec![Piece::Text(text)], ..Delta::default() }
}

/// The words of the prompt as deltas of each choice, the last of them with the end.
pub(crate) fn echo(generate: &Generate) -> Vec<Delta> {
    let texts = generate.pieces.iter().filter_map(|piece| match piece {
        Piece::Text(text) => Some(text),
        Piece::Token(_) => None,
    });
    let words: Vec<_> = texts.flat_map(|text| text.split_inclusive(char::is_whitespace)).collect();
    let words_max = generate.tokens_max.map_or(usize::MAX, |tokens| tokens as usize);
    let reason = if words.len() > words_max { FinishReason::Length } else { FinishReason::Stop };
    let mut deltas = Vec::new();
    for (index, text) in words.into_iter().take(words_max).enumerate() {
        deltas.extend((0..generate.choices).map(|choice| word(choice, word_id(index), text.to_owned())));
    }
    let ends = (0..generate.choices).map(|choice| Delta { choice, end: Some(reason), ..Delta::default() });
    deltas.extend(ends);
    deltas
}

/// A vector of length 1 for a text, which depends on its count of words.
pub(crate) fn vector(pieces: &[Piece], numbers: u32) -> Vec<f32> {
    let words = prompt_tokens(pieces) as f32;
    let raw: Vec<f32> = (0..numbers).map(|number| words + number as f32).collect();
    let length = raw.iter().map(|number| number * number).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    raw.into_iter().map(|number| number / length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generate(text: &str, tokens_max: Option<u32>, choices: u32) -> Generate {
        let pieces = vec![Piece::Token(7), Piece::Text(text.into())];
        Generate { tokens_max, choices, ..Generate::new(3, pieces) }
    }

    /// The text of each choice, and its end.
    fn echoed(generate: &Generate) -> Vec<(String, Option<FinishReason>)> {
        let mut choices = vec![(String::new(), None); generate.choices as usize];
        for delta in echo(generate) {
            let (text, end) = &mut choices[delta.choice as usize];
            for piece in &delta.pieces {
                if let Piece::Text(part) = piece {
                    text.push_str(part);
                }
            }
            *end = delta.end;
        }
        choices
    }

    #[test]
    fn the_echo_is_the_text_in_each_choice() {
        let whole = ("one two  three".to_owned(), Some(FinishReason::Stop));
        assert_eq!(echoed(&generate("one two  three", None, 2)), [whole.clone(), whole]);
    }

    #[test]
    fn the_echo_ends_at_the_most_tokens() {
        let request = generate("one two three", Some(2), 1);
        assert_eq!(echoed(&request), [("one two ".to_owned(), Some(FinishReason::Length))]);
    }

    #[test]
    fn a_prompt_that_fills_the_context_is_refused_with_both_numbers() {
        let pieces = generate("one two three", None, 1).pieces;
        assert_eq!(refusal(&pieces, 4, 5), None);
        let too_long = Refusal::PromptTooLong { prompt_tokens: 4, context_tokens: 4 };
        assert_eq!(refusal(&pieces, 4, 4), Some(too_long));
    }

    #[test]
    fn vectors_have_length_one() {
        let vector = vector(&[Piece::Text("one two".into())], 8);
        let length: f32 = vector.iter().map(|number| number * number).sum();
        assert!((length - 1.0).abs() < 1e-6 && vector.len() == 8, "{vector:?}");
    }
}
