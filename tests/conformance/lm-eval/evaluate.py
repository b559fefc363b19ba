#!/usr/bin/env python3
"""Runs lm-eval's tasks of this folder, and tells per item what the model said. See README.md.

usage: evaluate.py reference FOLDER     with the model in FOLDER, by transformers; writes reference.json
       evaluate.py nabi FOLDER          with a running Nabi, FOLDER has the tokenizer; compares with reference.json
NABI_ADDRESS, NABI_CA, NABI_KEY and NABI_MODEL say where Nabi runs.
"""

import json
import math
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REFERENCE = HERE / "reference.json"
TASKS = ["nabi_knowledge", "nabi_likelihood", "nabi_continuation"]
# Of two log-likelihoods, which are sums over a choice's tokens; relative of two scores: nothing but rounding may part them.
DISTANCE_MAX = 1e-3

# Nothing is fetched. Before libraries read it.
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
if certificate := os.environ.get("NABI_CA"):
    # lm-eval's `ca_cert_path` reaches only its remote tokenizer.
    os.environ |= {"REQUESTS_CA_BUNDLE": certificate, "SSL_CERT_FILE": certificate}
    os.environ["OPENAI_API_KEY"] = os.environ["NABI_KEY"]

import lm_eval
from lm_eval.tasks import TaskManager


def reference(folder):
    plain_formulas = {"attn_implementation": "eager", "experts_implementation": "eager"}
    return "hf", {"pretrained": folder, "device": "cpu", "dtype": "float32", **plain_formulas}


def nabi(folder):
    url = os.environ["NABI_ADDRESS"] + "/v1/completions"
    return "local-completions", {
        "model": os.environ["NABI_MODEL"],
        "base_url": url,
        "tokenizer": folder,
        "tokenizer_backend": "huggingface",
        "num_concurrent": 4,
        "max_retries": 1,
    }


def evaluate(model, arguments):
    """The scores of each task, and for each of its items what was said of it."""
    manager = TaskManager(include_path=str(HERE), include_defaults=False)
    options = {"batch_size": 1, "bootstrap_iters": 0, "log_samples": True}
    results = lm_eval.simple_evaluate(model, arguments, tasks=TASKS, task_manager=manager, **options)
    scores = {
        task: {name: score for name, score in of_task.items() if name.endswith(",none") and "stderr" not in name}
        for task, of_task in results["results"].items()
    }
    said = {
        task: [sample["filtered_resps"] for sample in sorted(samples, key=lambda sample: sample["doc_id"])]
        for task, samples in results["samples"].items()
    }
    # To plain JSON types, as a file has them.
    return json.loads(json.dumps({"scores": scores, "said": said}))


def write(measured):
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in measured.items() if name != "said"]
    said = [
        f"  {json.dumps(task)}: [\n" + ",\n".join("   " + json.dumps(item, ensure_ascii=False) for item in items) + "\n  ]"
        for task, items in measured["said"].items()
    ]
    lines.append(' "said": {\n' + ",\n".join(said) + "\n }")
    REFERENCE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def compare(measured, expected):
    """Stops at the first disagreement; else the largest distance of two log-likelihoods."""
    distance = 0.0
    for task, items in expected["said"].items():
        got = measured["said"][task]
        assert len(got) == len(items), f"{task}: {len(got)} items instead of {len(items)}"
        for number, (ours, theirs) in enumerate(zip(got, items)):
            place = f"{task}, item {number}: {ours} instead of {theirs}"
            if isinstance(theirs[0], str):
                assert ours == theirs, place
                continue
            for (logprob, greedy), (expected_logprob, expected_greedy) in zip(ours, theirs, strict=True):
                assert math.isclose(logprob, expected_logprob, rel_tol=0, abs_tol=DISTANCE_MAX), place
                assert greedy == expected_greedy, place
                distance = max(distance, abs(logprob - expected_logprob))
    for task, scores in expected["scores"].items():
        for name, theirs in scores.items():
            ours = measured["scores"][task][name]
            assert math.isclose(ours, theirs, rel_tol=DISTANCE_MAX), f"{task}, {name}: {ours} instead of {theirs}"
    return distance


def main():
    what, folder = sys.argv[1:]
    os.chdir(HERE)  # the tasks name their data from here
    measured = evaluate(*{"reference": reference, "nabi": nabi}[what](folder))
    if what == "reference":
        import torch
        import transformers

        made_by = f"lm-eval {lm_eval.__version__}, transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}"
        return write({"made_by": made_by, **measured})
    distance = compare(measured, json.loads(REFERENCE.read_text(encoding="utf-8")))
    print(f"all items agree; the largest distance of two log-likelihoods is {distance:.1e}")
    print(json.dumps(measured["scores"]))


if __name__ == "__main__":
    main()
