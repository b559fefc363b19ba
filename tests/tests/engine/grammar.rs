//! Answers whose form is laid down.

use nabi_tests::engine::{self, Client, Engine, greedy};
use nabi_tests::programs::demo_model;
use nabi_wire::engine::{FinishReason, Generate, Grammar, Refusal, Sampling};
use serde_json::{Value, json};

use crate::text;

async fn demo() -> (Engine, Client) {
    Engine::ready(&engine::config(&demo_model())).await
}

fn formed(prompt: &str, grammar: Grammar) -> Generate {
    Generate { grammar: Some(grammar), ..greedy(text(prompt), 300) }
}

fn person() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "role": {"enum": ["minister", "clerk"]}
        },
        "required": ["name", "age", "role"],
        "additionalProperties": false
    })
}

#[tokio::test]
async fn json_follows_its_schema_whatever_is_drawn() {
    let (_engine, mut client) = demo().await;
    for seed in 0..6 {
        let sampling = Sampling { temperature: 1.5, seed: Some(seed), ..Sampling::default() };
        let grammar = Grammar::JsonSchema(person().to_string());
        let answer = client.answer(Generate { sampling, ..formed("A person:", grammar) }).await;
        assert_eq!(answer.reason(), FinishReason::Stop, "{}", answer.text());
        let value: Value = serde_json::from_str(&answer.text()).expect("JSON");
        assert!(value["name"].as_str().is_some_and(|name| name.chars().count() <= 20), "{value}");
        assert!(value["age"].as_u64().is_some_and(|age| age <= 150), "{value}");
        assert!(value["role"] == "minister" || value["role"] == "clerk", "{value}");
        assert_eq!(value.as_object().map(|fields| fields.len()), Some(3), "{value}");
    }
}

#[tokio::test]
async fn other_forms_and_several_choices_beside_free_answers() {
    let (_engine, mut client) = demo().await;
    let free = client.answer(greedy(text("The capital of France is"), 8)).await.token_ids();
    let date = Grammar::Regex("[0-9]{4}-[01][0-9]-[0-3][0-9]".into());
    let yes = Grammar::Lark("start: \"yes\" | \"no\"".into());
    let requests = vec![
        greedy(text("The capital of France is"), 8),
        Generate { choices: 2, ..formed("Today is", date) },
        formed("Is water wet? Answer:", yes),
        formed("{\"a\":", Grammar::JsonObject),
    ];
    let answers = client.answer_all(requests).await;
    assert_eq!(answers[0].token_ids(), free, "a neighbour's grammar is its own");
    for choice in [answers[1].choice(0), answers[1].choice(1)] {
        let date = choice.text();
        assert_eq!((date.len(), choice.reason()), (10, FinishReason::Stop), "{date}");
        assert!(date.char_indices().all(|(at, c)| if at == 4 || at == 7 {
            c == '-'
        } else {
            c.is_ascii_digit()
        }));
    }
    assert!(["yes", "no"].contains(&answers[2].text().as_str()));
    // It may not come to its end, but it begins as an object.
    assert!(answers[3].text().trim_start().starts_with('{'), "{}", answers[3].text());
}

#[tokio::test]
async fn grammars_that_do_not_compile_or_explode_are_refused_and_the_next_request_works() {
    let (_engine, mut client) = demo().await;
    let nested = format!("{}a{}", "(".repeat(2000), "){1000}".repeat(2000));
    for grammar in [
        Grammar::JsonSchema("{".into()),
        Grammar::JsonSchema(json!({"type": "nonsense"}).to_string()),
        Grammar::Regex("(".into()),
        Grammar::Regex(nested),
        Grammar::Lark("start: missing".into()),
    ] {
        let shown = format!("{grammar:?}").chars().take(60).collect::<String>();
        let refusal = client.answer(formed("Hello", grammar)).await.refusal();
        assert!(matches!(refusal, Refusal::Grammar { .. }), "{shown}: {refusal:?}");
    }
    assert_eq!(client.answer(greedy(text("Hello"), 2)).await.reason(), FinishReason::Length);
}
