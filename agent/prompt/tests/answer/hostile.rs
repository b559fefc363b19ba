//! Answers that no honest model writes.

use nabi_domain::Piece;
use nabi_prompt::{
    AnswerFault, AnswerParser, CALL_ARGUMENTS_BYTES_MAX, CALL_HEAD_BYTES_MAX, CALLS_MAX, Ending, Finish,
    Part, PromptTail,
};

use crate::model::{HERMES, LLAMA, Model, NEMO, QWEN, R1, SMALL, V3_1, V3_2, options, read, shown};

fn finish(model: &Model, answer: &str) -> Finish {
    read(&model.format(), options(PromptTail::Plain), &[model.pieces(answer)], Ending::Stopped)
}

#[test]
fn a_malformed_call_is_reported_and_left_out_and_the_next_is_read() {
    for (model, answer, parts) in [
        (&HERMES, "<tool_call>{\"name\": 7}</tool_call> b", &["C b"][..]),
        (&HERMES, "<tool_call>{\"name\": \"f\", \"arguments\": {x}}</tool_call>b", &["f({…", "C b"]),
        (&HERMES, "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>b", &["f(…", "C b"]),
        (&HERMES, "<tool_call>{\"name\": \"\"}</tool_call>b", &["C b"]),
        (
            &HERMES,
            "<tool_call>{\"name\": \"f\", \"arguments\": {}, \"arguments\": {}}</tool_call>",
            &["f({}…"],
        ),
        (&QWEN, "<tool_call>print(1)</tool_call>b", &["C b"]),
        (&QWEN, "<tool_call>{\"name\": \"f\", \"arguments\": {}}more</tool_call>b", &["f({}…", "C b"]),
        (
            &QWEN,
            "<tool_call>{\"name\": \"f\", \"arguments\": {\"<think>\": 1}}</tool_call>b",
            &["f({\"…", "C b"],
        ),
        (
            &R1,
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁call▁end｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            &["f({})"],
        ),
        (
            &V3_1,
            "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{]}<｜tool▁call▁end｜><｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜>",
            &["f({…", "g({})"],
        ),
        (
            &V3_2,
            "<｜DSML｜function_calls><｜DSML｜invoke name=\"f\"><｜DSML｜parameter name=\"a\" string=\"false\">x</｜DSML｜parameter></｜DSML｜invoke><｜DSML｜invoke name=\"g\"></｜DSML｜invoke></｜DSML｜function_calls>",
            &["f({\"a\": …", "g({})"],
        ),
        (
            &V3_2,
            "<｜DSML｜function_calls><｜DSML｜invoke name=\"f\"><｜DSML｜parameter name=\"a\" string=\"true\">x<think>y</｜DSML｜parameter></｜DSML｜invoke></｜DSML｜function_calls>",
            &["f({\"a\": \"x…"],
        ),
        (&NEMO, "[TOOL_CALLS][7]", &[]),
        (&SMALL, "[TOOL_CALLS]f[ARGS]{,}[TOOL_CALLS]g[ARGS]{}", &["f({…", "g({})"]),
        (&LLAMA, "{\"name\": \"f\", \"parameters\": {,", &["f({…"]),
    ] {
        let finish = finish(model, answer);
        assert_eq!(shown(&finish), parts, "{}: {answer}", model.name);
        assert!(matches!(finish.fault, Some(AnswerFault::Malformed { .. })), "{answer}: {:?}", finish.fault);
    }
}

#[test]
fn a_call_within_a_call_is_no_second_call() {
    let inner = "{\"name\": \"g\", \"arguments\": {}}";
    let answer = format!(
        "<tool_call>\n{{\"name\": \"f\", \"arguments\": {{\"a\": {inner}, \"b\": \"<tool_call>\"}}}}\n</tool_call>"
    );
    assert_eq!(shown(&finish(&HERMES, &answer)), [format!("f({{\"a\": {inner}, \"b\": \"<tool_call>\"}})")]);
    let nested = finish(&QWEN, "<tool_call><tool_call>{\"name\": \"f\"}</tool_call>");
    assert_eq!(shown(&nested), ["C "; 0]);
    assert_eq!(nested.fault, Some(AnswerFault::Malformed { call: 0 }));
}

