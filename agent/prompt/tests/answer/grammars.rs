//! Grammars compile, take what is asked for, and refuse what is not, byte by byte.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use nabi_domain::Piece;
use nabi_prompt::{AnswerForm, CallRules, Ending, FUNCTIONS_MAX, GrammarError, PromptTail, ToolChoice};
use serde_json::{Value, json};

use crate::model::{
    HERMES, LLAMA, MINISTRAL, Model, NEMO, PLAIN, QWEN, R1, SMALL, V3_1, V3_2, V3_2_TEXT, V4, options, read,
    shown,
};

/// A vocabulary of single bytes and the model's added tokens.
fn vocabulary(model: &Model) -> TokEnv {
    let mut words: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    let added = model.tokens().into_iter().map(|token| token.literal).chain(["<end>".to_owned()]);
    words.extend(added.map(|literal| [&[TokTrie::SPECIAL_TOKEN_MARKER], literal.as_bytes()].concat()));
    let info = TokRxInfo::new(words.len() as u32, words.len() as u32 - 1);
    Arc::new(ApproximateTokEnv::new(TokTrie::from(&info, &words)))
}

struct Grammar {
    model: &'static Model,
    factory: ParserFactory,
    lark: String,
}

impl Grammar {
    fn new(model: &'static Model, lark: String) -> Self {
        let mut factory = ParserFactory::new_simple(&vocabulary(model)).expect("a vocabulary");
        factory.quiet();
        Self { model, factory, lark }
    }

    fn compiles(&self) -> Result<Matcher, String> {
        let grammar = TopLevelGrammar::from_lark(self.lark.clone());
        let matcher = Matcher::new(self.factory.create_parser(grammar));
        matcher.get_error().map_or(Ok(matcher), Err)
    }

    /// Whether the answer may be this, and end there.
    fn takes(&self, answer: &str) -> bool {
        let mut matcher = self.compiles().unwrap_or_else(|error| panic!("{error}\n{}", self.lark));
        let tokens: Vec<u32> = self.model.pieces(answer).iter().flat_map(tokens).collect();
        let taken = matcher.try_consume_tokens(&tokens).expect("a live matcher");
        taken == tokens.len() && matcher.is_accepting().expect("a live matcher")
    }
}

fn tokens(piece: &Piece) -> Vec<u32> {
    match piece {
        Piece::Text(text) => text.bytes().map(u32::from).collect(),
        Piece::Token(id) => vec![*id],
    }
}

fn function(name: &str, parameters: Value, strict: bool) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": parameters, "strict": strict}})
}

fn tools(strict: bool) -> Value {
    let city = json!({"type": "string"});
    let days = json!({"$ref": "#/$defs/days"});
    let weather = json!({
        "type": "object",
        "properties": {"city": city, "days": days},
        "required": ["city"],
        "additionalProperties": false,
        "$defs": {"days": {"type": "integer"}},
    });
    json!([function("weather", weather, strict), {"type": "function", "function": {"name": "now"}}])
}

fn grammar(
    model: &'static Model,
    choice: ToolChoice<'_>,
    parallel: bool,
    prompt_tail: PromptTail,
) -> Grammar {
    let tools = tools(true);
    let rules = CallRules { tools: &tools, choice, parallel, prompt_tail };
    let lark = model.format().call_grammar(&rules).expect("a known form").expect("a grammar is needed");
    Grammar::new(model, lark)
}

