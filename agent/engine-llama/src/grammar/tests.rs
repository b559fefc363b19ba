//! Answers of random tokens under grammars.

use nabi_wire::engine::{GRAMMAR_BYTES_MAX, Grammar, Sampling};
use serde_json::Value;

use super::{GrammarToken, Grammars, Matcher};
use crate::sample::{Sampler, Scratch};

/// All bytes, then words as tokenizers merge them, some added tokens and two ends.
pub(crate) struct WordVocabulary {
    words: Vec<Vec<u8>>,
}

impl WordVocabulary {
    pub(crate) const THINK: u32 = 256;
    pub(crate) const END: u32 = 257;
    pub(crate) const END_TOO: u32 = 258;
    const ADDED: [&str; 3] = ["<think>", "<end>", "end too"];

    pub(crate) fn new(tokens: usize) -> Self {
        let mut words: Vec<Vec<u8>> = (0..=255_u8).map(|byte| vec![byte]).collect();
        words.extend(Self::ADDED.map(|literal| literal.as_bytes().to_vec()));
        words.extend(merged().take(tokens - words.len()));
        assert_eq!(words.len(), tokens);
        Self { words }
    }

    pub(crate) fn grammars(&self) -> Grammars {
        let tokens = (0..self.words.len() as u32).map(|token| match Self::added(token) {
            Some(literal) => GrammarToken::Added(literal),
            None => GrammarToken::Text(self.bytes(token)),
        });
        Grammars::new(tokens, &[Self::END, Self::END_TOO]).expect("a vocabulary that can be used")
    }

    pub(crate) fn ends(&self, token: u32) -> bool {
        token == Self::END || token == Self::END_TOO
    }

    pub(crate) fn bytes(&self, token: u32) -> &[u8] {
        &self.words[token as usize]
    }

    fn added(token: u32) -> Option<&'static str> {
        (token as usize).checked_sub(256).and_then(|at| Self::ADDED.get(at)).copied()
    }

    fn len(&self) -> usize {
        self.words.len()
    }
}

/// Words of JSON and of text, with and without a space; then syllables without end.
fn merged() -> impl Iterator<Item = Vec<u8>> {
    let json = [
        "{\"",
        "\":",
        "\": \"",
        "\", \"",
        "\"}",
        "[{",
        "}]",
        "true",
        "false",
        "null",
        "  ",
        "\n    ",
        "12",
        "2024",
        "é",
        "日本",
        "\u{1f600}",
    ];
    let syllables =
        ["ba", "ce", "di", "fo", "gu", "an", "er", "is", "on", "um", "str", "th", "qu", "-", "_", "7"];
    let composed = (1_usize..).map(move |number| {
        let mut word = if number % 3 == 0 { String::from(" ") } else { String::new() };
        let mut rest = number;
        while rest > 0 {
            word.push_str(syllables[rest % syllables.len()]);
            rest /= syllables.len();
        }
        word
    });
    json.into_iter().map(String::from).chain(composed).map(String::into_bytes)
}

/// What comes when tokens are drawn blindly, with the end as likely as any; none if it does not end.
fn answer(vocabulary: &WordVocabulary, matcher: &Matcher, seed: u64, tokens_max: usize) -> Option<String> {
    let mut sampler = Sampler::new(&Sampling::default(), seed, &[], Some(matcher.clone()));
    let mut scratch = Scratch::default();
    let mut logits = vec![0.0; vocabulary.len()];
    // So that strings end.
    for byte in [b'"', b'}', b']'] {
        logits[usize::from(byte)] = 6.0;
    }
    let mut text = Vec::new();
    for _ in 0..tokens_max {
        let token = sampler.choose(&logits, &mut scratch).expect("a token that the grammar allows");
        if vocabulary.ends(token) {
            return Some(String::from_utf8(text).expect("grammars are of characters"));
        }
        text.extend(vocabulary.bytes(token));
    }
    None
}

const SEEDS: u64 = 60;
const TOKENS_MAX: usize = 400;

/// At least half of the answers must end, or nothing was shown.
fn answers(grammar: &Grammar) -> Vec<String> {
    let vocabulary = WordVocabulary::new(800);
    let matcher = vocabulary.grammars().compile(grammar).expect("a grammar that can be used");
    let answers: Vec<String> =
        (0..SEEDS).filter_map(|seed| answer(&vocabulary, &matcher, seed, TOKENS_MAX)).collect();
    assert!(answers.len() as u64 > SEEDS / 2, "only {} answers ended", answers.len());
    answers
}

fn values(grammar: &Grammar) -> Vec<Value> {
    let parse = |text: &String| serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    answers(grammar).iter().map(parse).collect()
}

