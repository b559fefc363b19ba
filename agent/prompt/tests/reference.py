#!/usr/bin/env python3
"""Writes reference.json: what transformers renders of templates/*.jinja. Needs transformers 5 and jinja2.

usage: reference.py
"""

import json
from datetime import datetime
from pathlib import Path
from unittest import mock

import jinja2
from transformers.utils import chat_template_utils

HERE = Path(__file__).parent
NOW = datetime(2026, 2, 3, 4, 5, 6)

CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"]
THINK = ["<think>", "</think>", "<tool_response>", "</tool_response>"]
DEEPSEEK = [
    "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁outputs▁begin｜>",
    "<｜tool▁outputs▁end｜>", "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>", "<｜tool▁sep｜>",
]  # fmt: skip
# name: (bos, eos, added tokens)
TEMPLATES = {
    "chatml": ("", "<|im_end|>", CHATML + THINK),
    "reasoning": ("", "<|im_end|>", CHATML),
    "xml-tools": ("", "<|im_end|>", CHATML + THINK),
    "deepseek-r1": (DEEPSEEK[0], DEEPSEEK[1], DEEPSEEK + ["<think>"]),
    "deepseek-llm": (DEEPSEEK[0], DEEPSEEK[1], DEEPSEEK[:2]),
    "llama3": (
        "<|begin_of_text|>",
        "<|eot_id|>",
        ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    ),
    "mistral": ("<s>", "</s>", ["<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"]),
    "gemma": ("<bos>", "<eos>", ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "\n\n"]),
    "phi3": ("<s>", "<|endoftext|>", ["<s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]),
    "python": ("", "", ["<|im_end|>"]),
}

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather \"now\" & <soon>, für 서울\n",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Where", "enum": ["서울", "القاهرة"]},
                "days": {"type": ["integer", "null"], "minimum": 1, "default": 1.5},
            },
            "required": ["city"],
        },
    },
}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def call(arguments):
    return {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}


SYSTEM = {"role": "system", "content": "Be brief.\n"}
EXTRA = {"z": "it's", "a": {"é": 'q"\\\n\t'}, "list": [1, 2.5, None, True, "x"], "empty": [], "none": {}}
PLAIN = [
    {"messages": [user("Hello!")], "add_generation_prompt": True},
    {"messages": [user("  two\n\nlines \n"), assistant(" a < b | c > d "), user("다음?")], "add_generation_prompt": True},
    {"messages": [SYSTEM, user("ما هي عاصمة كوريا؟"), assistant("سيول 🦋"), user("text, type: name")]},
    {"messages": [SYSTEM, user("Hello")], "tools": [TOOL], "add_generation_prompt": True},
]
THOUGHT = "<think>\nHm.\n</think>\n\nFour."
TOOL_CALLS = [
    {"messages": [user("Weather?"), assistant(None, tool_calls=[call({"city": "서울", "days": 2})])]},
    {
        "messages": [
            user("Weather?"),
            assistant(None, tool_calls=[call('{"city": "서울"}')]),
            {"role": "tool", "tool_call_id": "call_1", "content": '{"sky": "clear"}'},
            {"role": "tool", "tool_call_id": "call_1", "content": "<b>warm</b>"},
        ],
        "tools": [TOOL],
        "add_generation_prompt": True,
    },
]
SPECIAL = {
    "chatml": [{"messages": [user("Hi")], "add_generation_prompt": True, "variables": {"enable_thinking": False}}],
    "reasoning": [
        {"messages": [user("2+2?"), assistant(THOUGHT), user("3+3?")], "add_generation_prompt": True},
        {"messages": [user("2+2?"), assistant(THOUGHT), user("<tool_response>x</tool_response>")]},
        {"messages": [user("2+2?"), assistant("Four.", reasoning_content="\nHm.\n")]},
        {"messages": [user([{"type": "text", "text": " one "}, {"type": "image"}, {"type": "text", "text": "two"}])]},
    ],
    "deepseek-r1": [{"messages": [user("2+2?"), assistant("Hm.</think>Four."), user("3+3?")]}],
    "llama3": [{"messages": [user("Hi")], "variables": {"date_string": "26 Jul 2024"}}],
    "python": [{"messages": [dict(user("Hello b"), extra=EXTRA)]}, {"messages": [dict(user("ÀB ça <|im_end|> x"), extra=EXTRA)]}],
}
# By the form of a call's arguments that the template makes sense of: the other is converted to it.
CALLS = {"chatml": [0], "xml-tools": [0], "deepseek-r1": [1], "llama3": [0]}


def render(jinja, bos, eos, chat):
    with mock.patch.object(chat_template_utils, "datetime") as clock:
        clock.now.return_value = NOW
        texts, _ = chat_template_utils.render_jinja_template(
            [chat["messages"]],
            tools=chat.get("tools"),
            chat_template=jinja,
            add_generation_prompt=chat.get("add_generation_prompt", False),
            bos_token=bos,
            eos_token=eos,
            **chat.get("variables", {}),
        )
    return texts[0]


def main():
    rows = []
    for name, (bos, eos, tokens) in TEMPLATES.items():
        jinja = (HERE / f"templates/{name}.jinja").read_text(encoding="utf-8")
        chats = SPECIAL.get(name, []) + [TOOL_CALLS[index] for index in CALLS.get(name, [])]
        for chat in chats if name == "python" else PLAIN + chats:
            row = {"template": name, "bos": bos, "eos": eos, "tokens": tokens, "chat": chat}
            try:
                rows.append(row | {"text": render(jinja, bos, eos, chat)})
            except jinja2.exceptions.TemplateError as error:
                rows.append(row | {"refusal": str(error)})
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (HERE / "reference.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


main()
