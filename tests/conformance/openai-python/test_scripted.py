"""Answers that must be exact: tests/tests/conformance/scripts.rs has what the engines say."""

import json
import math
from typing import Literal

import openai
import pydantic

from nabi import Case, client, lenient_client, text_of, user

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CITIES = [{"city": "Seoul"}, {"city": "Busan"}]
QUESTION = "What is the weather?"


class Weather(pydantic.BaseModel):
    city: str


class Insect(pydantic.BaseModel):
    name: str
    legs: Literal[4, 6, 8]


class Chat(Case):
    model = "chat"


class Tools(Chat):
    def calls(self, **fields):
        choice = self.chat(QUESTION, tools=[TOOL], **fields).choices[0]
        self.assertEqual(choice.finish_reason, "tool_calls")
        return choice.message

    def test_round_trip(self):
        message = self.calls()
        self.assertEqual([json.loads(call.function.arguments) for call in message.tool_calls], CITIES)
        self.assertEqual({(call.type, call.function.name) for call in message.tool_calls}, {("function", "weather")})
        self.assertEqual(len({call.id for call in message.tool_calls}), 2)
        answers = [
            {"role": "tool", "tool_call_id": call.id, "content": f"{degrees} degrees"}
            for call, degrees in zip(message.tool_calls, (21, 25))
        ]
        answer = self.chat([*user(QUESTION), message, *answers], tools=[TOOL]).choices[0]
        self.assertEqual((answer.message.content, answer.finish_reason), ("It is 21 degrees in Seoul.", "stop"))
        self.assertIsNone(answer.message.tool_calls)

    def test_streamed(self):
        chunks = list(self.chat(QUESTION, tools=[TOOL], stream=True))
        self.assertEqual([chunk.choices[0].finish_reason for chunk in chunks][-1], "tool_calls")
        self.assertEqual(text_of(chunks), "")
        deltas = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
        begun = [call for call in deltas if call.id]
        self.assertEqual([(call.index, call.type, call.function.name) for call in begun], [
            (0, "function", "weather"), (1, "function", "weather"),
        ])
        for index, expected in enumerate(CITIES):
            arguments = "".join(call.function.arguments for call in deltas if call.index == index)
            self.assertEqual(json.loads(arguments), expected)
        self.assertGreater(len(deltas), 4, "arguments come in pieces")

    def test_gathered_by_the_package(self):
        tool = openai.pydantic_function_tool(Weather, name="weather")
        with self.openai.chat.completions.stream(model="chat", messages=user(QUESTION), tools=[tool]) as stream:
            kinds = [event.type for event in stream]
            choice = stream.get_final_completion().choices[0]
        self.assertEqual(kinds.count("tool_calls.function.arguments.done"), 2)
        parsed = [call.function.parsed_arguments for call in choice.message.tool_calls]
        self.assertEqual(parsed, [Weather(city="Seoul"), Weather(city="Busan")])

    def test_choice_of_tools(self):
        named = {"type": "function", "function": {"name": "weather"}}
        for choice in ("auto", "required", named):
            with self.subTest(choice):
                self.assertEqual(self.calls(tool_choice=choice).tool_calls[0].function.name, "weather")
        self.assertEqual(len(self.calls(parallel_tool_calls=False).tool_calls), 1)
        unoffered = self.chat(QUESTION, tools=[TOOL], tool_choice="none").choices[0]
        self.assertEqual((unoffered.message.tool_calls, unoffered.finish_reason), (None, "stop"))
        with self.assertRaises(openai.BadRequestError) as caught:
            self.chat(QUESTION, tools=[TOOL], tool_choice={"type": "function", "function": {"name": "tides"}})
        self.assertTrue(caught.exception.param.startswith("tool_choice"))