#[test]
fn a_json_object_is_one() {
    assert!(values(&Grammar::JsonObject).iter().all(Value::is_object));
}

#[test]
fn answers_are_what_the_schema_says() {
    let schema = r#"{"type": "object", "additionalProperties": false, "required": ["name", "age", "tags"],
        "properties": {
            "name": {"type": "string", "minLength": 2, "maxLength": 5},
            "age": {"type": "integer", "minimum": 7, "maximum": 120},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 3},
            "zip": {"type": "string", "pattern": "^[0-9]{5}$"},
            "either": {"oneOf": [{"type": "boolean"}, {"type": "null"}]}}}"#;
    for value in values(&Grammar::JsonSchema(schema.into())) {
        let object = value.as_object().expect("an object");
        assert!(object.keys().all(|key| ["name", "age", "tags", "zip", "either"].contains(&key.as_str())));
        let name = value["name"].as_str().expect("a name").chars().count();
        assert!((2..=5).contains(&name), "{value}");
        assert!((7..=120).contains(&value["age"].as_i64().expect("an age")), "{value}");
        let tags = value["tags"].as_array().expect("tags");
        assert!((1..=3).contains(&tags.len()) && tags.iter().all(|tag| tag == "a" || tag == "b"), "{value}");
        if let Some(zip) = object.get("zip") {
            let zip = zip.as_str().expect("a string");
            assert!(zip.len() == 5 && zip.bytes().all(|byte| byte.is_ascii_digit()), "{value}");
        }
        assert!(object.get("either").is_none_or(|either| either.is_boolean() || either.is_null()));
    }
}

#[test]
fn recursive_schemas_and_any_value_are_understood() {
    let tree = r##"{"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "required": ["leaf"],
        "properties": {"leaf": {"type": "integer"}, "next": {"$ref": "#/$defs/tree"}},
        "additionalProperties": false}}}"##;
    assert!(values(&Grammar::JsonSchema(tree.into())).iter().all(|value| value["leaf"].is_number()));
    // Of any kind, with numbers too large for some readers.
    let any = answers(&Grammar::JsonSchema("true".into()));
    assert!(any.iter().any(|text| text.starts_with('"')) && any.iter().any(|text| text.starts_with('{')));
}

#[test]
fn space_between_parts_of_json_is_limited() {
    let vocabulary = WordVocabulary::new(300);
    let mut matcher = vocabulary.grammars().compile(&Grammar::JsonObject).expect("always there");
    matcher.accept(u32::from(b'{')).expect("an object begins so");
    let spaces = (0..1000).take_while(|_| matcher.accept(u32::from(b' ')).is_ok()).count();
    assert_eq!(spaces, 32);
}

#[test]
fn regular_expressions_match_whole() {
    for expression in
        ["[0-9]{4}-[01][0-9]", "(yes|no|maybe)", "^a+b?$", "é{2,5}", r"\w{1,4}/\d", "(?i)abc", "(a|b)*c", ""]
    {
        let whole = regex::Regex::new(&format!("^(?:{expression})$")).expect("the regex crate's syntax");
        for text in answers(&Grammar::Regex(expression.into())) {
            assert!(whole.is_match(&text), "{expression}: {text}");
        }
    }
}

#[test]
fn lark_takes_added_tokens_by_number_and_by_name() {
    let vocabulary = WordVocabulary::new(300);
    for token in ["<[256]>", "<think>"] {
        let lark = format!("start: {token} \"a\" {token}\n");
        let mut matcher = vocabulary.grammars().compile(&Grammar::Lark(lark)).expect("a small grammar");
        for (expected, then) in [(1, WordVocabulary::THINK), (1, u32::from(b'a')), (1, WordVocabulary::THINK)]
        {
            assert_eq!(allowed(&mut matcher).len(), expected);
            matcher.accept(then).expect("the only token");
        }
        assert_eq!(allowed(&mut matcher), [WordVocabulary::END, WordVocabulary::END_TOO]);
    }
}

/// As the grammars of tools are made: markers that are tokens, around arguments by their schema.
#[test]
fn lark_takes_schemas_between_added_tokens() {
    let schema = r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}"#;
    let lark =
        format!("start: call+\ncall: <[256]> \"add\\n\" arguments <[256]>\narguments: %json {schema}\n");
    let vocabulary = WordVocabulary::new(300);
    let mut matcher = vocabulary.grammars().compile(&Grammar::Lark(lark)).expect("a small grammar");
    for _ in 0..2 {
        for token in [256].into_iter().chain("add\n{\"n\": 12}".bytes().map(u32::from)).chain([256]) {
            matcher.accept(token).expect("a call is such");
        }
        assert_eq!(allowed(&mut matcher), [256, WordVocabulary::END, WordVocabulary::END_TOO]);
    }
}

