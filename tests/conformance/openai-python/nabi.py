"""OpenAI's own package, pointed at the Nabi that NABI_ADDRESS, NABI_CA, NABI_KEY and NABI_MODEL name."""

import os
import ssl
import unittest

import httpx2
import openai

MODEL = os.environ["NABI_MODEL"]
KEY = os.environ["NABI_KEY"]
CA = ssl.create_default_context(cafile=os.environ["NABI_CA"])
# Every attempt counts, and every field of an answer is checked against the package's own models.
OPTIONS = {
    "base_url": os.environ["NABI_ADDRESS"] + "/v1",
    "max_retries": 0,
    "timeout": 120,
    "_strict_response_validation": True,
}


def client(key=KEY, verify=CA, **options):
    return openai.OpenAI(api_key=key, http_client=httpx2.Client(verify=verify), **OPTIONS | options)


def lenient_client():
    """For where the package's own models lack what OpenAI's service sends too."""
    return client(_strict_response_validation=False)


def async_client():
    return openai.AsyncOpenAI(api_key=KEY, http_client=httpx2.AsyncClient(verify=CA), **OPTIONS)


def user(content):
    return [{"role": "user", "content": content}]


def text_of(chunks, index=0, field="content"):
    """What a stream's chunks add to one choice."""
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(getattr(delta, field, None) or "" for delta in deltas)


class Case(unittest.TestCase):
    """A test with a client, and a model of which it asks greedy answers."""

    model = MODEL

    def setUp(self):
        self.openai = client()
        self.addCleanup(self.openai.close)

    def chat(self, messages, **fields):
        messages = user(messages) if isinstance(messages, str) else messages
        defaults = {"model": self.model, "temperature": 0}
        return self.openai.chat.completions.create(messages=messages, **defaults | fields)

    def complete(self, prompt, nabi=None, **fields):
        defaults = {"model": self.model, "temperature": 0}
        return (nabi or self.openai).completions.create(prompt=prompt, **defaults | fields)
