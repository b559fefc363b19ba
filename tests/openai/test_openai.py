"""OpenAI's own package against a running appliance: what it sends is understood, what it gets is valid.

NABI_ADDRESS, NABI_CA, NABI_KEY and NABI_MODEL say where; tests/tests/appliance/openai.rs sets them.
"""

import asyncio
import os
import re
import ssl
import unittest

import httpx2
import openai

MODEL = os.environ["NABI_MODEL"]
BASE_URL = os.environ["NABI_ADDRESS"] + "/v1"
CA = ssl.create_default_context(cafile=os.environ["NABI_CA"])
# Every attempt counts, and every field of an answer is checked against the package's own models.
OPTIONS = {"base_url": BASE_URL, "max_retries": 0, "timeout": 120, "_strict_response_validation": True}
GREEDY = {"model": MODEL, "temperature": 0}

KOREAN = ["안녕하세요. 나비가 무엇인가요?", "나비는 무엇을 먹나요?", "고맙습니다. 한 문장으로 줄여 주세요."]
ARABIC = ["مرحبا. ما هي الفراشة؟", "ماذا تأكل الفراشات؟", "شكرا. لخص ذلك في جملة واحدة."]


def client(key=os.environ["NABI_KEY"], verify=CA):
    return openai.OpenAI(api_key=key, http_client=httpx2.Client(verify=verify), **OPTIONS)


def user(content):
    return [{"role": "user", "content": content}]


class Answers(unittest.TestCase):
    def setUp(self):
        self.openai = client()
        self.addCleanup(self.openai.close)

    def create(self, messages, **fields):
        return self.openai.chat.completions.create(messages=messages, **GREEDY | fields)

    def test_chat(self):
        answer = self.create(user("What is a butterfly?"), max_tokens=32)
        self.assertEqual((answer.object, answer.model, len(answer.choices)), ("chat.completion", MODEL, 1))
        choice, usage = answer.choices[0], answer.usage
        self.assertEqual((choice.message.role, choice.finish_reason), ("assistant", "length"))
        self.assertIn("butterfl", choice.message.content.lower())
        self.assertEqual(usage.completion_tokens, 32)
        self.assertGreater(usage.prompt_tokens, 5)
        self.assertEqual(usage.total_tokens, usage.prompt_tokens + 32)

    def test_stream_equals_the_whole_answer(self):
        fields = {"messages": user("What is a butterfly?"), "max_tokens": 32}
        whole = self.create(**fields)
        chunks = list(self.create(**fields, stream=True))
        self.assertEqual({chunk.object for chunk in chunks}, {"chat.completion.chunk"})
        self.assertEqual(len({chunk.id for chunk in chunks}), 1)
        self.assertNotEqual(chunks[0].id, whole.id)
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        self.assertEqual(text, whole.choices[0].message.content)
        reasons = [chunk.choices[0].finish_reason for chunk in chunks]
        self.assertEqual((reasons[-1], set(reasons[:-1])), ("length", {None}))
        self.assertTrue(all(chunk.usage is None for chunk in chunks))

    def test_include_usage(self):
        fields = {"messages": user("Hello"), "max_tokens": 5}
        whole = self.create(**fields)
        *chunks, last = self.create(**fields, stream=True, stream_options={"include_usage": True})
        self.assertEqual((last.choices, last.usage), ([], whole.usage))
        self.assertTrue(all(chunk.usage is None and chunk.choices for chunk in chunks))

    def test_stop_and_seed(self):
        sampled = {"messages": user("Tell a story."), "max_tokens": 24, "temperature": 1, "seed": 7}
        first, second = (self.create(**sampled).choices[0].message.content for _ in range(2))
        self.assertEqual(first, second)
        word = first.split()[1]
        stopped = self.create(**sampled, stop=[word]).choices[0]
        self.assertEqual(stopped.finish_reason, "stop")
        self.assertEqual(stopped.message.content, first[: first.index(word)])

    def test_models(self):
        (listed,) = self.openai.models.list().data
        self.assertEqual((listed.id, listed.object, listed.owned_by), (MODEL, "model", "nabi"))
        self.assertGreater(listed.created, 1_700_000_000)
        self.assertEqual(self.openai.models.retrieve(MODEL), listed)

    def test_korean_conversation(self):
        self.converse(KOREAN)

    def test_arabic_conversation(self):
        self.converse(ARABIC)

    def converse(self, turns):
        messages = [{"role": "system", "content": "Answer in the language of the question."}]
        prompt_tokens = 0
        for turn in turns:
            messages += user(turn)
            whole = self.create(messages, max_tokens=48)
            text = whole.choices[0].message.content
            self.assertNotEqual(text.strip(), "")
            chunks = list(self.create(messages, max_tokens=48, stream=True))
            # Also where the bytes of one character come in several tokens.
            self.assertEqual("".join(chunk.choices[0].delta.content or "" for chunk in chunks), text)
            # Each turn carries all those before it.
            self.assertGreater(whole.usage.prompt_tokens, prompt_tokens)
            prompt_tokens = whole.usage.prompt_tokens + whole.usage.completion_tokens
            messages.append({"role": "assistant", "content": text})

    def test_concurrent_streams(self):
        asyncio.run(self.stream_together(8))

    async def stream_together(self, number):
        http_client = httpx2.AsyncClient(verify=CA)
        async with openai.AsyncOpenAI(api_key=os.environ["NABI_KEY"], http_client=http_client, **OPTIONS) as nabi:

            async def stream(index):
                chunks = await nabi.chat.completions.create(
                    messages=user(f"Count to {index}."), max_tokens=16 + index, stream=True,
                    stream_options={"include_usage": True}, **GREEDY)
                return [chunk async for chunk in chunks]

            streams = await asyncio.gather(*(stream(index) for index in range(number)))
        self.assertEqual(len({chunks[0].id for chunks in streams}), number)
        for index, chunks in enumerate(streams):
            *_, ending, last = chunks
            self.assertIn(ending.choices[0].finish_reason, ("length", "stop"))
            self.assertLessEqual(last.usage.completion_tokens, 16 + index)
            self.assertGreater(last.usage.completion_tokens, 0)