fn allowed(matcher: &mut Matcher) -> Vec<u32> {
    let mask = matcher.mask().expect("tokens are left");
    (0..300).filter(|&token| mask.words()[token as usize / 32] >> (token % 32) & 1 == 1).collect()
}

#[test]
fn the_end_is_allowed_exactly_where_the_text_is_whole_and_then_forced() {
    let grammars = WordVocabulary::new(300).grammars();
    let mut matcher = grammars.compile(&Grammar::Regex("ab?".into())).expect("a small regex");
    let (a, b) = (u32::from(b'a'), u32::from(b'b'));
    let ends = [WordVocabulary::END, WordVocabulary::END_TOO];
    assert_eq!(allowed(&mut matcher), [a]);
    matcher.accept(a).expect("it begins so");
    assert_eq!(allowed(&mut matcher), [b, ends[0], ends[1]]);
    let mut short = matcher.clone();
    short.accept(ends[1]).expect("it is whole");
    matcher.accept(b).expect("it may go on");
    assert_eq!(allowed(&mut matcher), ends);
    matcher.accept(ends[0]).expect("it is whole");
    let mut other = grammars.compile(&Grammar::Regex("ab?".into())).expect("a small regex");
    assert!(other.accept(b).is_err(), "it does not begin so");
}

#[test]
fn a_sampler_goes_on_where_it_was_on_another_thread() {
    let vocabulary = WordVocabulary::new(300);
    let matcher = vocabulary.grammars().compile(&Grammar::Regex("abcd".into())).expect("a small regex");
    let mut sampler = Sampler::new(&Sampling::default(), 0, &[], Some(matcher));
    let choose = |sampler: &mut Sampler| sampler.choose(&[0.0; 300], &mut Scratch::default());
    assert_eq!(choose(&mut sampler), Ok(u32::from(b'a')));
    let elsewhere = std::thread::spawn(move || (choose(&mut sampler), choose(&mut sampler)));
    assert_eq!(elsewhere.join().expect("no panic"), (Ok(u32::from(b'b')), Ok(u32::from(b'c'))));
}

fn refusal(grammar: Grammar) -> String {
    match WordVocabulary::new(800).grammars().compile(&grammar) {
        Ok(_) => panic!("{grammar:.200?} was taken"),
        Err(error) => error.what,
    }
}

fn lark(lines: impl Iterator<Item = String>) -> Grammar {
    Grammar::Lark(lines.collect())
}

