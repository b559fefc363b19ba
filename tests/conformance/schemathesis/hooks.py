"""What schemathesis cannot know of Nabi: names of models, which fields contradict each other, and which errors even
valid data may meet."""

import schemathesis
from schemathesis.generation import GenerationMode

MODEL = "everything"
# One answer has one form, and one prompt is tokenized.
CONTRADICTIONS = [
    ["response_format", "structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar"],
    ["prompt", "messages"],
]
# What a schema cannot say: numbers that depend on each other, or what a model, its template or its grammar cannot.
ABOUT_THE_MEANING = {
    "context_length_exceeded",
    "invalid_grammar",
    "invalid_messages",
    "invalid_value",
    "model_not_found",
    "prompt_empty",
    "unsupported_parameter",
}


def is_valid(case):
    return case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE


@schemathesis.hook
def before_call(context, case, kwargs):
    """Nearly every body is for a model that is there, and valid ones mean something."""
    if not isinstance(case.body, dict):
        return
    if isinstance(case.body.get("model"), str):
        case.body["model"] = MODEL
    if not is_valid(case):
        return
    for group in CONTRADICTIONS:
        present = [name for name in group if case.body.get(name) is not None]
        for name in present[1:]:
            del case.body[name]
    # The stub's model has vectors of one size.
    case.body.pop("dimensions", None)


@schemathesis.check
def valid_data_is_understood(context, response, case):
    """Data by the schema is answered, or refused for its meaning: not for a type, a name, or what is missing."""
    if is_valid(case) and response.status_code == 400:
        code = response.json()["error"]["code"]
        assert code in ABOUT_THE_MEANING, f"valid data is refused with {code}: {response.text}"
