//! Tools: offered to the model, called by it, answered by the caller.

use nabi_domain::ChatTemplate;
use nabi_stub_engine::{Script, Step};
use nabi_wire::engine::Grammar;
use serde_json::{Value, json};

use crate::client::Request;
use crate::engine::{script, text, texts};
use crate::gateway::Gateway;

const JINJA: &str = "{% if tools %}{{ '<|im_start|>system\\n<tools>' + (tools | tojson) + '</tools>\\n\
    <tool_call>\\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\\n</tool_call><|im_end|>\\n' }}{% endif %}\
    {% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}\
    {% if message['content'] %}{{ message['content'] }}{% endif %}\
    {% if message['tool_calls'] %}{% for call in message['tool_calls'] %}\
    {{ '<tool_call>\\n{\"name\": \"' + call['function']['name'] + '\", \"arguments\": ' + (call['function']['arguments'] | tojson) + '}\\n</tool_call>' }}\
    {% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

fn calling() -> Script {
    let call = |city: &str| {
        format!(
            "<tool_call>\n{{\"name\": \"weather\", \"arguments\": {{\"city\": \"{city}\"}}}}\n</tool_call>"
        )
    };
    let halves = |text: &str| {
        let (first, second) = text.split_at(text.len() / 2);
        [Step::Text(first.to_owned()), Step::Text(second.to_owned())]
    };
    let mut steps = vec![text("Let me look.\n")];
    steps.extend(halves(&call("Seoul")));
    steps.push(text("\n"));
    steps.extend(halves(&call("Busan")));
    let mut script = script([("weather?", steps), ("cut", vec![text("<tool_call>\n{\"name\": \"weath")])]);
    script.card.template =
        Some(ChatTemplate { jinja: JINJA.into(), bos_token: String::new(), eos_token: "<|im_end|>".into() });
    script
}

fn tools() -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    json!([{"type": "function", "function": {"name": "weather", "description": "d", "parameters": parameters}}])
}

#[tokio::test]
async fn calls_of_a_whole_answer() {
    let (gateway, mut engine) = Gateway::start(calling()).await;
    let body = gateway.send(Request::say("weather?", json!({"tools": tools()}))).await.json();
    let choice = &body["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], "Let me look.");
    let calls = choice["message"]["tool_calls"].as_array().expect("calls");
    assert_eq!(calls.len(), 2);
    for (call, city) in calls.iter().zip(["Seoul", "Busan"]) {
        assert_eq!((&call["type"], &call["function"]["name"]), (&json!("function"), &json!("weather")));
        let arguments: Value =
            serde_json::from_str(call["function"]["arguments"].as_str().expect("text")).expect("JSON");
        assert_eq!(arguments, json!({"city": city}));
        assert!(call["id"].as_str().is_some_and(|id| id.starts_with("call_") && id.len() == 29), "{call}");
    }
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    assert!(texts(&engine.generate().await.pieces).concat().contains("\"name\": \"weather\""));
}

#[tokio::test]
async fn calls_of_a_stream() {
    let (gateway, _engine) = Gateway::start(calling()).await;
    let fields = json!({"tools": tools(), "stream": true});
    let events = gateway.send(Request::say("weather?", fields)).await.events();
    let mut arguments = [String::new(), String::new()];
    let mut begun = Vec::new();
    for call in events.iter().filter_map(|event| event["choices"][0]["delta"]["tool_calls"].get(0)) {
        let index = usize::try_from(call["index"].as_u64().expect("an index")).expect("small");
        if call["id"].is_string() {
            assert_eq!((&call["type"], &call["function"]["name"]), (&json!("function"), &json!("weather")));
            begun.push(index);
        }
        arguments[index].push_str(call["function"]["arguments"].as_str().expect("text"));
    }
    assert_eq!(begun, [0, 1]);
    for (arguments, city) in arguments.iter().zip(["Seoul", "Busan"]) {
        assert_eq!(serde_json::from_str::<Value>(arguments).expect("JSON"), json!({"city": city}));
    }
    let end = events.last().expect("events");
    assert_eq!(end["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn one_call_at_a_time_if_the_caller_wants_it_so() {
    let (gateway, _engine) = Gateway::start(calling()).await;
    let fields = json!({"tools": tools(), "parallel_tool_calls": false});
    let body = gateway.send(Request::say("weather?", fields)).await.json();
    assert_eq!(body["choices"][0]["message"]["tool_calls"].as_array().expect("calls").len(), 1);
}

#[tokio::test]
async fn calls_that_must_come_are_forced() {
    let (gateway, mut engine) = Gateway::start(calling()).await;
    let named = json!({"type": "function", "function": {"name": "weather"}});
    for choice in [json!("required"), named] {
        let fields = json!({"tools": tools(), "tool_choice": choice});
        assert_eq!(gateway.send(Request::say("weather?", fields)).await.status, 200);
        match engine.generate().await.grammar {
            Some(Grammar::Lark(lark)) => assert!(lark.contains("weather"), "{lark}"),
            other => panic!("{other:?}"),
        }
    }
    gateway.send(Request::say("weather?", json!({"tools": tools()}))).await;
    assert_eq!(engine.generate().await.grammar, None);
    let fields = json!({"tools": tools(), "response_format": {"type": "json_object"}});
    let reply = gateway.send(Request::say("weather?", fields)).await;
    assert_eq!((reply.status, reply.error().2), (400, Some("response_format".into())));
}

#[tokio::test]
async fn a_call_that_breaks_off_is_not_shown() {
    let (gateway, _engine) = Gateway::start(calling()).await;
    let body = gateway.send(Request::say("cut", json!({"tools": tools()}))).await.json();
    let choice = &body["choices"][0];
    assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!(""), &json!("stop")));
    assert_eq!(choice["message"].get("tool_calls"), None);
    gateway.until_logged("an answer's markup is not whole").await;
}

#[tokio::test]
async fn tools_that_may_not_be_called_are_not_offered() {
    let (gateway, mut engine) = Gateway::start(calling()).await;
    let fields = json!({"tools": tools(), "tool_choice": "none"});
    let body = gateway.send(Request::say("weather?", fields)).await.json();
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert_eq!(body["choices"][0]["message"].get("tool_calls"), None);
    assert!(!texts(&engine.generate().await.pieces).concat().contains("<tools>"));
}

#[tokio::test]
async fn a_model_without_a_form_for_tools_refuses_them() {
    let (gateway, _engine) = Gateway::start(Script::default()).await;
    let reply = gateway.send(Request::say("weather?", json!({"tools": tools()}))).await;
    let kind = "invalid_request_error".to_owned();
    assert_eq!(reply.error(), (400, kind, Some("tools".into()), "unsupported_parameter".into()));
}

#[tokio::test]
async fn answers_of_tools_reach_the_model() {
    let (gateway, mut engine) = Gateway::start(calling()).await;
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Seoul\"}"}});
    let messages = json!([
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]);
    let reply = gateway.send(Request::say("", json!({"messages": messages, "tools": tools()}))).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let prompt = texts(&engine.generate().await.pieces).concat();
    assert!(prompt.contains("\"city\"") && prompt.contains("sunny"), "{prompt}");
}
