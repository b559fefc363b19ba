//! Answers of models, as they come in pieces.

use arbitrary::{Result, Unstructured};
use nabi_domain::Piece;
use nabi_prompt::{
    AnswerOptions, AnswerParser, CALL_ARGUMENTS_BYTES_MAX, CALLS_MAX, Ending, Finish, Part, PromptTail,
};

use crate::fragments;
use crate::models::{MODELS, Model};

/// Any answer of any model, cut anyhow, gives the same parts. They hold no text that is not in the
/// answer, nothing of a control token, and calls that are whole have one JSON object.
pub(crate) fn answer(bytes: &[u8]) {
    // Too few bytes are no answer.
    let _ = read(&mut Unstructured::new(bytes));
}

pub(crate) use fragments::seeds;

fn read(bytes: &mut Unstructured<'_>) -> Result<()> {
    let model = &MODELS[bytes.choose_index(MODELS.len())?];
    let prompt_tail =
        *bytes.choose(&[PromptTail::Plain, PromptTail::InReasoning, PromptTail::AfterReasoning])?;
    let options = AnswerOptions { prompt_tail, has_tools: bytes.arbitrary()? };
    let ending = *bytes.choose(&[Ending::Stopped, Ending::Cut])?;
    let cuts: u64 = bytes.arbitrary()?;
    let answer = fragments::text(bytes, &model.fragments)?;

    let pieces = model.pieces(&answer);
    let whole = parts(model, options, ending, std::iter::once(pieces.clone()));
    let singles = characters(&pieces);
    let runs = chunks(&singles, cuts);
    assert_eq!(
        whole,
        parts(model, options, ending, singles.into_iter().map(|piece| vec![piece])),
        "{}: {answer}",
        model.name
    );
    assert_eq!(whole, parts(model, options, ending, runs.into_iter()), "{}: {answer}", model.name);
    check_texts(model, &pieces, &whole);
    check_calls(&whole);
    Ok(())
}

/// Each character, and each token, by itself.
fn characters(pieces: &[Piece]) -> Vec<Piece> {
    let single = |piece: &Piece| match piece {
        Piece::Text(text) => text.chars().map(|c| Piece::Text(c.to_string())).collect(),
        Piece::Token(id) => vec![Piece::Token(*id)],
    };
    pieces.iter().flat_map(single).collect()
}

/// Runs of pieces, with an end where a bit is set.
fn chunks(singles: &[Piece], cuts: u64) -> Vec<Vec<Piece>> {
    let mut chunks = vec![Vec::new()];
    for (index, single) in (0..).zip(singles) {
        chunks.last_mut().expect("never empty").push(single.clone());
        if cuts.rotate_right(index) & 1 == 1 {
            chunks.push(Vec::new());
        }
    }
    chunks
}

fn parts(
    model: &Model,
    options: AnswerOptions,
    ending: Ending,
    chunks: impl Iterator<Item = Vec<Piece>>,
) -> Finish {
    let mut parser = AnswerParser::new(model.template.answer_format(), options);
    let mut parts: Vec<_> = chunks.flat_map(|chunk| parser.push(&chunk)).collect();
    let Finish { parts: last, fault } = parser.finish(ending);
    parts.extend(last);
    Finish { parts: joined(parts), fault }
}

fn joined(parts: Vec<Part>) -> Vec<Part> {
    let mut joined: Vec<Part> = Vec::new();
    for part in parts {
        match (joined.last_mut(), part) {
            (Some(Part::Reasoning(last)), Part::Reasoning(next))
            | (Some(Part::Content(last)), Part::Content(next)) => last.push_str(&next),
            (
                Some(Part::CallArguments { json_fragment: last, .. }),
                Part::CallArguments { json_fragment: next, .. },
            ) => last.push_str(&next),
            (_, part) => joined.push(part),
        }
    }
    joined
}

/// What is shown was written as text, in that order.
fn check_texts(model: &Model, pieces: &[Piece], finish: &Finish) {
    let mut written = pieces.iter().flat_map(|piece| {
        let text = match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Token(id) if model.tokens[*id as usize].special => "",
            Piece::Token(id) => &model.tokens[*id as usize].literal,
        };
        text.chars()
    });
    for part in &finish.parts {
        if let Part::Content(text) | Part::Reasoning(text) = part {
            assert!(!text.is_empty());
            assert!(
                text.chars().all(|shown| written.any(|c| c == shown)),
                "{}: {pieces:?} {finish:?}",
                model.name
            );
        }
    }
}

fn check_calls(finish: &Finish) {
    let (mut calls, mut arguments) = (0, String::new());
    for part in &finish.parts {
        match part {
            Part::CallBegin { index, name } => {
                assert_eq!(*index, calls);
                assert!(!name.is_empty());
                calls += 1;
                arguments.clear();
            }
            Part::CallArguments { json_fragment, .. } => arguments.push_str(json_fragment),
            Part::CallEnd { .. } => {
                let value: serde_json::Value = serde_json::from_str(&arguments).expect("arguments are JSON");
                assert!(value.is_object(), "{arguments}");
            }
            Part::Reasoning(_) | Part::Content(_) => {}
        }
        assert!(arguments.len() <= CALL_ARGUMENTS_BYTES_MAX);
    }
    assert!(calls <= CALLS_MAX);
}