/// For each form: a call of `weather`, then one of `now` as it follows in the same answer, what the
/// answer ends with, and a call that the schema refuses.
const CALLS: [(&Model, &str, &str, &str, &str); 10] = [
    (
        &R1,
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{\"city\": \"서울\", \"days\": 3}\n```<｜tool▁call▁end｜>",
        "\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{\"days\": 3}\n```<｜tool▁call▁end｜>",
    ),
    (
        &V3_1,
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{\"city\": \"a\"}<｜tool▁call▁end｜>",
        "<｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{\"city\": 7}<｜tool▁call▁end｜>",
    ),
    (
        &V3_2,
        "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"weather\">\n<｜DSML｜parameter name=\"city\" string=\"true\">a</b></｜DSML｜parameter>\n<｜DSML｜parameter name=\"days\" string=\"false\">3</｜DSML｜parameter>\n</｜DSML｜invoke>\n",
        "<｜DSML｜invoke name=\"now\">\n</｜DSML｜invoke>\n",
        "</｜DSML｜function_calls>",
        "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"weather\">\n<｜DSML｜parameter name=\"city\" string=\"true\">a</｜DSML｜parameter>\n<｜DSML｜parameter name=\"days\" string=\"false\">\"3\"</｜DSML｜parameter>\n</｜DSML｜invoke>\n",
    ),
    (
        &V3_2_TEXT,
        "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"weather\">\n<｜DSML｜parameter name=\"city\" string=\"true\">a</b></｜DSML｜parameter>\n</｜DSML｜invoke>\n",
        "<｜DSML｜invoke name=\"now\">\n</｜DSML｜invoke>\n",
        "</｜DSML｜function_calls>",
        "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"weather\">\n</｜DSML｜invoke>\n",
    ),
    (
        &V4,
        "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"weather\">\n<｜DSML｜parameter name=\"city\" string=\"true\"></｜DSML｜parameter>\n</｜DSML｜invoke>\n",
        "<｜DSML｜invoke name=\"now\">\n</｜DSML｜invoke>\n",
        "</｜DSML｜tool_calls>",
        "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"weather\">\n<｜DSML｜parameter name=\"days\" string=\"false\">1</｜DSML｜parameter>\n</｜DSML｜invoke>\n",
    ),
    (
        &QWEN,
        "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"</tool_call\"}}\n</tool_call>",
        "\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>",
        "",
        "<tool_call>\n{\"name\": \"weather\", \"arguments\": {}}\n</tool_call>",
    ),
    (
        &HERMES,
        "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"a\", \"days\": 1}}\n</tool_call>",
        "\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>",
        "",
        "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"a\", \"x\": 1}}\n</tool_call>",
    ),
    (
        &NEMO,
        "[TOOL_CALLS][{\"name\": \"weather\", \"arguments\": {\"city\": \"a\"}}",
        ", {\"name\": \"now\", \"arguments\": {}}",
        "]",
        "[TOOL_CALLS][{\"name\": \"other\", \"arguments\": {}}",
    ),
    (
        &SMALL,
        "[TOOL_CALLS]weather[CALL_ID]abcdefghi[ARGS]{\"city\": \"a\"}",
        "[TOOL_CALLS]now[CALL_ID]abcdefghj[ARGS]{}",
        "",
        "[TOOL_CALLS]weather[CALL_ID]abcdefghi[ARGS]{}",
    ),
    (
        &MINISTRAL,
        "[TOOL_CALLS]weather[ARGS]{\"city\": \"a\"}",
        "[TOOL_CALLS]now[ARGS]{}",
        "",
        "[TOOL_CALLS]weather[ARGS]{\"city\": null}",
    ),
];

#[test]
fn a_forced_call_is_a_call_by_its_schema_and_nothing_else() {
    for (model, weather, now, end, wrong) in CALLS {
        let tail = PromptTail::AfterReasoning;
        let required = grammar(model, ToolChoice::Required, true, tail);
        let (one, two) = (format!("{weather}{end}"), format!("{weather}{now}{end}"));
        assert!(required.takes(&one), "{}: {one}\n{}", model.name, required.lark);
        assert!(required.takes(&two), "{}: {two}\n{}", model.name, required.lark);
        assert!(required.takes(&format!("\n\n{one}")), "{}", model.name);
        for refused in ["", "Hello", &format!("{wrong}{end}"), &format!("Hello {one}"), &format!("{one} Bye")]
        {
            assert!(!required.takes(refused), "{}: {refused}\n{}", model.name, required.lark);
        }
        let single = grammar(model, ToolChoice::Required, false, tail);
        assert!(single.takes(&one) && !single.takes(&two), "{}", model.name);
        let other = grammar(model, ToolChoice::Function("now"), true, tail);
        assert!(!other.takes(&one), "{}", model.name);
        // What the grammar takes, the parser reads.
        let finish = read(&model.format(), options(tail), &[model.pieces(&two)], Ending::Stopped);
        assert_eq!(finish.fault, None, "{}", model.name);
        assert_eq!(shown(&finish).len(), 2, "{}", model.name);
    }
}

#[test]
fn free_calls_of_a_strict_function_follow_its_schema() {
    for (model, weather, now, end, wrong) in CALLS {
        let auto = grammar(model, ToolChoice::Auto, true, PromptTail::AfterReasoning);
        let (one, two) = (format!("{weather}{end}"), format!("{weather}{now}{end}"));
        for taken in ["", "Hello <b> {\"a\"}", &one, &two, &format!("Hello\n{two}")] {
            assert!(auto.takes(taken), "{}: {taken}\n{}", model.name, auto.lark);
        }
        for refused in [format!("{wrong}{end}"), format!("Hello\n{wrong}{end}")] {
            assert!(!auto.takes(&refused), "{}: {refused}\n{}", model.name, auto.lark);
        }
    }
}

#[test]
fn llama_calls_one_function_without_a_marker() {
    let call = "{\"name\": \"weather\", \"parameters\": {\"city\": \"a\"}}";
    let wrong = "{\"name\": \"weather\", \"parameters\": {}}";
    let required = grammar(&LLAMA, ToolChoice::Required, true, PromptTail::Plain);
    assert!(required.takes(call) && !required.takes("Hello") && !required.takes(wrong), "{}", required.lark);
    let auto = grammar(&LLAMA, ToolChoice::Auto, true, PromptTail::Plain);
    assert!(auto.takes(call) && auto.takes("Hello {") && auto.takes(""), "{}", auto.lark);
    assert!(!auto.takes(wrong) && !auto.takes("{\"a\": 1}"), "{}", auto.lark);
}

#[test]
fn reasoning_comes_first_where_the_prompt_lets_it() {
    let call = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
    for model in [&QWEN, &HERMES] {
        let rest = format!("I think.\n</think>\n\n{call}");
        let whole = format!("<think>\n{rest}");
        let takes = |tail, answer: &str| grammar(model, ToolChoice::Required, true, tail).takes(answer);
        assert!(takes(PromptTail::InReasoning, &rest), "{}", model.name);
        assert!(!takes(PromptTail::InReasoning, call), "{}", model.name);
        assert!(takes(PromptTail::Plain, &whole) && takes(PromptTail::Plain, call), "{}", model.name);
        assert!(!takes(PromptTail::AfterReasoning, &whole), "{}", model.name);
        let schema = json!({"type": "integer"});
        let lark = "start: number\nnumber: /[0-9]+/";
        for form in [AnswerForm::Json(&schema), AnswerForm::Regex("[0-9]+"), AnswerForm::Lark(lark)] {
            let grammar = Grammar::new(model, model.format().form_grammar(form, PromptTail::InReasoning));
            let takes = |answer: &str| grammar.takes(answer);
            assert!(takes("Hm.</think>\n\n7") && !takes("7"), "{}\n{}", model.name, grammar.lark);
            assert!(!takes("Hm.</think>\n\nseven"), "{}\n{}", model.name, grammar.lark);
        }
    }
}

#[test]
fn a_callers_regular_expression_stays_one() {
    let grammar = |regex| {
        Grammar::new(&PLAIN, PLAIN.format().form_grammar(AnswerForm::Regex(regex), PromptTail::Plain))
    };
    for (regex, answer) in [
        ("a/b", "a/b"),
        (r"a\/b", "a/b"),
        (r"[/]x\\/i", r"/x\/i"),
        ("a\nb", "a\nb"),
        ("a\\\nb", "a\nb"),
        ("a|b", "b"),
        ("(?i)a", "A"),
        ("\"#", "\"#"),
        ("서울", "서울"),
        (r"a&[&]\&b", "a&&&b"),
        ("[a-z&&[^b]]&&", "c&&"),
    ] {
        assert!(grammar(regex).takes(answer), "{regex}: {}", grammar(regex).lark);
        assert!(!grammar(regex).takes(&format!("{answer}x")), "{regex}");
    }
    assert!(!grammar(r"a&[&]\&b").lark.contains('&'), "engines count them");
    // Nothing that ends the expression, and with it what holds the answer.
    for regex in [r"a\", "a)/ | /(.*", "a/ | /(.*", "(", "a)"] {
        let grammar = grammar(regex);
        assert!(grammar.compiles().is_err() || !grammar.takes("bc"), "{regex}: {}", grammar.lark);
    }
}

#[test]
fn a_callers_grammar_has_names_of_its_own() {
    let lark = "start: r1 T2\nr1: \"a\"\nT2: /b+/";
    let grammar =
        Grammar::new(&QWEN, QWEN.format().form_grammar(AnswerForm::Lark(lark), PromptTail::InReasoning));
    assert!(grammar.takes("Hm.</think>abb") && !grammar.takes("Hm.</think>ba"), "{}", grammar.lark);
}

#[test]
fn a_strict_string_with_limits_is_held_to_them_in_dsml() {
    let code = json!({"type": "string", "pattern": "^[A-Z]{3}$"});
    let kind = json!({"type": "string", "enum": ["a", "b"]});
    let schema =
        json!({"type": "object", "properties": {"code": code, "kind": kind}, "additionalProperties": false});
    let answer = |code: &str, kind: &str| {
        format!(
            "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"code\" {code}</｜DSML｜parameter>\n<｜DSML｜parameter name=\"kind\" string=\"true\">{kind}</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>"
        )
    };
    let grammar = |strict| {
        let tools = json!([function("f", schema.clone(), strict)]);
        let rules = CallRules {
            tools: &tools,
            choice: ToolChoice::Required,
            parallel: true,
            prompt_tail: PromptTail::AfterReasoning,
        };
        Grammar::new(&V3_2, V3_2.format().call_grammar(&rules).expect("a known form").expect("a grammar"))
    };
    assert!(grammar(true).takes(&answer("string=\"false\">\"ABC\"", "a")));
    assert!(!grammar(true).takes(&answer("string=\"true\">abc", "a")));
    assert!(!grammar(true).takes(&answer("string=\"false\">\"ABC\"", "c")));
    assert!(grammar(false).takes(&answer("string=\"true\">abc", "b")));
}

#[test]
fn what_a_schema_says_beyond_the_known_is_left_out_unless_it_is_strict() {
    let odd =
        json!({"type": "object", "properties": {"a": {"type": "string", "format": "of-our-own"}}, "not": {}});
    for (strict, compiles) in [(false, true), (true, false)] {
        for model in [&V3_1, &V3_2, &QWEN] {
            let tools = json!([function("f", odd.clone(), strict), function("g", json!({}), false)]);
            let rules = CallRules {
                tools: &tools,
                choice: ToolChoice::Required,
                parallel: true,
                prompt_tail: PromptTail::Plain,
            };
            let lark = model.format().call_grammar(&rules).expect("a known form").expect("a grammar");
            assert_eq!(Grammar::new(model, lark).compiles().is_ok(), compiles, "{} {strict}", model.name);
        }
    }
}

#[test]
fn what_cannot_be_forced_is_refused() {
    let result = |model: &Model, tools: &Value, choice| {
        let rules = CallRules { tools, choice, parallel: true, prompt_tail: PromptTail::Plain };
        model.format().call_grammar(&rules)
    };
    let good = tools(false);
    assert_eq!(result(&QWEN, &good, ToolChoice::Auto), Ok(None));
    assert_eq!(result(&PLAIN, &json!([]), ToolChoice::Auto), Ok(None));
    assert_eq!(result(&PLAIN, &good, ToolChoice::Auto), Err(GrammarError::NoCalls));
    assert_eq!(result(&PLAIN, &good, ToolChoice::Required), Err(GrammarError::NoCalls));
    assert_eq!(result(&QWEN, &json!([]), ToolChoice::Required), Err(GrammarError::NoTools));
    let unknown = GrammarError::UnknownFunction { name: "f".to_owned() };
    assert_eq!(result(&QWEN, &good, ToolChoice::Function("f")), Err(unknown));
    for tool in [
        json!({}),
        json!({"function": {"name": "a b"}}),
        json!({"function": {"name": "x".repeat(65)}}),
        json!({"function": {"name": "f", "parameters": []}}),
        json!({"function": {"name": "f", "parameters": {"type": "string"}}}),
    ] {
        let error = result(&QWEN, &json!([tool]), ToolChoice::Required);
        assert!(matches!(error, Err(GrammarError::Tool { index: 0, .. })), "{error:?}");
    }
    let many = Value::from(vec![function("f", json!({}), false); FUNCTIONS_MAX + 1]);
    let tools = FUNCTIONS_MAX + 1;
    assert_eq!(result(&QWEN, &many, ToolChoice::Required), Err(GrammarError::TooManyTools { tools }));
    for properties in [json!({"a\">": {}}), json!(7)] {
        let tools = json!([function("f", json!({"properties": properties}), true)]);
        let error = result(&V3_2, &tools, ToolChoice::Required);
        assert!(matches!(error, Err(GrammarError::Parameters { .. })), "{error:?}");
    }
}
