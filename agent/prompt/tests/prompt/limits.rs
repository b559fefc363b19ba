//! What passes a limit, and what is wrong, is refused with its reason.

use crate::model::{Model, chat};
use nabi_domain::{AddedToken, ChatTemplate};
use nabi_prompt::{
    CHAT_DEPTH_MAX, CHAT_MESSAGES_MAX, Chat, PROMPT_CHARS_MAX, RenderError, TEMPLATE_BYTES_MAX, Template,
    TemplateError,
};
use serde_json::{Map, Value, json};

fn compile(jinja: &str, tokens: &[AddedToken]) -> Result<Template, TemplateError> {
    let template =
        ChatTemplate { jinja: jinja.to_owned(), bos_token: String::new(), eos_token: String::new() };
    Template::compile(&template, tokens)
}

fn render(jinja: &str, messages: Value) -> Result<String, RenderError> {
    let model = Model::new(jinja, ["", ""], &["<|im_end|>"]);
    model.template().render(&chat(messages.clone()))?;
    Ok(model.text(&chat(messages)))
}

#[test]
fn a_template_that_is_no_jinja_is_refused_with_its_line() {
    for jinja in ["a\n\n{% if %}", "a\n\n{% generation %}{{ }}{% endgeneration %}", "a\nb\n{% endfor %}"] {
        let Err(TemplateError::Syntax { line, detail }) = compile(jinja, &[]) else { panic!("{jinja}") };
        assert_eq!(line, 3, "{detail}");
    }
}

#[test]
fn a_template_or_token_beyond_the_limits_is_refused() {
    let large = " ".repeat(TEMPLATE_BYTES_MAX + 1);
    assert!(matches!(compile(&large, &[]), Err(TemplateError::TooLarge { .. })));
    assert!(matches!(compile("\u{B0041}", &[]), Err(TemplateError::ReservedCharacter { .. })));
    let token = AddedToken { id: 7, literal: "<\u{20000}>".to_owned(), special: true };
    assert!(matches!(compile("", &[token]), Err(TemplateError::Literal { id: 7, .. })));
}

#[test]
fn a_chat_beyond_the_limits_is_refused() {
    let messages = vec![json!({"role": "user"}); CHAT_MESSAGES_MAX + 1];
    let refused = Err(RenderError::TooManyMessages { messages: messages.len() });
    assert_eq!(render("", Value::from(messages)), refused);

    let nested = |levels: usize| (0..levels).fold(json!("deep"), |inner, _| Value::Array(vec![inner]));
    let field = |levels| {
        let content = nested(levels);
        Value::Array(vec![Value::Object(Map::from_iter([("content".to_owned(), content)]))])
    };
    assert_eq!(
        render("{{ messages[0].content | tojson | length > 4 }}", field(CHAT_DEPTH_MAX - 1)),
        Ok("True".into())
    );
    assert_eq!(render("", field(CHAT_DEPTH_MAX)), Err(RenderError::TooDeep));
    assert_eq!(render("", field(2_000)), Err(RenderError::TooDeep));
    let model = Model::new("{{ tools }}", ["", ""], &[]);
    let deep_tools = Chat { tools: Some(nested(CHAT_DEPTH_MAX + 1)), ..chat(json!([])) };
    assert_eq!(model.template().render(&deep_tools), Err(RenderError::TooDeep));
}

#[test]
fn endless_work_output_memory_and_recursion_end_with_an_error() {
    let endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    assert_eq!(render(endless, json!([])), Err(RenderError::OutOfFuel));
    let doubling = "{% set ns = namespace(s='xxxxxxxx') %}{% for a in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}";
    assert_eq!(render(doubling, json!([])), Err(RenderError::OutOfFuel));
    let content = "x".repeat(PROMPT_CHARS_MAX / 2);
    let messages = json!([{"role": "user", "content": content}]);
    let two = "{{ messages[0].content }}{{ messages[0].content }}";
    assert_eq!(render(two, messages.clone()).map(|text| text.len()), Ok(PROMPT_CHARS_MAX));
    assert_eq!(render(&format!("{two}+"), messages), Err(RenderError::TooLong));
    let recursion = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
    assert!(matches!(render(recursion, json!([])), Err(RenderError::Failed { .. })));
}

#[test]
fn a_value_that_the_template_nests_too_deeply_is_not_printed() {
    let nested = |levels: usize, print: &str| {
        let nest = format!("{{% for a in range({levels}) %}}{{% set ns.x = [ns.x] %}}{{% endfor %}}");
        render(&format!("{{% set ns = namespace(x=[]) %}}{nest}{{{{ {print} }}}}"), json!([]))
    };
    for print in ["ns.x", "ns.x | tojson", "ns.x | string"] {
        assert_eq!(nested(100, print).map(|text| text.len()), Ok(202), "{print}");
        assert!(matches!(nested(1_000, print), Err(RenderError::Failed { .. })), "{print}");
    }
}

#[test]
fn a_template_that_refuses_or_fails_says_why() {
    let refusing =
        "{% macro m(x) %}{{ raise_exception('No role ' + x) }}{% endmacro %}\n{{ m(messages[0].role) }}";
    let refused = Err(RenderError::Refused { message: "No role <|im_end|>".to_owned() });
    assert_eq!(render(refusing, json!([{"role": "<|im_end|>"}])), refused);
    let Err(RenderError::Failed { line, .. }) = render("\n{{ messages[0].a.b }}", json!([{}])) else {
        panic!()
    };
    assert_eq!(line, 2);
}

#[test]
fn a_caller_cannot_see_or_replace_what_the_template_is_given() {
    let model =
        Model::new("{{ messages | length }}{{ bos_token }}{{ strftime_now('%Y') }}", ["<s>", ""], &[]);
    let mut chat = chat(json!([]));
    for name in ["messages", "bos_token", "strftime_now"] {
        chat.variables.insert(name.to_owned(), json!("mine"));
    }
    assert_eq!(model.text(&chat), "0<s>2026");
    assert!(matches!(render("{{ debug() }}", json!([])), Err(RenderError::Failed { .. })));
}
