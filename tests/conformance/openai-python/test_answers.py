"""A real model's answers through OpenAI's package."""

import asyncio
import math
from typing import Literal

import pydantic

from nabi import MODEL, Case, async_client, lenient_client, text_of, user

KOREAN = ["안녕하세요. 나비가 무엇인가요?", "나비는 무엇을 먹나요?", "고맙습니다. 한 문장으로 줄여 주세요."]
ARABIC = ["مرحبا. ما هي الفراشة؟", "ماذا تأكل الفراشات؟", "شكرا. لخص ذلك في جملة واحدة."]
QUESTION = "What is a butterfly?"


class Insect(pydantic.BaseModel):
    name: Literal["butterfly", "beetle", "bee"]
    legs: Literal[4, 6, 8]
    can_fly: bool


class Chats(Case):
    def test_whole(self):
        answer = self.chat(QUESTION, max_tokens=32)
        self.assertEqual((answer.object, answer.model, len(answer.choices)), ("chat.completion", MODEL, 1))
        choice, usage = answer.choices[0], answer.usage
        self.assertEqual((choice.message.role, choice.finish_reason), ("assistant", "length"))
        self.assertIn("butterfl", choice.message.content.lower())
        self.assertEqual((choice.message.tool_calls, choice.message.refusal, choice.logprobs), (None, None, None))
        self.assertEqual(usage.completion_tokens, 32)
        self.assertGreater(usage.prompt_tokens, 5)
        self.assertEqual(usage.total_tokens, usage.prompt_tokens + 32)

    def test_stream_equals_the_whole_answer(self):
        whole = self.chat(QUESTION, max_tokens=32)
        chunks = list(self.chat(QUESTION, max_tokens=32, stream=True))
        self.assertEqual({chunk.object for chunk in chunks}, {"chat.completion.chunk"})
        self.assertEqual(len({chunk.id for chunk in chunks}), 1)
        self.assertNotEqual(chunks[0].id, whole.id)
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        self.assertEqual(text_of(chunks), whole.choices[0].message.content)
        reasons = [chunk.choices[0].finish_reason for chunk in chunks]
        self.assertEqual((reasons[-1], set(reasons[:-1])), ("length", {None}))
        self.assertTrue(all(chunk.usage is None for chunk in chunks))

    def test_usage_of_a_stream(self):
        # A prompt whose prefix is known already counts the same.
        self.chat("Hello", max_tokens=5)
        whole = self.chat("Hello", max_tokens=5)
        *chunks, last = self.chat("Hello", max_tokens=5, stream=True, stream_options={"include_usage": True})
        self.assertEqual((last.choices, last.usage), ([], whole.usage))
        self.assertTrue(all(chunk.usage is None and chunk.choices for chunk in chunks))

    def test_stop_and_seed(self):
        sampled = {"max_tokens": 24, "temperature": 1, "seed": 7}
        first, second = (self.chat("Tell a story.", **sampled).choices[0].message.content for _ in range(2))
        self.assertEqual(first, second)
        word = first.split()[1]
        stopped = self.chat("Tell a story.", **sampled, stop=[word]).choices[0]
        self.assertEqual((stopped.finish_reason, stopped.message.content), ("stop", first[: first.index(word)]))

    def test_several_choices(self):
        fields = {"max_tokens": 16, "temperature": 1, "seed": 7, "n": 2}
        answer = self.chat("Tell a story.", **fields)
        texts = [choice.message.content for choice in answer.choices]
        self.assertEqual([choice.index for choice in answer.choices], [0, 1])
        self.assertNotEqual(*texts)
        self.assertEqual(answer.usage.completion_tokens, 32)
        chunks = list(self.chat("Tell a story.", **fields, stream=True))
        self.assertEqual([text_of(chunks, index) for index in (0, 1)], texts)

    def test_log_probabilities(self):
        fields = {"max_tokens": 8, "logprobs": True, "top_logprobs": 3}
        choice = self.chat(QUESTION, **fields).choices[0]
        tokens = choice.logprobs.content
        self.assertEqual(len(tokens), 8)
        self.assertEqual(b"".join(bytes(token.bytes) for token in tokens).decode(), choice.message.content)
        for token in tokens:
            # The greedy token is the likeliest, and the others follow in order.
            self.assertEqual((token.top_logprobs[0].token, len(token.top_logprobs)), (token.token, 3))
            values = [top.logprob for top in token.top_logprobs]
            self.assertEqual(values, sorted(values, reverse=True))
            self.assertEqual(values[0], token.logprob)
            self.assertLess(sum(map(math.exp, values)), 1 + 1e-3)
        chunks = list(self.chat(QUESTION, **fields, stream=True))
        streamed = [token for chunk in chunks if (told := chunk.choices[0].logprobs) for token in told.content]
        self.assertEqual([token.token for token in streamed], [token.token for token in tokens])
        for streamed_token, token in zip(streamed, tokens):
            self.assertAlmostEqual(streamed_token.logprob, token.logprob, places=3)

    def test_bias_and_penalties(self):
        first = self.chat(QUESTION, max_tokens=1, logprobs=True).choices[0].message.content
        tokenized = self.openai.post("/tokenize", cast_to=object, body={"model": MODEL, "prompt": first})
        (token,) = tokenized["tokens"]
        forbidden = self.chat(QUESTION, max_tokens=1, logit_bias={str(token): -100}).choices[0].message.content
        self.assertNotEqual(forbidden, first)
        plain, penalised = (
            self.chat("Say yes yes yes.", max_tokens=24, frequency_penalty=penalty).choices[0].message.content
            for penalty in (0, 2)
        )
        self.assertNotEqual(plain, penalised)

    def test_parsed_by_a_schema(self):
        choice = self.openai.chat.completions.parse(
            model=MODEL, messages=user("Describe an insect."), response_format=Insect, temperature=0, max_tokens=200
        ).choices[0]
        self.assertIsInstance(choice.message.parsed, Insect)
        self.assertEqual(choice.finish_reason, "stop")

    def test_json_object(self):
        answer = self.chat("An insect as JSON.", response_format={"type": "json_object"}, max_tokens=1, n=2)
        self.assertTrue(all(choice.message.content.lstrip()[:1] in ("{", "") for choice in answer.choices))

    def test_cached_tokens(self):
        prompt = "The butterfly came over the hill and sat on a stone. " * 40 + "Where did it sit?"
        first, second = (self.chat(prompt, max_tokens=4).usage for _ in range(2))
        self.assertEqual(first.prompt_tokens, second.prompt_tokens)
        self.assertGreater(second.prompt_tokens_details.cached_tokens, 0.9 * second.prompt_tokens)
        self.assertLess(second.prompt_tokens_details.cached_tokens, second.prompt_tokens)

    def test_korean_conversation(self):
        self.converse(KOREAN)

    def test_arabic_conversation(self):
        self.converse(ARABIC)

    def converse(self, turns):
        messages = [{"role": "system", "content": "Answer in the language of the question."}]
        prompt_tokens = 0
        for turn in turns:
            messages += user(turn)
            whole = self.chat(messages, max_tokens=48)
            text = whole.choices[0].message.content
            self.assertNotEqual(text.strip(), "")
            # Also where the bytes of one character come in several tokens.
            self.assertEqual(text_of(self.chat(messages, max_tokens=48, stream=True)), text)
            # Each turn carries all those before it.
            self.assertGreater(whole.usage.prompt_tokens, prompt_tokens)
            prompt_tokens = whole.usage.prompt_tokens + whole.usage.completion_tokens
            messages.append({"role": "assistant", "content": text})

    def test_concurrent_streams(self):
        asyncio.run(self.stream_together(8))

    async def stream_together(self, number):
        async with async_client() as nabi:

            async def stream(index):
                chunks = await nabi.chat.completions.create(
                    model=MODEL, messages=user(f"Count to {index}."), max_tokens=16 + index, stream=True,
                    stream_options={"include_usage": True}, temperature=0)
                return [chunk async for chunk in chunks]

            streams = await asyncio.gather(*(stream(index) for index in range(number)))
        self.assertEqual(len({chunks[0].id for chunks in streams}), number)
        for index, chunks in enumerate(streams):
            *_, ending, last = chunks
            self.assertIn(ending.choices[0].finish_reason, ("length", "stop"))
            self.assertLessEqual(last.usage.completion_tokens, 16 + index)
            self.assertGreater(last.usage.completion_tokens, 0)


