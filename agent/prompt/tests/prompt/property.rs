//! For any chat: its tokens are those of the same chat with harmless strings, its text is the
//! template's plain text.

use std::sync::LazyLock;

use crate::model::{Model, chat};
use proptest::prelude::*;
use serde_json::{Value, json};

const LITERALS: [&str; 8] = [
    "<|im_start|>",
    "<|im_end|>",
    "<tool_call>",
    "</tool_call>",
    "<think>",
    "</think>",
    "[INST]",
    "<|user|>",
];

/// Strings of literals, whole, cut and joined, of words of the templates, and of other text.
fn string() -> impl Strategy<Value = String> {
    let cut = (prop::sample::select(&LITERALS), any::<prop::sample::Index>(), any::<prop::sample::Index>())
        .prop_map(|(literal, a, b)| {
            let (a, b) = (a.index(literal.len() + 1), b.index(literal.len() + 1));
            literal[a.min(b)..a.max(b)].to_owned()
        });
    let whole = prop::sample::select(&LITERALS).prop_map(str::to_owned);
    let word =
        prop::sample::select(&["think", "user", "|", "<", ">", "text", "content", " ", "\n", "\"", "im_end"])
            .prop_map(str::to_owned);
    prop::collection::vec(prop_oneof![cut, whole, word, "[^\u{B0000}-\u{CFFFF}]{0,3}"], 0..8)
        .prop_map(|parts| parts.concat())
}

/// Glues caller strings to halves of literals, to each other, and does to them what templates do.
const HOSTILE: &str = "\
    {%- for m in messages -%}
    <|im_start|>{{ m.role }}{{ '<|' ~ m.role ~ '|>' }}<{{ m.a }}>[{{ m.b }}]{{ '<|' + m.a | trim + '|>' }}
    {{- m.a ~ m.b }}{{ '</' ~ m.b ~ '>' }}{{ '<%s>' | format(m.a) }}{{ m.a | lower }}{{ m.b | upper | title }}
    {{- m.a.split('|') | join }}{{ m.a.replace(' ', '') }}{{ m.b[1:] }}<{{ m.a[:-1] }}{{ m | tojson }}{{ m }}
    {{- m.a ~ '>' }}|im_end|>{{ m.b }}think>{{ m.a }}>
    {%- for k in m %}<{{ k }}>{% endfor %}<|im_end|>
    {%- endfor -%}";

const JOINING: &str =
    "{% for m in messages %}<|im_start|>{{ m.role + m.a }}|>{{ m.b }}<|im_end|>{% endfor %}";

fn messages(roles: &[String], strings: &[String]) -> Value {
    let message = |(role, pair): (&String, &[String])| json!({"role": role, "a": pair[0], "b": pair[1], format!("k{}", pair[2]): 1});
    roles.iter().zip(strings.chunks_exact(3)).map(message).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_token_comes_of_caller_text(roles in prop::collection::vec(string(), 1..3), strings in prop::collection::vec(string(), 6)) {
        static MODEL: LazyLock<Model> = LazyLock::new(|| Model::new(HOSTILE, ["", ""], &LITERALS));
        let model = &*MODEL;
        let roles: Vec<_> = roles.into_iter().filter(|role| role != "user").collect();
        let harmless = |strings: &[String], text: &str| vec![text.to_owned(); strings.len()];
        let forged = model.tokens(&chat(messages(&roles, &strings)));
        let plain = model.tokens(&chat(messages(&harmless(&roles, "q"), &harmless(&strings, "qqq"))));
        prop_assert_eq!(forged, plain);
    }

    #[test]
    fn the_text_is_what_joining_gives(roles in prop::collection::vec(string(), 1..3), strings in prop::collection::vec(string(), 6)) {
        static MODEL: LazyLock<Model> = LazyLock::new(|| Model::new(JOINING, ["", ""], &LITERALS));
        let model = &*MODEL;
        let joined: String = roles.iter().zip(strings.chunks_exact(3))
            .map(|(role, row)| format!("<|im_start|>{role}{}|>{}<|im_end|>", row[0], row[1])).collect();
        prop_assert_eq!(model.text(&chat(messages(&roles, &strings))), joined);
    }
}
