#!/usr/bin/env python3
"""Makes the golden vectors from the reference, Hugging Face's transformers. See README.md.

usage: make.py MODELS     MODELS/KIND/hf and MODELS/KIND/model.gguf are nabi-make-model's results
"""

import hashlib
import json
import sys
from pathlib import Path

import tokenizers
import torch
import transformers

import texts

HERE = Path(__file__).parent
KINDS = ["deepseek-v3", "deepseek-v2", "deepseek-v2-lite"]
EMBEDDING_KINDS = ["bert-first", "bert-mean", "qwen3-embedding"]
# Made here for tests that need no reference.
OTHER_KINDS = ["qwen3-chat", "self-test"]
ANSWER_TOKENS = 32
# The self-test's tokens must be the same with kernels of any precision.
SELF_TEST_MARGIN_MIN = 0.5
BOS, EOS = 0, 1
# Below this lead over the runner-up, an engine that merely rounds otherwise might pick another token.
MARGIN_MIN = 1e-3


def write(path, head, key, rows):
    """JSON with one row a line, so that a change shows as a change of the rows concerned."""
    lines = [f" {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)},\n" for name, value in head.items()]
    body = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("{\n" + "".join(lines) + f' "{key}": [\n{body}\n ]\n}}\n', encoding="utf-8")


def head(kind, distance):
    return {
        "kind": kind,
        "reference": f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, float32",
        "float64_distance": float(f"{distance:.1e}"),
    }


def load(folder, dtype):
    """Eager attention and eager experts: the plain formulas, no fused kernels."""
    options = {"dtype": dtype, "attn_implementation": "eager", "experts_implementation": "eager"}
    return transformers.AutoModelForCausalLM.from_pretrained(folder, **options).eval()


@torch.no_grad()
def log_probabilities(model, ids):
    """For each position the log-probabilities of the next token; no cache, so nothing but the model is tested."""
    return model(torch.tensor([ids]), use_cache=False).logits[0].double().log_softmax(-1)


def answer(model, prompt_ids, tokens=ANSWER_TOKENS):
    ids, logprobs, margins = list(prompt_ids), [], []
    for _ in range(tokens):
        (best, second), tokens = (top.tolist() for top in log_probabilities(model, ids)[-1].topk(2))
        ids.append(tokens[0])
        logprobs.append(best)
        margins.append(best - second)
    return ids[len(prompt_ids) :], logprobs, margins


def golden_answers(folder, kind, tokenizer):
    model, precise = load(folder, torch.float32), load(folder, torch.float64)
    rows, distance = [], 0.0
    for name, prompt in texts.PROMPTS.items():
        prompt_ids = [BOS, *tokenizer.encode(prompt).ids]
        token_ids, logprobs, margins = answer(model, prompt_ids)
        exact = log_probabilities(precise, prompt_ids + token_ids)[len(prompt_ids) - 1 : -1]
        assert exact.argmax(-1).tolist() == token_ids, f"{kind} {name}: float64 picks other tokens; choose another seed"
        assert min(margins) > MARGIN_MIN, f"{kind} {name}: margin {min(margins):.1e}; choose another seed"
        assert EOS not in token_ids, f"{kind} {name}: the answer ends early; choose another seed"
        exact = exact.max(-1).values.tolist()
        distance = max(distance, *(abs(a - b) for a, b in zip(logprobs, exact)))
        rows.append(
            {
                "name": name,
                "prompt": prompt,
                "prompt_ids": prompt_ids,
                "token_ids": token_ids,
                "logprobs": [round(value, 6) for value in logprobs],
                "margins": [round(value, 6) for value in margins],
            }
        )
        print(f"{kind:17} {name:8} {len(prompt_ids):4} ids, margin {min(margins):.4f}, {len(set(token_ids))} distinct")
    write(HERE / f"{kind}.json", head(kind, distance), "answers", rows)


def confirm_self_test(folder):
    """Its answer stands in the maker, since it is part of every image; the reference must give the same."""
    known = json.loads((folder / "store/self-test.json").read_text(encoding="utf-8"))
    prompt_ids = tokenizers.Tokenizer.from_file(str(folder / "hf/tokenizer.json")).encode(known["prompt"]).ids
    token_ids, _, margins = answer(load(folder / "hf", torch.float32), prompt_ids, len(known["token_ids"]))
    assert token_ids == known["token_ids"], f"self-test: the reference answers {token_ids}"
    assert min(margins) > SELF_TEST_MARGIN_MIN, f"self-test: margin {min(margins):.2f}; choose another prompt"
    print(f"self-test: the reference gives the known tokens, margin {min(margins):.2f}")


