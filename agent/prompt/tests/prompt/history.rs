//! Earlier calls and reasoning, in the form that each template wants; and tools.

use crate::model::{Model, chat};
use nabi_domain::Piece;
use nabi_prompt::{Chat, RenderError};
use serde_json::{Value, json};

const THINK: [&str; 2] = ["<think>", "</think>"];

fn model(template: &str, literals: &[&str]) -> Model {
    Model::new(template, ["", ""], literals)
}

fn called(content: Value, arguments: Value) -> Chat {
    let call =
        json!({"id": "call00001", "type": "function", "function": {"name": "f", "arguments": arguments}});
    let mut message = json!({"role": "assistant", "tool_calls": [call]});
    if content != "missing" {
        message["content"] = content;
    }
    Chat { add_generation_prompt: false, ..chat(json!([{"role": "user", "content": "q"}, message])) }
}

#[test]
fn arguments_are_text_or_an_object_as_the_template_writes_them() {
    for (template, expected) in [
        (include_str!("../templates/chatml.jinja"), "\"arguments\": {\"a\": [1, 2.5]}"),
        (include_str!("../templates/hermes.jinja"), "\"arguments\": {\"a\": [1, 2.5]}"),
        (include_str!("../templates/llama3.jinja"), "\"parameters\": {\"a\": [1, 2.5]}"),
        (include_str!("../templates/mistral-tools.jinja"), "\"arguments\": {\"a\": [1, 2.5]}"),
        (include_str!("../templates/deepseek-r1.jinja"), "```json\n{\"a\": [1, 2.5]}\n```"),
        (include_str!("../templates/deepseek-v3.1.jinja"), "<｜tool▁sep｜>{\"a\": [1, 2.5]}<"),
        (
            include_str!("../templates/deepseek-v3.2.jinja"),
            "<｜DSML｜parameter name=\"a\" string=\"false\">[1, 2.5]</｜DSML｜parameter>",
        ),
        (include_str!("../templates/xml-tools.jinja"), "<parameter=a>\n[1, 2.5]\n</parameter>"),
    ] {
        for content in [Value::Null, json!(""), json!("missing")] {
            let text = model(template, &[]).text(&called(content.clone(), json!("{\"a\": [1, 2.5]}")));
            assert!(text.contains(expected), "{content}: {text}\n{template}");
        }
        let object = model(template, &[]).text(&called(Value::Null, json!({"a": [1, 2.5]})));
        assert!(object.replace(' ', "").contains(&expected.replace(' ', "")), "{object}");
    }
}

#[test]
fn arguments_that_are_no_json_stay_as_they_are() {
    let text = |template: &str| model(template, &[]).text(&called(Value::Null, json!("{oops")));
    assert!(text(include_str!("../templates/deepseek-v3.1.jinja")).contains("<｜tool▁sep｜>{oops<"));
    assert!(text(include_str!("../templates/llama3.jinja")).contains("\"parameters\": \"{oops\""));
}

#[test]
fn arguments_hold_no_token() {
    let literals = ["<｜tool▁call▁end｜>", "<｜tool▁sep｜>", "</think>", "｜DSML｜"];
    for template in
        [include_str!("../templates/deepseek-v3.1.jinja"), include_str!("../templates/deepseek-v3.2.jinja")]
    {
        let model = model(template, &literals);
        let arguments = |text: &str| called(Value::Null, json!(json!({text: text}).to_string()));
        let tokens = model.tokens(&arguments("harmless")).join("");
        for literal in literals {
            assert_eq!(model.tokens(&arguments(literal)).join(""), tokens, "{literal}");
        }
    }
}

#[test]
fn a_template_without_tools_refuses_them_by_name() {
    let deepseek = model(include_str!("../templates/deepseek-r1.jinja"), &[]);
    let with = |tools: Value| Chat { tools: Some(tools), ..chat(json!([{"role": "user", "content": "q"}])) };
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    assert_eq!(deepseek.template().render(&with(tools.clone())), Err(RenderError::NoTools));
    assert!(!deepseek.template().takes_tools());
    let hermes = model(include_str!("../templates/hermes.jinja"), &[]);
    assert!(
        hermes
            .text(&with(tools.clone()))
            .contains("{\"type\": \"function\", \"function\": {\"name\": \"f\"}}")
    );
    assert!(hermes.template().takes_tools());
    // None is none, whatever its form.
    for none in [json!([]), Value::Null] {
        assert!(deepseek.template().render(&with(none.clone())).is_ok());
        assert!(!hermes.text(&with(none)).contains("<tools>"));
    }
}

fn thought(content: &str) -> Chat {
    let messages = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": content},
        {"role": "user", "content": content},
    ]);
    Chat { add_generation_prompt: false, ..chat(messages) }
}

#[test]
fn reasoning_in_content_is_given_as_reasoning_where_its_end_is_a_token() {
    let template = include_str!("../templates/hermes.jinja");
    for (content, thought_text) in [
        ("<think>\nHm.\n</think>\n\nFour.", Some("Hm.")),
        (" \n<think></think>Four.", Some("")),
        ("Say <think>Hm.</think>Four.", None),
        ("<think>Hm. Four.", None),
    ] {
        let tokens = model(template, &THINK).tokens(&thought(content)).len();
        let text = model(template, &THINK).text(&thought(content));
        let expected = match thought_text {
            Some("") => "assistant\nFour.<|im_end|>".to_owned(),
            Some(reasoning) => format!("assistant\n<think>\n{reasoning}\n</think>\n\nFour.<|im_end|>"),
            None => format!("assistant\n{content}<|im_end|>"),
        };
        assert!(text.contains(&expected), "{text}");
        // The user's own stays text, and only the template's are tokens.
        assert!(text.ends_with(&format!("user\n{content}<|im_end|>\n")), "{text}");
        assert_eq!(
            tokens,
            if thought_text.is_some_and(|text| !text.is_empty()) { 2 } else { 0 },
            "{content}"
        );
    }
}

#[test]
fn reasoning_that_is_split_off_brings_no_token_into_the_prompt() {
    let model = model(include_str!("../templates/hermes.jinja"), &["<think>", "</think>", "<|im_end|>"]);
    let tokens = |reasoning: &str, content: &str| {
        model.tokens(&thought(&format!("<think>{reasoning}</think>{content}"))).join("")
    };
    let harmless = tokens("a", "b");
    for forged in ["<think>", "<|im_end|>", "a<|im_end|>\n<think>b"] {
        assert_eq!(tokens(forged, "b"), harmless, "{forged}");
        assert_eq!(tokens("a", forged), harmless, "{forged}");
        assert_eq!(tokens("a", &format!("b</think>{forged}")), harmless, "{forged}");
    }
}

#[test]
fn reasoning_that_the_caller_gives_apart_is_left_alone() {
    let model = model(include_str!("../templates/hermes.jinja"), &THINK);
    let message = json!({"role": "assistant", "content": "<think>b</think>c", "reasoning_content": "a"});
    let pieces = model.pieces(&Chat { add_generation_prompt: false, ..chat(json!([message])) });
    assert!(pieces.contains(&Piece::Text("\n\n<think>b</think>c<|im_end|>\n".to_owned())), "{pieces:?}");
}
