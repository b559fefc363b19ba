//! What the stub engines say, where a test needs exact answers.

use nabi_domain::{AddedToken, ChatTemplate};
use nabi_stub_engine::{Rule, Script, Step, card};
use nabi_wire::engine::{Delta, FillIn, FinishReason, ModelCard, Refusal};

const THINK: u32 = 3;
const THINK_END: u32 = 4;

/// ChatML with reasoning and with tools in Hermes' form, as Qwen3 has them.
const TEMPLATE: &str = concat!(
    "{% if tools %}{{ '<|im_start|>system\n<tools>' + (tools | tojson) + '</tools>\n",
    "<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n' }}{% endif %}",
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}",
    "{% if message['reasoning_content'] %}{{ '<think>' + message['reasoning_content'] + '</think>' }}{% endif %}",
    "{% if message['content'] %}{{ message['content'] }}{% endif %}",
    "{% if message['tool_calls'] %}{% for call in message['tool_calls'] %}",
    "{{ '<tool_call>\n{\"name\": \"' + call['function']['name'] + '\", \"arguments\": ' ",
    "+ (call['function']['arguments'] | tojson) + '}\n</tool_call>' }}{% endfor %}{% endif %}",
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
);

fn text(text: &str) -> Step {
    Step::Text(text.into())
}

/// A text in pieces that respect neither words nor markup.
fn pieces(text: &str) -> impl Iterator<Item = Step> {
    let characters: Vec<char> = text.chars().collect();
    let pieces: Vec<String> = characters.chunks(7).map(|piece| piece.iter().collect()).collect();
    pieces.into_iter().map(Step::Text)
}

fn call(city: &str) -> String {
    format!("<tool_call>\n{{\"name\": \"weather\", \"arguments\": {{\"city\": \"{city}\"}}}}\n</tool_call>\n")
}

fn two_choices() -> Vec<Step> {
    let end = Delta { choice: 1, end: Some(FinishReason::Length), ..Delta::default() };
    let second = |text: &str| Step::Choice(1, text.into());
    vec![text("one "), second("eins "), text("two"), second("zwei"), Step::Delta(Box::new(end))]
}

/// A model that chats, reasons and calls tools.
pub(crate) fn chat() -> Script {
    let added = |id, literal: &str| AddedToken { id, literal: literal.into(), special: false };
    let mut card = ModelCard { name: "chat".parse().expect("a valid name"), ..card() };
    card.template = Some(ChatTemplate {
        jinja: TEMPLATE.into(),
        bos_token: "<|im_start|>".into(),
        eos_token: "<|im_end|>".into(),
    });
    card.added_tokens.extend([added(THINK, "<think>"), added(THINK_END, "</think>")]);
    let refuse = |refusal| vec![Step::Refuse(refusal)];
    let failed = || Refusal::Failed { what: "the script says so".into() };
    let mut weather: Vec<Step> = pieces(&call("Seoul")).collect();
    weather.extend(pieces(&call("Busan")));
    // The first that matches answers: what comes later in a conversation stands first.
    let rules = [
        ("21 degrees", vec![text("It is 21 degrees "), text("in Seoul.")]),
        ("weather", weather),
        (
            "reason",
            vec![Step::Added(THINK), text("Let me "), text("think."), Step::Added(THINK_END), text("Done.")],
        ),
        ("cached", vec![text("Again."), Step::Cached(3)]),
        ("two answers", two_choices()),
        ("insect", pieces("{\"name\": \"butterfly\", \"legs\": 6}").collect()),
        ("queue is full", refuse(Refusal::QueueFull { queue_requests_max: 3 })),
        ("engine fails", refuse(failed())),
        ("too late", refuse(Refusal::TimeOver { total_ms_max: 3 })),
        ("breaks off", vec![text("This "), text("will"), Step::Refuse(failed())]),
        ("never ends", vec![text("Once"), Step::Hold]),
    ];
    let rule = |(contains, steps): (&str, Vec<Step>)| Rule { contains: contains.into(), steps };
    Script { card, rules: rules.into_iter().map(rule).collect(), ..Script::default() }
}

/// A model that gives vectors of eight numbers.
pub(crate) fn embedder() -> Script {
    let name = "embedder".parse().expect("a valid name");
    let card = ModelCard { name, template: None, generates: false, embedding_numbers: Some(8), ..card() };
    Script { card, ..Script::default() }
}

/// A model whose engine dies of every question.
pub(crate) fn mortal() -> Script {
    let card = ModelCard { name: "mortal".parse().expect("a valid name"), ..card() };
    let rules = vec![Rule { contains: String::new(), steps: vec![text("I "), Step::Die] }];
    Script { card, rules, ..Script::default() }
}

/// A model that repeats what it is asked, and can all that the gateway knows to ask for.
pub(crate) fn everything() -> Script {
    let name = "everything".parse().expect("a valid name");
    let fill_in = Some(FillIn { prefix: 5, suffix: 6, middle: 7 });
    let card = ModelCard { name, fill_in, embedding_numbers: Some(8), bos: Some(0), ..chat().card };
    Script { card, ..Script::default() }
}