def pooled(folder, hidden):
    """One vector of those of all tokens, as Sentence Transformers reads it from the folder."""
    pooling = json.loads((folder / "1_Pooling/config.json").read_text())
    if pooling["pooling_mode_mean_tokens"]:
        return hidden.mean(0)
    return hidden[-1 if pooling["pooling_mode_lasttoken"] else 0]


@torch.no_grad()
def vector(folder, model, ids):
    hidden = model(torch.tensor([ids])).last_hidden_state[0].double()
    return torch.nn.functional.normalize(pooled(folder, hidden), dim=0).tolist()


def golden_vectors(folder, kind):
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    model, precise = (
        transformers.AutoModel.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
        for dtype in (torch.float32, torch.float64)
    )
    rows, distance = [], 0.0
    for name, text in texts.EMBEDDED.items():
        ids = tokenizer.encode(text).ids
        ours, exact = vector(folder, model, ids), vector(folder, precise, ids)
        distance = max(distance, *(abs(a - b) for a, b in zip(ours, exact)))
        rows.append({"name": name, "text": text, "ids": ids, "vector": [round(number, 6) for number in ours]})
    write(HERE / f"{kind}.json", head(kind, distance), "texts", rows)


def tokenization(folder, tokenizer, plain):
    """ids: added tokens recognised, as a template's text is encoded; plain_ids: none, as callers' text is."""
    added = {token.content: id for id, token in sorted(tokenizer.get_added_tokens_decoder().items())}
    literals = [literal for literal in added if "place" not in literal]
    strings = texts.STRINGS + [f"a{literal} b" for literal in literals]
    rows = [
        {"text": text, "ids": tokenizer.encode(text).ids, "plain_ids": plain.encode(text).ids} for text in strings
    ]
    high_level = transformers.AutoTokenizer.from_pretrained(folder)
    assert all(high_level.encode(row["text"]) == row["ids"] for row in rows), "transformers rewrites the tokenizer"
    write(HERE / "tokenization.json", {"added_tokens": added}, "strings", rows)


def chat(folder, tokenizer):
    renderer = transformers.AutoTokenizer.from_pretrained(folder)
    bos, eos = renderer.bos_token, renderer.eos_token
    templates = {
        "deepseek-v3": (renderer.chat_template, bos, eos),
        "deepseek-llm": ((HERE / "templates/deepseek-llm.jinja").read_text(), bos, eos),
        "smollm2": ((HERE / "templates/smollm2.jinja").read_text(), "<|im_start|>", "<|im_end|>"),
    }
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    rows = []
    for name, (template, bos, eos) in templates.items():
        for messages, opening in texts.CONVERSATIONS:
            text = renderer.apply_chat_template(
                messages,
                chat_template=template,
                add_generation_prompt=opening,
                tokenize=False,
                bos_token=bos,
                eos_token=eos,
            )
            forged = any(literal in message["content"] for message in messages for literal in added)
            ids = None if forged else tokenizer.encode(text).ids
            rows.append(
                {
                    "template": name,
                    "messages": messages,
                    "add_generation_prompt": opening,
                    "text": text,
                    "ids": ids,
                }
            )
    head = {
        "templates": {
            name: {"template": template, "bos": bos, "eos": eos} for name, (template, bos, eos) in templates.items()
        }
    }
    write(HERE / "chat.json", head, "renderings", rows)


def main():
    root = Path(sys.argv[1])
    folder = root / KINDS[0] / "hf"  # the tokenizer is the same in all
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    without = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    without["added_tokens"] = []
    plain = tokenizers.Tokenizer.from_str(json.dumps(without))

    tokenization(folder, tokenizer, plain)
    chat(folder, tokenizer)
    for kind in KINDS:
        golden_answers(root / kind / "hf", kind, tokenizer)
    for kind in EMBEDDING_KINDS:
        golden_vectors(root / kind / "hf", kind)
    confirm_self_test(root / "self-test")

    kinds = KINDS + EMBEDDING_KINDS + OTHER_KINDS
    files = sorted(path for kind in kinds for path in (root / kind).rglob("*") if path.is_file())
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n" for path in files]
    (HERE / "models.sha256").write_text("".join(sums), encoding="utf-8")


if __name__ == "__main__":
    main()