class Answers(Chat):
    def test_reasoning(self):
        answer = self.chat("Please reason.")
        message = answer.choices[0].message
        self.assertEqual((message.reasoning_content, message.content), ("Let me think.", "Done."))
        self.assertGreater(answer.usage.completion_tokens_details.reasoning_tokens, 0)
        chunks = list(self.chat("Please reason.", stream=True))
        told = [text_of(chunks, field=field) for field in ("reasoning_content", "content")]
        self.assertEqual(told, ["Let me think.", "Done."])

    def test_cached_tokens(self):
        usage = self.chat("Is this cached?").usage
        self.assertEqual(usage.prompt_tokens_details.cached_tokens, 3)

    def test_two_choices(self):
        answer = self.chat("Give two answers.", n=2)
        told = [(choice.index, choice.message.content, choice.finish_reason) for choice in answer.choices]
        self.assertEqual(told, [(0, "one two", "stop"), (1, "eins zwei", "length")])
        chunks = list(self.chat("Give two answers.", n=2, stream=True))
        self.assertEqual([text_of(chunks, index) for index in (0, 1)], ["one two", "eins zwei"])

    def test_parsed_by_a_schema(self):
        answer = self.openai.chat.completions.parse(model="chat", messages=user("An insect."), response_format=Insect)
        self.assertEqual(answer.choices[0].message.parsed, Insect(name="butterfly", legs=6))

    def test_embeddings(self):
        texts = ["one", "two words", "now three words"]
        # By default the package asks for base64, which its own models do not describe.
        with lenient_client() as lenient:
            packed = lenient.embeddings.create(model="embedder", input=texts)
        plain = self.openai.embeddings.create(model="embedder", input=texts, encoding_format="float")
        self.assertEqual((packed.object, packed.model, packed.usage.prompt_tokens), ("list", "embedder", 6))
        self.assertEqual([item.index for item in packed.data], [0, 1, 2])
        for some, same in zip(packed.data, plain.data):
            self.assertEqual(len(some.embedding), 8)
            self.assertTrue(math.isclose(sum(number * number for number in some.embedding), 1, rel_tol=1e-5))
            for number, other in zip(some.embedding, same.embedding):
                self.assertAlmostEqual(number, other, places=6)
        self.assertNotEqual(plain.data[0].embedding, plain.data[1].embedding)
        with self.assertRaises(openai.BadRequestError) as caught:
            self.openai.embeddings.create(model="embedder", input="x", dimensions=9)
        self.assertEqual(caught.exception.param, "dimensions")


class Failures(Chat):
    def fails(self, error, status, code, prompt="Hi", **fields):
        with self.assertRaises(error) as caught:
            self.chat(prompt, **fields)
        self.assertEqual((caught.exception.status_code, caught.exception.code), (status, code))
        return caught.exception

    def test_too_much_under_way(self):
        error = self.fails(openai.RateLimitError, 429, "queue_full", "The queue is full.")
        self.assertEqual((error.type, error.response.headers["retry-after"]), ("rate_limit_error", "1"))

    def test_faults_of_engines(self):
        self.fails(openai.InternalServerError, 500, "engine_failed", "The engine fails.")
        self.fails(openai.InternalServerError, 502, "engine_lost", model="mortal")
        error = self.fails(openai.InternalServerError, 503, "model_not_ready", model="loading")
        self.assertEqual((error.type, error.response.headers["retry-after"]), ("server_error", "5"))
        self.fails(openai.InternalServerError, 504, "time_over", "It is too late.")

    def test_the_package_tries_again_when_it_is_told_to(self):
        asked = []
        with client(max_retries=1) as patient:
            patient._client.event_hooks["request"].append(lambda request: asked.append(request.url.path))
            with self.assertRaises(openai.RateLimitError):
                patient.chat.completions.create(model="chat", messages=user("The queue is full."))
        self.assertEqual(asked, ["/v1/chat/completions"] * 2)

    def test_a_stream_that_breaks_off(self):
        self.fails_in_stream("It breaks off.", "engine_failed", "This will")

    def fails_in_stream(self, prompt, code, before):
        text = ""
        with self.assertRaises(openai.APIError) as caught:
            for chunk in self.chat(prompt, stream=True):
                text += text_of([chunk])
        self.assertEqual((caught.exception.code, text), (code, before))

    def test_an_answer_that_is_given_up(self):
        with self.chat("It never ends.", stream=True) as stream:
            self.assertEqual(next(text for chunk in stream if (text := text_of([chunk]))), "Once")
        self.assertEqual(self.chat("An insect.").choices[0].finish_reason, "stop")
