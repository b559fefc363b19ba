//! How an answer is cut into pieces makes no difference, and no cut shows markup.

use nabi_domain::Piece;
use nabi_prompt::{AnswerFault, Ending, Part, PromptTail};
use proptest::prelude::*;

use crate::answers::ROWS;
use crate::formats::characters;
use crate::model::{
    HERMES, LLAMA, MINISTRAL, Model, NEMO, QWEN, R1, SMALL, TAILS, V3_1, V3_2, V3_2_TEXT, options, read,
    shown,
};

const MODELS: [&Model; 10] =
    [&R1, &V3_1, &V3_2, &V3_2_TEXT, &QWEN, &HERMES, &LLAMA, &NEMO, &SMALL, &MINISTRAL];

/// The characters, cut after those whose bit is set.
fn chunks(pieces: &[Piece], cuts: &[bool]) -> Vec<Vec<Piece>> {
    let mut chunks = vec![Vec::new()];
    for (index, single) in characters(pieces).into_iter().enumerate() {
        let chunk: &mut Vec<Piece> = chunks.last_mut().expect("never empty");
        match (chunk.last_mut(), &single[0]) {
            (Some(Piece::Text(text)), Piece::Text(next)) => text.push_str(next),
            (_, piece) => chunk.push(piece.clone()),
        }
        if cuts[index % cuts.len()] {
            chunks.push(Vec::new());
        }
    }
    chunks
}

/// Pieces of all formats, in an order that makes sense or does not.
fn answer() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(
        &[
            "<think>",
            "</think>",
            "[THINK]",
            "[/THINK]",
            "<tool_call>",
            "</tool_call>",
            "[TOOL_CALLS]",
            "[ARGS]",
            "[CALL_ID]",
            "<｜tool▁calls▁begin｜>",
            "<｜tool▁call▁begin｜>",
            "<｜tool▁sep｜>",
            "<｜tool▁call▁end｜>",
            "<｜tool▁calls▁end｜>",
            "｜DSML｜",
            "<｜DSML｜function_calls>",
            "<｜DSML｜invoke name=\"",
            "</｜DSML｜invoke>",
            "<｜DSML｜parameter name=\"a\" string=\"",
            "</｜DSML｜parameter>",
            "</｜DSML｜function_calls>",
            "true\">",
            "false\">",
            "function",
            "{\"name\": \"f\", \"arguments\": ",
            "{\"name\": \"f\", \"parameters\": ",
            "{",
            "}",
            "[",
            "]",
            "\"",
            "\\",
            "{}",
            "}}",
            "1",
            ", ",
            "\n",
            " ",
            "```",
            "```json\n",
            "\n```",
            "f",
            "서울",
            "<",
            "</",
            ";",
            "<|im_end|>",
            "<|python_tag|>",
            "<|eot_id|>",
            "\"name\": ",
            "\"arguments\": {\"a\": 1}",
        ][..],
    );
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

#[test]
fn white_space_before_what_may_be_a_call_is_text_however_it_is_cut() {
    let (format, pieces) = (LLAMA.format(), LLAMA.pieces(" {\"n<|eot_id|>"));
    for chunks in [vec![pieces.clone()], characters(&pieces)] {
        let finish = read(&format, options(PromptTail::Plain), &chunks, Ending::Cut);
        assert_eq!(finish.parts, [Part::Content(" ".into())]);
        assert_eq!(finish.fault, Some(AnswerFault::Incomplete { call: 0 }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn chunks_make_no_difference(
        answer in answer(),
        model in prop::sample::select(&MODELS[..]),
        tail in prop::sample::select(&TAILS[..]),
        ending in prop::sample::select(&[Ending::Stopped, Ending::Cut][..]),
        cuts in prop::collection::vec(any::<bool>(), 1..40),
    ) {
        let (format, pieces) = (model.format(), model.pieces(&answer));
        let whole = read(&format, options(tail), std::slice::from_ref(&pieces), ending);
        prop_assert_eq!(&whole, &read(&format, options(tail), &characters(&pieces), ending), "{}", model.name);
        prop_assert_eq!(&whole, &read(&format, options(tail), &chunks(&pieces, &cuts), ending), "{}", model.name);
        for part in &whole.parts {
            if let Part::Content(text) | Part::Reasoning(text) = part {
                prop_assert!(!text.is_empty());
            }
        }
    }

    #[test]
    fn a_whole_call_has_arguments_that_are_one_object(
        answer in answer(),
        model in prop::sample::select(&MODELS[..]),
        tail in prop::sample::select(&TAILS[..]),
    ) {
        let finish = read(&model.format(), options(tail), &[model.pieces(&answer)], Ending::Stopped);
        let mut arguments = String::new();
        for part in &finish.parts {
            match part {
                Part::CallBegin { .. } => arguments.clear(),
                Part::CallArguments { json_fragment, .. } => arguments.push_str(json_fragment),
                Part::CallEnd { .. } => {
                    let value: Result<serde_json::Value, _> = serde_json::from_str(&arguments);
                    prop_assert!(value.is_ok_and(|value| value.is_object()), "{} {arguments}", model.name);
                }
                Part::Reasoning(_) | Part::Content(_) => {}
            }
        }
    }

    #[test]
    fn the_rows_do_not_depend_on_chunks(cuts in prop::collection::vec(any::<bool>(), 1..60), index in 0..ROWS.len()) {
        let row = &ROWS[index];
        let inputs = chunks(&row.model.pieces(row.answer), &cuts);
        let finish = read(&row.model.format(), options(row.tail), &inputs, Ending::Stopped);
        prop_assert_eq!(shown(&finish), row.parts);
    }
}

/// What is left of the texts of an answer that ends early is the beginning of those of the whole, and
/// so holds no markup; and a call that has ended has ended in the whole too.
#[test]
fn an_answer_that_is_cut_off_anywhere_is_the_beginning_of_the_whole() {
    for row in ROWS {
        let (format, singles) = (row.model.format(), characters(&row.model.pieces(row.answer)));
        for len in 0..singles.len() {
            let finish = read(&format, options(row.tail), &singles[..len], Ending::Cut);
            let at = format!("{}: {len} of {}", row.model.name, row.answer);
            let mut lines = shown(&finish);
            // White space alone may turn out to stand before markup.
            let last = lines.pop().filter(|last| !last[1..].trim().is_empty()).unwrap_or_default();
            assert_eq!(lines, row.parts[..lines.len()], "{at}");
            let whole = row.parts.get(lines.len()).copied().unwrap_or_default();
            let is_beginning = whole.starts_with(last.trim_end_matches('…').trim_end());
            assert!(is_beginning, "{at}: {last}");
            let is_in_call = last.ends_with('…');
            let is_reported = matches!(finish.fault, Some(AnswerFault::Incomplete { .. }));
            assert!(is_reported || (!is_in_call && finish.fault.is_none()), "{at}: {:?}", finish.fault);
        }
    }
}

#[test]
fn reasoning_that_does_not_end_stays_reasoning() {
    let answer = R1.pieces("Hm, <｜User｜> so");
    let finish = read(&R1.format(), options(PromptTail::InReasoning), &[answer], Ending::Cut);
    assert_eq!(shown(&finish), ["T Hm,  so"]);
    assert_eq!(finish.fault, None);
}
