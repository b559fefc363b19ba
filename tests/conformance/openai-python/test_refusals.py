"""What a caller does wrong, as OpenAI's package tells it; after each, the next request is answered."""

import re

import openai

from nabi import MODEL, Case, client, user


class Refusals(Case):
    def refused(self, error, ask):
        """What the refusal says, after which the next request must be answered."""
        with self.assertRaises(error) as caught:
            ask()
        self.assertEqual(self.chat("Hi", max_tokens=1).usage.completion_tokens, 1)
        return caught.exception

    def bad_chat(self, messages="Hi", **fields):
        error = self.refused(openai.BadRequestError, lambda: self.chat(messages, **fields))
        self.assertEqual((error.status_code, error.type), (400, "invalid_request_error"))
        self.assertIsNotNone(error.request_id)
        return error

    def test_wrong_key(self):
        with client(key="nabi-wrong") as stranger:
            error = self.refused(openai.AuthenticationError, stranger.models.list)
        self.assertEqual((error.code, error.type), ("invalid_api_key", "authentication_error"))

    def test_unknown_model(self):
        error = self.refused(openai.NotFoundError, lambda: self.chat("Hi", model="gpt-4o"))
        self.assertEqual((error.code, error.param), ("model_not_found", "model"))
        self.refused(openai.NotFoundError, lambda: self.openai.models.retrieve("gpt-4o"))

    def test_unknown_route(self):
        error = self.refused(openai.NotFoundError, lambda: self.openai.images.generate(model=MODEL, prompt="Hi"))
        self.assertEqual(error.code, "unknown_url")

    def test_wrong_method(self):
        error = self.refused(openai.APIStatusError, lambda: self.openai.get("/chat/completions", cast_to=object))
        self.assertEqual((error.status_code, error.code), (405, "method_not_allowed"))

    def test_values_are_named(self):
        for param, value in [
            ("temperature", 3), ("top_p", 0), ("max_tokens", 0), ("n", 17), ("top_logprobs", 21), ("seed", "one"),
            ("response_format", {"type": "xml"}), ("stop", ["x"] * 99), ("logit_bias", {"first": 1}),
            ("presence_penalty", -3), ("tool_choice", "always"), ("audio", {"voice": "alloy", "format": "wav"}),
        ]:
            with self.subTest(param):
                error = self.bad_chat(**{param: value})
                self.assertTrue(error.param.startswith(param), error.param)
        self.assertEqual(self.bad_chat([{"role": "robot", "content": "Hi"}]).param, "messages[0].role")
        error = self.bad_chat(extra_body={"temprature": 1})
        self.assertEqual((error.param, error.code), ("temprature", "unknown_parameter"))

    def test_a_schema_that_cannot_be_followed(self):
        schema = {"name": "x", "schema": {"type": "string", "pattern": "("}}
        error = self.bad_chat(response_format={"type": "json_schema", "json_schema": schema})
        self.assertEqual((error.code, error.param), ("invalid_grammar", "response_format"))

    def test_what_a_model_cannot(self):
        tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
        self.assertEqual(self.bad_chat(tools=[tool]).param, "tools")
        embed = lambda: self.openai.embeddings.create(model=MODEL, input="Hi")
        self.assertEqual(self.refused(openai.BadRequestError, embed).code, "model_unable")

    def test_prompt_over_the_context(self):
        for stream in (False, True):
            error = self.bad_chat("butterfly " * 9000, stream=stream)
            self.assertEqual((error.code, error.param), ("context_length_exceeded", "messages"))
            prompt, context = map(int, re.findall(r"\d+", error.body["message"]))
            self.assertGreater(prompt, 9000)
            self.assertEqual(context, 8192)

    def test_body_over_the_limit(self):
        error = self.refused(openai.APIStatusError, lambda: self.chat("x" * (9 << 20)))
        self.assertEqual((error.status_code, error.code), (413, "request_too_large"))

    def test_unknown_authority(self):
        with client(verify=True) as doubtful:
            error = self.refused(openai.APIConnectionError, doubtful.models.list)
        self.assertIn("CERTIFICATE_VERIFY_FAILED", str(error.__cause__))

    def test_fields_without_effect_are_named(self):
        fields = {"user": "somebody", "metadata": {"a": "b"}, "model": MODEL, "max_tokens": 1}
        answer = self.openai.chat.completions.with_raw_response.create(messages=user("Hi"), **fields)
        ignored = {name.strip() for name in answer.headers["x-nabi-ignored"].split(",")}
        self.assertEqual(ignored, {"user", "metadata"})
        self.assertNotIn("x-nabi-ignored", self.openai.models.with_raw_response.list().headers)