class Completions(Case):
    PROMPT = "The butterfly is an insect that"

    def setUp(self):
        super().setUp()
        # The first token of a prompt has no log-probability, and a stream's chunk no reason to end: both are null.
        self.lenient = lenient_client()
        self.addCleanup(self.lenient.close)

    def test_whole_and_streamed(self):
        whole = self.complete(self.PROMPT, max_tokens=12)
        self.assertEqual((whole.object, whole.choices[0].finish_reason), ("text_completion", "length"))
        self.assertEqual(whole.usage.completion_tokens, 12)
        chunks = list(self.complete(self.PROMPT, self.lenient, max_tokens=12, stream=True))
        self.assertEqual("".join(chunk.choices[0].text for chunk in chunks), whole.choices[0].text)

    def test_echo_with_log_probabilities(self):
        choice = self.complete(self.PROMPT, self.lenient, max_tokens=2, echo=True, logprobs=2).choices[0]
        told = choice.logprobs
        self.assertTrue(choice.text.startswith(self.PROMPT))
        self.assertEqual("".join(told.tokens), choice.text)
        self.assertEqual(len({len(told.tokens), len(told.token_logprobs), len(told.top_logprobs), len(told.text_offset)}), 1)
        self.assertIsNone(told.token_logprobs[0])
        self.assertTrue(all(logprob <= 0 for logprob in told.token_logprobs[1:]))
        offset = 0
        for token, told_offset in zip(told.tokens, told.text_offset):
            self.assertEqual(told_offset, offset)
            offset += len(token)
        for token, logprob, top in zip(told.tokens[1:], told.token_logprobs[1:], told.top_logprobs[1:]):
            # The token itself is always among the likeliest that are told.
            self.assertEqual(top[token], logprob)
            self.assertIn(len(top), (2, 3))

    def test_the_prompt_alone(self):
        choice = self.complete(self.PROMPT, self.lenient, max_tokens=0, echo=True, logprobs=0).choices[0]
        self.assertEqual((choice.text, "".join(choice.logprobs.tokens)), (self.PROMPT, self.PROMPT))

    def test_several_prompts_and_choices(self):
        prompts = [self.PROMPT, "Once upon a time"]
        answer = self.complete(prompts, max_tokens=4, n=2)
        self.assertEqual([choice.index for choice in answer.choices], [0, 1, 2, 3])
        alone = self.complete(prompts[1], max_tokens=4)
        self.assertEqual({choice.text for choice in answer.choices[2:]}, {alone.choices[0].text})

    def test_tokens_as_the_prompt(self):
        tokens = self.openai.post("/tokenize", cast_to=object, body={"model": MODEL, "prompt": self.PROMPT})["tokens"]
        texts = [self.complete(prompt, max_tokens=6).choices[0].text for prompt in (self.PROMPT, tokens, [tokens])]
        self.assertEqual(len(set(texts)), 1)
        back = self.openai.post("/detokenize", cast_to=object, body={"model": MODEL, "tokens": tokens})
        self.assertEqual(back["prompt"], self.PROMPT)


class Models(Case):
    def test_listed_and_retrieved(self):
        (listed,) = self.openai.models.list().data
        self.assertEqual((listed.id, listed.object, listed.owned_by), (MODEL, "model", "nabi"))
        self.assertGreater(listed.created, 1_700_000_000)
        self.assertEqual(self.openai.models.retrieve(MODEL), listed)