#[test]
fn hostile_grammars_are_refused_by_the_limit_that_they_hit() {
    let all_of = |count: usize| {
        let patterns: Vec<String> =
            (0..count).map(|at| format!(r#"{{"type":"string","pattern":"a.{{{at}}}b"}}"#)).collect();
        Grammar::JsonSchema(format!(r#"{{"allOf":[{}]}}"#, patterns.join(",")))
    };
    let deep = format!("{}{}", r#"{"items":"#.repeat(5000), "}".repeat(5000));
    let any_of: Vec<String> =
        (0..500).map(|at| format!(r#"{{"type":"object","properties":{{"{at}":{{}}}}}}"#)).collect();
    let chain =
        |from: &'static str| (0..2000).map(move |at| format!("{from}{at}: ({from}{} \"x\")*\n", at + 1));
    let cases = [
        (Grammar::JsonSchema(" ".repeat(GRAMMAR_BYTES_MAX + 1)), "bytes, more than"),
        (Grammar::Lark("a".repeat(10 << 20)), "bytes, more than"),
        (Grammar::JsonSchema("{".into()), "not JSON"),
        (Grammar::JsonSchema(deep), "recursion limit"),
        (all_of(40), "match together"),
        (Grammar::Lark(format!("start: %json {}", all_of_text(40))), "match together"),
        (Grammar::JsonSchema(format!(r#"{{"anyOf":[{}]}}"#, any_of.join(","))), "items"),
        (Grammar::JsonSchema(r##"{"$ref":"#"}"##.into()), "no token of this model"),
        (Grammar::JsonSchema(r#"{"$ref":"https://example.com/schema"}"#.into()), "$ref"),
        (Grammar::JsonSchema("false".into()), "nsatisfiable"),
        (Grammar::Regex("a?".repeat(5000)), "alternatives and repetitions"),
        (Grammar::Regex("(".repeat(1000)), "regex"),
        (Grammar::Regex(r"[^\s\S]".into()), "no token of this model"),
        (lark(chain("T").chain(["start: T0\n".into()])), "definitions"),
        (lark(chain("t").chain(["start: t0\n".into()])), "definitions"),
        (Grammar::Lark("start: X\nX: /a.*/ & /.*b/ & /.*c/\n".into()), "&"),
        (Grammar::Lark(format!("start: {}", "(".repeat(5000))), "nested"),
    ];
    for (grammar, limit) in cases {
        let what = refusal(grammar.clone());
        assert!(what.contains(limit) && what.len() < 1000, "{limit:?} not in {what:?} for {grammar:.100?}");
    }
}

fn all_of_text(count: usize) -> String {
    let patterns: Vec<String> = (0..count).map(|at| format!(r#"{{"pattern":"a.{{{at}}}b"}}"#)).collect();
    format!(r#"{{"allOf":[{}]}}"#, patterns.join(","))
}

#[test]
fn large_grammars_within_the_limits_can_be_used() {
    let values: Vec<String> = (0..5000).map(|at| format!(r#""value {at}""#)).collect();
    let properties: Vec<String> =
        (0..100).map(|at| format!(r#""{at}":{{"type":"string","format":"date-time"}}"#)).collect();
    let merged = r##"{"allOf":[{"$ref":"#/$defs/base"},{"type":"object","properties":{"code":{"type":"string",
        "pattern":"^[A-Z]{2}-[0-9]+$"},"at":{"type":"string","format":"date-time"}}}],"$defs":{"base":{"type":
        "object","properties":{"id":{"type":"string","format":"uuid"},"mail":{"type":"string","format":"email"}}}}}"##;
    for grammar in [
        Grammar::JsonSchema(format!(r#"{{"enum":[{}]}}"#, values.join(","))),
        Grammar::JsonSchema(format!(r#"{{"type":"object","properties":{{{}}}}}"#, properties.join(","))),
        Grammar::JsonSchema(merged.into()),
        Grammar::Regex("((a|aa)*){1000}".into()),
        Grammar::Regex("((((a{1,100}){1,100}){1,100}){1,100}){1,100}".into()),
        Grammar::JsonSchema(r#"{"type":"string","minLength":1000,"maxLength":1000000}"#.into()),
        // No intersections.
        Grammar::Lark(r#"start: %json {"enum":["a & b","c & d"]}"#.into()),
    ] {
        let taken = WordVocabulary::new(800).grammars().compile(&grammar);
        assert!(taken.is_ok(), "{:?} for {grammar:.100?}", taken.err());
    }
}

/// The grammar has so many states that it is noticed only while the answer grows.
#[test]
fn a_grammar_that_explodes_ends_its_answer_and_no_other() {
    let vocabulary = WordVocabulary::new(800);
    let matcher =
        vocabulary.grammars().compile(&Grammar::Regex("(.*a.{20000}b)".into())).expect("it looks harmless");
    let untouched = matcher.clone();
    let mut sampler = Sampler::new(&Sampling::default(), 1, &[], Some(matcher));
    let mut logits = [0.0; 800];
    logits[usize::from(b'a')] = 8.0;
    let mut scratch = Scratch::default();
    let failed = (0..20_000).find_map(|_| sampler.choose(&logits, &mut scratch).err()).expect("it explodes");
    assert!(failed.to_string().contains("too"), "{failed}");
    assert!(sampler.choose(&logits, &mut scratch).is_err(), "it stays so");
    let mut other = Sampler::new(&Sampling::default(), 1, &[], Some(untouched));
    assert!(other.choose(&logits, &mut scratch).is_ok());
}

#[test]
fn vocabularies_of_every_kind_are_taken_or_refused() {
    use super::VocabularyError;
    let (long, byte) = (vec![b'a'; 5000], [0xff]);
    let tokens = [
        GrammarToken::Text(b"a"),
        GrammarToken::Text(&long),
        GrammarToken::Text(&byte),
        GrammarToken::Text(b"a"),
        GrammarToken::Unused,
        GrammarToken::Added("<end>"),
    ];
    let grammars = Grammars::new(tokens.into_iter(), &[5]).expect("odd, but usable");
    let mut matcher = grammars.compile(&Grammar::Regex("a{9000}".into())).expect("a small regex");
    assert_eq!(matcher.mask().expect("two tokens").words(), [0b1001]);
    let unknown = Grammars::new(tokens.into_iter(), &[6]).err();
    assert_eq!(unknown, Some(VocabularyError::EndUnknown { token: 6, tokens: 6 }));
    let endless = Grammars::new(tokens.into_iter(), &[]).expect("a vocabulary without an end");
    assert!(endless.compile(&Grammar::JsonObject).is_err());
}