class Errors(unittest.TestCase):
    def setUp(self):
        self.openai = client()
        self.addCleanup(self.openai.close)

    def refused(self, error, nabi=None, messages=None, **fields):
        """What the refusal says, after which the next request must be answered."""
        with self.assertRaises(error) as caught:
            (nabi or self.openai).chat.completions.create(messages=messages or user("Hi"), **GREEDY | fields)
        again = self.openai.chat.completions.create(messages=user("Hi"), max_tokens=1, **GREEDY)
        self.assertEqual(again.usage.completion_tokens, 1)
        return caught.exception

    def test_wrong_key(self):
        with client(key="nabi-wrong") as stranger:
            error = self.refused(openai.AuthenticationError, stranger)
        self.assertEqual((error.code, error.type), ("invalid_api_key", "authentication_error"))

    def test_unknown_model(self):
        error = self.refused(openai.NotFoundError, model="gpt-4o")
        self.assertEqual((error.code, error.param), ("model_not_found", "model"))
        with self.assertRaises(openai.NotFoundError):
            self.openai.models.retrieve("gpt-4o")

    def test_unknown_route(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            self.openai.embeddings.create(model=MODEL, input="Hi")
        self.assertEqual(caught.exception.code, "unknown_url")

    def test_values_are_named(self):
        for param, value in [
            ("temperature", 3), ("top_p", 0), ("max_tokens", 0), ("n", 2), ("logprobs", True),
            ("response_format", {"type": "json_object"}), ("stop", ["x"] * 99), ("seed", "one"),
        ]:
            with self.subTest(param):
                error = self.refused(openai.BadRequestError, **{param: value})
                self.assertTrue(error.param.startswith(param), error.param)
                self.assertEqual(error.type, "invalid_request_error")
        error = self.refused(openai.BadRequestError, messages=[{"role": "robot", "content": "Hi"}])
        self.assertEqual(error.param, "messages[0].role")
        error = self.refused(openai.BadRequestError, extra_body={"temprature": 1})
        self.assertEqual((error.param, error.code), ("temprature", "unknown_parameter"))

    def test_prompt_over_the_context(self):
        for stream in (False, True):
            error = self.refused(openai.BadRequestError, messages=user("butterfly " * 9000), stream=stream)
            self.assertEqual((error.code, error.param), ("context_length_exceeded", "messages"))
            prompt, context = map(int, re.findall(r"\d+", error.body["message"]))
            self.assertGreater(prompt, 9000)
            self.assertEqual(context, 8192)

    def test_unknown_authority(self):
        with client(verify=True) as doubtful:
            error = self.refused(openai.APIConnectionError, doubtful)
        self.assertIn("CERTIFICATE_VERIFY_FAILED", str(error.__cause__))


if __name__ == "__main__":
    unittest.main()