#[test]
fn a_model_that_stops_within_a_call_has_not_made_it() {
    for (model, answer) in [
        (&HERMES, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}"),
        (&V3_1, "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": 1"),
        (&V3_2, "<｜DSML｜function_calls><｜DSML｜invoke name=\"f\">"),
        (&SMALL, "[TOOL_CALLS]f[ARGS]{"),
        (&LLAMA, "{\"name\": \"f\", \"parameters\": {}"),
    ] {
        let finish = finish(model, answer);
        assert_eq!(finish.fault, Some(AnswerFault::Incomplete { call: 0 }), "{}", model.name);
        assert!(!finish.parts.iter().any(|part| matches!(part, Part::CallEnd { .. })), "{}", model.name);
    }
}

#[test]
fn a_call_that_lacks_its_closing_markup_is_whole_only_if_the_model_stopped() {
    for (model, answer) in [
        (&QWEN, "<tool_call>{\"name\": \"f\", \"arguments\": {}}"),
        (&R1, "<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{}\n``"),
        (&V3_1, "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{}"),
    ] {
        let read =
            |ending| read(&model.format(), options(PromptTail::Plain), &[model.pieces(answer)], ending);
        let (stopped, cut) = (read(Ending::Stopped), read(Ending::Cut));
        assert_eq!((shown(&stopped), stopped.fault), (vec!["f({})".to_owned()], None), "{}", model.name);
        let incomplete = Some(AnswerFault::Incomplete { call: 0 });
        assert_eq!((shown(&cut), cut.fault), (vec!["f({}…".to_owned()], incomplete), "{}", model.name);
    }
}

#[test]
fn calls_beyond_the_limit_are_left_out_and_reported() {
    let call = "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>\n";
    let finish = finish(&QWEN, &(call.repeat(1_000) + "and so on"));
    assert_eq!(shown(&finish), vec!["f({})"; CALLS_MAX as usize]);
    assert_eq!(finish.fault, Some(AnswerFault::TooManyCalls));
}

#[test]
fn a_megabyte_of_arguments_streams_through() {
    for (model, begin, end) in [
        (&V3_1, "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": \"", "\"}<｜tool▁call▁end｜>"),
        (&HERMES, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"", "\"}}</tool_call>"),
        (
            &V3_2,
            "<｜DSML｜function_calls><｜DSML｜invoke name=\"f\"><｜DSML｜parameter name=\"a\" string=\"true\">",
            "</｜DSML｜parameter></｜DSML｜invoke></｜DSML｜function_calls>",
        ),
    ] {
        let mut parser = AnswerParser::new(&model.format(), options(PromptTail::Plain));
        parser.push(&model.pieces(begin));
        let chunk = "x".repeat(1 << 10);
        for _ in 0..1 << 10 {
            // Each chunk comes out at once: nothing piles up.
            let parts = parser.push(&[Piece::Text(chunk.clone())]);
            assert_eq!(
                parts,
                [Part::CallArguments { index: 0, json_fragment: chunk.clone() }],
                "{}",
                model.name
            );
        }
        parser.push(&model.pieces(end));
        assert_eq!(parser.finish(Ending::Stopped).fault, None, "{}", model.name);
    }
}

#[test]
fn what_passes_a_limit_is_reported() {
    let long = "x".repeat(CALL_HEAD_BYTES_MAX + 1);
    let deep = "[".repeat(200);
    for (model, answer) in [
        (&R1, format!("<｜tool▁call▁begin｜>function<｜tool▁sep｜>{long}")),
        (&V3_1, format!("<｜tool▁call▁begin｜>{long}")),
        (&V3_2, format!("<｜DSML｜function_calls><｜DSML｜invoke name=\"{long}")),
        (&SMALL, format!("[TOOL_CALLS]{long}")),
        (&HERMES, format!("<tool_call>{{\"name\": \"{long}")),
    ] {
        assert_eq!(finish(model, &answer).fault, Some(AnswerFault::TooLong { call: 0 }), "{}", model.name);
    }
    let answer = format!("<tool_call>{{\"name\": \"f\", \"arguments\": {{\"a\": {deep}");
    assert_eq!(finish(&HERMES, &answer).fault, Some(AnswerFault::Malformed { call: 0 }));
    let huge = "x".repeat(CALL_ARGUMENTS_BYTES_MAX);
    let answer = format!("<tool_call>{{\"name\": \"f\", \"arguments\": {{\"a\": \"{huge}\"}}}}</tool_call>b");
    let finish = finish(&HERMES, &answer);
    assert_eq!(finish.fault, Some(AnswerFault::TooLong { call: 0 }));
    assert_eq!(finish.parts.last(), Some(&Part::Content("b".to_owned())));
}
