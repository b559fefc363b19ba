"""Vectors by real engines, an encoder and a decoder, served beside a chat model."""

import json
import math
import struct
from pathlib import Path

import openai

from nabi import Case, lenient_client, user

GOLDEN = Path(__file__).parents[2] / "golden"
# Which kind of the golden vectors each served model is.
KINDS = {"encoder": "bert-mean", "decoder": "qwen3-embedding"}
NUMBERS = 64
TEXTS = ["one", "two words", "now three words", "The water level of the dam is reported to the ministry of health."]


def single(number):
    """As it is in 32 bits."""
    return struct.unpack("<f", struct.pack("<f", number))[0]


class Embeddings(Case):
    def embed(self, texts, model="encoder", nabi=None, **fields):
        defaults = {"encoding_format": "float"}
        return (nabi or self.openai).embeddings.create(model=model, input=texts, **defaults | fields)

    def vectors(self, texts, model="encoder", **fields):
        answer = self.embed(texts, model, **fields)
        self.assertEqual((answer.object, answer.model), ("list", model))
        self.assertEqual([item.index for item in answer.data], list(range(len(answer.data))))
        return [item.embedding for item in answer.data]

    def tokens(self, text, model, **fields):
        body = {"model": model, "prompt": text, **fields}
        return self.openai.post("/tokenize", cast_to=object, body=body)["tokens"]

    def assert_close(self, some, others, distance=1e-3):
        self.assertEqual(len(some), len(others))
        self.assertLess(max(abs(one - other) for one, other in zip(some, others)), distance)

    def test_vectors_of_the_reference(self):
        for model, kind in KINDS.items():
            golden = json.loads((GOLDEN / f"{kind}.json").read_text(encoding="utf-8"))["texts"]
            answer = self.embed([row["text"] for row in golden], model)
            tokens = sum(len(row["ids"]) for row in golden)
            self.assertEqual((answer.usage.prompt_tokens, answer.usage.total_tokens), (tokens, tokens))
            for row, item in zip(golden, answer.data, strict=True):
                with self.subTest(model=model, text=row["name"]):
                    self.assert_close(item.embedding, row["vector"])

    def test_alone_and_together(self):
        for model in KINDS:
            together = self.vectors(TEXTS, model)
            for text, vector in zip(TEXTS, together, strict=True):
                self.assertEqual(len(vector), NUMBERS)
                self.assertTrue(math.isclose(math.hypot(*vector), 1, rel_tol=1e-5))
                (alone,) = self.vectors(text, model)
                self.assert_close(alone, vector)
            self.assertNotEqual(together[0], together[1])

    def test_base64_holds_the_same_numbers(self):
        # By default the package asks for base64, which its own models do not describe.
        with lenient_client() as lenient:
            packed = lenient.embeddings.create(model="encoder", input=TEXTS)
        for item, vector in zip(packed.data, self.vectors(TEXTS), strict=True):
            self.assertEqual(list(item.embedding), [single(number) for number in vector])

    def test_tokens_are_taken_as_they_are(self):
        for model in KINDS:
            vectors = self.vectors(TEXTS, model)
            # With the tokens that the model wants around a text.
            tokens = [self.tokens(text, model) for text in TEXTS]
            for same, vector in zip(self.vectors(tokens, model), vectors, strict=True):
                self.assert_close(same, vector)
            answer = self.embed(tokens[1], model)
            self.assertEqual(answer.usage.prompt_tokens, len(tokens[1]))
            self.assert_close(answer.data[0].embedding, vectors[1])
            # Without the last one it is another text.
            (other,) = self.vectors(tokens[1][:-1], model)
            self.assertGreater(max(abs(a - b) for a, b in zip(other, vectors[1])), 0.01)

    def test_dimensions_are_the_models_own(self):
        self.assertEqual(self.vectors("one", dimensions=NUMBERS), self.vectors("one"))
        error = self.fails("invalid_value", dimensions=NUMBERS - 1)
        self.assertEqual(error.param, "dimensions")
        self.assertIn(str(NUMBERS), error.message)

    def fails(self, code, texts="one", model="encoder", **fields):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.embed(texts, model, **fields)
        self.assertEqual(caught.exception.code, code)
        return caught.exception

    def test_what_cannot_be_embedded(self):
        self.assertEqual(self.fails("context_length_exceeded", ["short", "7 " * 300]).param, "input")
        self.assertEqual(self.fails("invalid_value", [[1, 2], [100_000]]).param, "input")
        self.assertEqual(self.fails("invalid_value", ["text", ""]).param, "input")
        self.assertEqual(len(self.vectors("one")), 1)

    def test_each_model_does_what_it_can(self):
        self.assertEqual({model.id for model in self.openai.models.list()}, {"chat", *KINDS})
        self.assertEqual(self.fails("model_unable", model="chat").param, "model")
        for model in KINDS:
            for ask in (
                lambda: self.openai.chat.completions.create(model=model, messages=user("Hi")),
                lambda: self.openai.completions.create(model=model, prompt="Hi"),
            ):
                with self.assertRaises(openai.BadRequestError) as caught:
                    ask()
                self.assertEqual((caught.exception.code, caught.exception.param), ("model_unable", "model"))
                self.assertIn("it gives embeddings", caught.exception.message)
