//! Each format's answers, whole and in pieces.

use nabi_domain::Piece;
use nabi_prompt::{AnswerOptions, AnswerParser, Chat, Ending, Finish, PromptTail};
use serde_json::{Value, json};

use crate::answers::ROWS;
use crate::model::{
    HERMES, LLAMA, Model, NEMO, PLAIN, QWEN, R1, V3_1, V3_2, V3_2_TEXT, options, read, shown,
};

/// Each character, and each token, by itself.
pub(crate) fn characters(pieces: &[Piece]) -> Vec<Vec<Piece>> {
    let single = |piece: &Piece| match piece {
        Piece::Text(text) => text.chars().map(|c| vec![Piece::Text(c.to_string())]).collect(),
        Piece::Token(_) => vec![vec![piece.clone()]],
    };
    pieces.iter().flat_map(single).collect()
}

#[test]
fn each_answer_has_its_parts_whole_and_by_characters() {
    for row in ROWS {
        let (format, pieces) = (row.model.format(), row.model.pieces(row.answer));
        for inputs in [vec![pieces.clone()], characters(&pieces)] {
            let finish = read(&format, options(row.tail), &inputs, Ending::Stopped);
            assert_eq!(shown(&finish), row.parts, "{}: {}", row.model.name, row.answer);
            assert_eq!(finish.fault, None, "{}: {}", row.model.name, row.answer);
        }
    }
}

#[test]
fn text_that_spells_a_token_is_text() {
    let read = |model: &Model, answer: &str| {
        let text = vec![vec![Piece::Text(answer.to_owned())]];
        shown(&read(&model.format(), options(PromptTail::Plain), &text, Ending::Stopped))
    };
    for (model, answer) in [
        (&R1, "<think>a</think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function"),
        (&V3_1, "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜>"),
        (&V3_2, "<｜DSML｜function_calls><｜DSML｜invoke name=\"f\">"),
        (&QWEN, "<think>a</think><tool_call>{\"name\": \"f\"}</tool_call><|im_end|>"),
    ] {
        assert_eq!(read(model, answer), [format!("C {answer}")], "{}", model.name);
    }
}

#[test]
fn without_tools_markup_is_content_but_its_tokens_are_never_shown() {
    for (model, answer, content) in [
        (&HERMES, "<tool_call>{\"name\": \"f\"}</tool_call>", "<tool_call>{\"name\": \"f\"}</tool_call>"),
        (&QWEN, "a\n<tool_call>\n{\"name\": \"f\"}</tool_call>", "a\n\n{\"name\": \"f\"}"),
        (&V3_1, "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜>", "f{}"),
        (&V3_2, "<｜DSML｜invoke name=\"f\">", "<invoke name=\"f\">"),
        (&LLAMA, "{\"name\": \"f\", \"parameters\": {}}", "{\"name\": \"f\", \"parameters\": {}}"),
    ] {
        let options = AnswerOptions { prompt_tail: PromptTail::Plain, has_tools: false };
        let finish = read(&model.format(), options, &[model.pieces(answer)], Ending::Stopped);
        assert_eq!(shown(&finish), [format!("C {content}")], "{}", model.name);
    }
}

#[test]
fn text_is_passed_on_as_soon_as_it_cannot_be_markup() {
    let model = &HERMES;
    let mut parser = AnswerParser::new(&model.format(), options(PromptTail::Plain));
    let mut push = |text: &str| {
        let parts = parser.push(&[Piece::Text(text.to_owned())]);
        shown(&Finish { parts, fault: None })
    };
    assert_eq!(push("a <"), ["C a"]);
    assert_eq!(push("b"), ["C  <b"]);
    assert_eq!(push(" <tool_call> "), ["C "; 0]);
    assert_eq!(push("x"), ["C  <tool_call> x"]);
    assert_eq!(push("\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\""), ["f({\"a\"…"]);
}

#[test]
fn reasoning_is_known_from_how_the_prompt_ends() {
    for (model, variables, tail) in [
        (&R1, json!({}), PromptTail::InReasoning),
        (&V3_1, json!({"thinking": true}), PromptTail::InReasoning),
        (&V3_1, json!({}), PromptTail::AfterReasoning),
        (&QWEN, json!({}), PromptTail::Plain),
        (&QWEN, json!({"enable_thinking": false}), PromptTail::AfterReasoning),
        (&HERMES, json!({"enable_thinking": false}), PromptTail::AfterReasoning),
        (&PLAIN, json!({}), PromptTail::Plain),
    ] {
        let template = model.template();
        let chat = Chat {
            messages: vec![json!({"role": "user", "content": "end with <think>"})],
            add_generation_prompt: true,
            variables: variables.as_object().expect("an object").clone(),
            ..Default::default()
        };
        let prompt = template.render(&chat).expect("a good chat");
        assert_eq!(template.answer_format().prompt_tail(&prompt), tail, "{} {variables}", model.name);
    }
}

#[test]
fn a_callers_text_at_the_end_of_a_turn_opens_no_reasoning() {
    let end_of_turn = HERMES.pieces("<|im_end|>");
    let format = HERMES.format();
    let prompt = [&HERMES.pieces("a<think>")[..], &end_of_turn].concat();
    assert_eq!(format.prompt_tail(&prompt), PromptTail::Plain);
    assert_eq!(format.prompt_tail(&HERMES.pieces("<|im_end|>\n<think>\n")), PromptTail::InReasoning);
}

/// What a template writes of an earlier answer is what the model is taught to write.
#[test]
fn an_answer_as_the_template_writes_it_is_read_back() {
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    let arguments = "{\"city\": \"서울\", \"days\": [1, 2.5, null], \"more\": {\"a\": true}}";
    let calls = json!([call("call00001", arguments), call("call00002", "{\"b\": \"x\\ny\"}")]);
    for model in [&R1, &V3_1, &V3_2, &V3_2_TEXT, &QWEN, &HERMES, &NEMO] {
        let template = model.template();
        let text = |messages: &Value| {
            let messages = messages.as_array().expect("a list").clone();
            let chat = Chat { messages, ..Chat::default() };
            model.text(&template.render(&chat).expect("a good chat"))
        };
        let question = json!({"role": "user", "content": "q"});
        let before = text(&json!([question]));
        let after = text(&json!([question, {"role": "assistant", "tool_calls": calls}]));
        let answer = after.strip_prefix(&before).expect("the question comes first");
        let finish =
            read(&model.format(), options(PromptTail::Plain), &[model.pieces(answer)], Ending::Stopped);
        let read: Vec<_> = shown(&finish).into_iter().filter(|line| !line.starts_with("C ")).collect();
        let second = "f({\"b\": \"x\\ny\"})";
        assert_eq!(read, [format!("f({arguments})"), second.to_owned()], "{}: {answer}", model.name);
        assert_eq!(finish.fault, None, "{}", model.name);
    }
}
