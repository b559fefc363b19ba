//! Answers as models write them, and what they mean.

use nabi_prompt::PromptTail;

use crate::model::{
    HERMES, LLAMA, MINISTRAL, Model, NEMO, PLAIN, QWEN, R1, SMALL, V3_1, V3_2, V3_2_TEXT, V4,
};

/// An answer, and its parts as [`crate::model::shown`] writes them.
pub(crate) struct Row {
    pub(crate) model: &'static Model,
    pub(crate) tail: PromptTail,
    pub(crate) answer: &'static str,
    pub(crate) parts: &'static [&'static str],
}

const fn row(
    model: &'static Model,
    tail: PromptTail,
    answer: &'static str,
    parts: &'static [&'static str],
) -> Row {
    Row { model, tail, answer, parts }
}

use PromptTail::{AfterReasoning, InReasoning, Plain};

pub(crate) const ROWS: &[Row] = &[
    // R1, its form of calls as in its published chat template (deepseek-ai/DeepSeek-R1).
    row(
        &R1,
        InReasoning,
        "Hm.\n\nYes.\n</think>\n\nFour.<｜end▁of▁sentence｜>",
        &["T Hm.\n\nYes.", "C Four."],
    ),
    row(&R1, Plain, "<think>\nHm.\n</think>\n\nFour.", &["T Hm.", "C Four."]),
    row(&R1, InReasoning, "\n\n</think>\n\nFour.", &["C Four."]),
    row(&R1, InReasoning, "<think>\nHm.</think>Four.", &["T Hm.", "C Four."]),
    row(&R1, Plain, "Four.</think> Five.", &["C Four. Five."]),
    row(&R1, Plain, " \n```json\n{\"a\": 1}\n```\n", &["C  \n```json\n{\"a\": 1}\n```\n"]),
    row(
        &R1,
        InReasoning,
        "Look.\n</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\": \"서울\"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{\n  \"zone\": [1, {\"a\": null}]\n}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>",
        &["T Look.", "get_weather({\"city\": \"서울\"})", "now({\n  \"zone\": [1, {\"a\": null}]\n})"],
    ),
    // The blocks that the model forgot to open and to close; calls out of reasoning.
    row(
        &R1,
        InReasoning,
        "Look.<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{}\n```<｜tool▁call▁end｜> Done.",
        &["T Look.", "f({})", "C Done."],
    ),
    // V3.1, as in its published chat template (deepseek-ai/DeepSeek-V3.1).
    row(
        &V3_1,
        AfterReasoning,
        "I look.\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{\"city\": \"a}b\\\"\"}<｜tool▁call▁end｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>",
        &["C I look.", "get_weather({\"city\": \"a}b\\\"\"})", "now({})"],
    ),
    row(
        &V3_1,
        AfterReasoning,
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>now<｜tool▁sep｜><｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        &["now({})"],
    ),
    row(&V3_1, AfterReasoning, "a <place▁holder> b", &["C a <place▁holder> b"]),
    // V3.2, as `encode_messages` of deepseek-ai/DeepSeek-V3.2's encoding_dsv32.py writes it.
    row(
        &V3_2,
        InReasoning,
        "I need both.</think>Let me see.\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"get_weather\">\n<｜DSML｜parameter name=\"location\" string=\"true\">Hangzhou \"x\"\nB</｜DSML｜parameter>\n<｜DSML｜parameter name=\"days\" string=\"false\">3</｜DSML｜parameter>\n<｜DSML｜parameter name=\"more\" string=\"false\">{\"a\": [1, \"</b>\"]}</｜DSML｜parameter>\n</｜DSML｜invoke>\n<｜DSML｜invoke name=\"now\">\n</｜DSML｜invoke>\n</｜DSML｜function_calls><｜end▁of▁sentence｜>",
        &[
            "T I need both.",
            "C Let me see.",
            "get_weather({\"location\": \"Hangzhou \\\"x\\\"\\nB\", \"days\": 3, \"more\": {\"a\": [1, \"</b>\"]}})",
            "now({})",
        ],
    ),
    row(
        &V3_2,
        AfterReasoning,
        "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" string=\"true\"></b></｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>",
        &["f({\"a\": \"</b>\"})"],
    ),
    row(
        &V4,
        AfterReasoning,
        "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" string=\"false\">true</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>",
        &["f({\"a\": true})"],
    ),
    row(
        &V3_2_TEXT,
        InReasoning,
        "No </thin, <｜DSML｜function_calls> yet.</think> See.\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" string=\"true\">x</｜DSML｜param</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>",
        &["T No </thin, <｜DSML｜function_calls> yet.", "C See.", "f({\"a\": \"x</｜DSML｜param\"})"],
    ),
    // Qwen 3 and Hermes, as in Qwen/Qwen3-0.6B's published chat template.
    row(
        &QWEN,
        Plain,
        "<think>\nOkay, <tool_ not.\n</think>\n\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call><|im_end|>",
        &["T Okay, <tool_ not.", "get_weather({\"city\": \"Paris\"})", "now({})"],
    ),
    row(&QWEN, AfterReasoning, "a < b, <tool_response>", &["C a < b, <tool_response>"]),
    row(
        &HERMES,
        Plain,
        "I'll look.\n<tool_call>\n{\"arguments\": {\"a\": [1, 2.5e3, -0]}, \"id\": 7, \"name\": \"f\"}\n</tool_call>\nThen.",
        &["C I'll look.", "f({\"a\": [1, 2.5e3, -0]})", "C Then."],
    ),
    row(
        &HERMES,
        Plain,
        "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call><tool_call>{\"name\": \"g\"}</tool_call>",
        &["f({\"a\": 1})", "g({})"],
    ),
    row(
        &HERMES,
        Plain,
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": \"</tool_call>\"}}\n<tool_call>\n{\"name\": \"g\", \"arguments\": null}",
        &["f({\"x\": \"</tool_call>\"})", "g({})"],
    ),
    row(
        &HERMES,
        Plain,
        "Use the <tool_call> tag:\n```\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\n```\n<tool",
        &[
            "C Use the <tool_call> tag:\n```\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\n```\n<tool",
        ],
    ),
    row(&HERMES, Plain, "The <think> tag, and </think>.", &["C The <think> tag, and </think>."]),
    row(&HERMES, Plain, " <think>Hm</think>\n\nYes", &["T Hm", "C Yes"]),
    // Llama, as in meta-llama/Llama-3.1-8B-Instruct's published chat template.
    row(
        &LLAMA,
        Plain,
        "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Paris\"}}<|eot_id|>",
        &["get_weather({\"city\": \"Paris\"})"],
    ),
    row(
        &LLAMA,
        Plain,
        "<|python_tag|>{\"type\": \"function\", \"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": {\"a\": {}}}<|eom_id|>",
        &["f({})", "g({\"a\": {}})"],
    ),
    row(&LLAMA, Plain, "{\"name\": \"Ada\", \"born\": 1815}", &["C {\"name\": \"Ada\", \"born\": 1815}"]),
    row(&LLAMA, Plain, "{\"name\": \"Ada\"", &["C {\"name\": \"Ada\""]),
    row(
        &LLAMA,
        Plain,
        "Call {\"name\": \"f\", \"parameters\": {}}",
        &["C Call {\"name\": \"f\", \"parameters\": {}}"],
    ),
    // Mistral, as in the published chat templates of Nemo, Small 3.2 and Ministral 3.
    row(
        &NEMO,
        Plain,
        "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"id\": \"abcdefghi\"}, {\"name\": \"g\", \"arguments\": {}}]</s>",
        &["f({\"a\": 1})", "g({})"],
    ),
    row(&NEMO, Plain, "Text [TOOL_CALLS] {\"name\": \"f\", \"arguments\": {}}", &["C Text", "f({})"]),
    row(
        &SMALL,
        Plain,
        "[TOOL_CALLS]f[CALL_ID]abcdefghi[ARGS]{\"a\": \"[ARGS\"}[TOOL_CALLS]g[ARGS]{}</s>",
        &["f({\"a\": \"[ARGS\"})", "g({})"],
    ),
    row(&SMALL, Plain, "[TOOL_CALLS]f{\"a\": 1}", &["f({\"a\": 1})"]),
    row(&MINISTRAL, Plain, "[THINK]Hm.[/THINK]Yes.[TOOL_CALLS]f[ARGS]{}", &["T Hm.", "C Yes.", "f({})"]),
    row(
        &PLAIN,
        Plain,
        "<think>a</think><tool_call>{}</tool_call><code>[TOOL_CALLS]",
        &["C <think>a</think><tool_call>{}</tool_call><code>[TOOL_CALLS]"],
    ),
];
