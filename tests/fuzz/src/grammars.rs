//! Grammars of callers, and answers under them.

use std::sync::LazyLock;

use nabi_engine_llama::grammar::{GrammarToken, Grammars, Mask};
use nabi_wire::engine::Grammar;

const END: u32 = 256;
const STEPS_MAX: usize = 48;
/// Of a message for whoever wrote the grammar.
const MESSAGE_BYTES_MAX: usize = 2 << 10;
/// What tokenizers merge, beside single bytes.
const WORDS: [&str; 14] = [
    "{\"", "\":", "\": \"", "\", \"", "\"}", "}", "true", "null", " a", "the", "10", "\n\n", "서울", "\\u00",
];

static GRAMMARS: LazyLock<Grammars> = LazyLock::new(|| {
    let bytes: Vec<u8> = (0..=u8::MAX).collect();
    let text = bytes.chunks(1).map(GrammarToken::Text);
    let words = WORDS.iter().map(|word| GrammarToken::Text(word.as_bytes()));
    let added = ["<think>", "<end>"].map(GrammarToken::Added);
    let tokens = text.chain([GrammarToken::Added("<eos>")]).chain(words).chain(added);
    Grammars::new(tokens, &[END]).expect("a vocabulary that can be used")
});

/// Any grammar compiles or is refused in few words; under it an answer can always go on or end,
/// unless a limit ends it.
pub(crate) fn grammar(bytes: &[u8]) {
    let [kind, choice, text @ ..] = bytes else { return };
    let Ok(text) = str::from_utf8(text).map(str::to_owned) else { return };
    let grammar = match kind % 3 {
        0 => Grammar::JsonSchema(text),
        1 => Grammar::Regex(text),
        _ => Grammar::Lark(text),
    };
    let mut matcher = match GRAMMARS.compile(&grammar) {
        Ok(matcher) => matcher,
        Err(error) => {
            let bytes = error.what.len();
            assert!((1..=MESSAGE_BYTES_MAX).contains(&bytes), "{bytes} bytes");
            return;
        }
    };
    for step in 1..=STEPS_MAX {
        // Errors are limits that were reached: the answer ends.
        let Ok(mask) = matcher.mask() else { return };
        let allowed = tokens(&mask);
        assert!(!allowed.is_empty(), "an answer can go on, or end: {grammar:?}");
        let token = allowed[(step * usize::from(*choice)) % allowed.len()];
        if token == END || matcher.accept(token).is_err() {
            return;
        }
    }
}

fn tokens(mask: &Mask) -> Vec<u32> {
    let is_set = |token: u32| mask.words()[(token / u32::BITS) as usize] >> (token % u32::BITS) & 1 == 1;
    (0..mask.words().len() as u32 * u32::BITS).filter(|&token| is_set(token)).collect()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let schemas = [
        r#"{"type": "object", "properties": {"a": {"type": "integer", "minimum": 0}, "b": {"enum": ["x", 1, null]}}, "required": ["a"], "additionalProperties": false}"#,
        r##"{"$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}, "maxItems": 3}}, "$ref": "#/$defs/t"}"##,
        r#"{"anyOf": [{"type": "string", "pattern": "^a{1,9}$", "maxLength": 7}, {"const": {"c": [1.5]}}], "x-guidance": {}}"#,
        r#"{"type": "string", "format": "date-time"}"#,
        "true",
        "false",
        "[",
    ];
    let regexes = [r"[a-z]{1,9}(b|c)*\d+", r"(a*)*b", r"(?i)\p{Hangul}+", "a{1000000}", "(", r"\bx$", ""];
    let larks = [
        "start: \"a\" b*\nb: /[0-9]+/ | start",
        "start: start start | \"a\"",
        "start: <think> TEXT <end>\nTEXT: /(.|\\n)*/",
        "start: %json {\"type\": \"object\"}",
        "start: x\nx: y\ny: x",
        "%import common.INT\nstart: INT ~ 1..1000000",
    ];
    let seed = |kind: u8, text: &str| [&[kind, 7], text.as_bytes()].concat();
    let schemas = schemas.map(|text| seed(0, text));
    schemas
        .into_iter()
        .chain(regexes.map(|text| seed(1, text)))
        .chain(larks.map(|text| seed(2, text)))
        .collect()
}
