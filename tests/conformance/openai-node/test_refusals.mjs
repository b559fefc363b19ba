// What a caller does wrong, as OpenAI's package tells it.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { MODEL, chat, client, failure, nabi, user } from "./nabi.mjs";

test("a wrong key", async () => {
  const stranger = client({ apiKey: "nabi-wrong" });
  const error = await failure(OpenAI.AuthenticationError, stranger.models.list());
  assert.deepEqual([error.code, error.type], ["invalid_api_key", "authentication_error"]);
});

test("an unknown model, an unknown route, a wrong method", async () => {
  const model = await failure(OpenAI.NotFoundError, chat("Hi", { model: "gpt-4o" }));
  assert.deepEqual([model.code, model.param], ["model_not_found", "model"]);
  const route = await failure(OpenAI.NotFoundError, nabi.images.generate({ model: MODEL, prompt: "Hi" }));
  assert.equal(route.code, "unknown_url");
  const method = await failure(OpenAI.APIError, nabi.get("/chat/completions"));
  assert.deepEqual([method.status, method.code], [405, "method_not_allowed"]);
});

test("values are named", async () => {
  const wrong = { temperature: 3, top_p: 0, max_tokens: 0, n: 17, top_logprobs: 21, seed: "one", temprature: 1 };
  for (const [param, value] of Object.entries(wrong)) {
    const error = await failure(OpenAI.BadRequestError, chat("Hi", { [param]: value }));
    assert.deepEqual([error.param, error.type], [param, "invalid_request_error"]);
  }
});

test("a prompt over the context", async () => {
  for (const stream of [false, true]) {
    const error = await failure(OpenAI.BadRequestError, chat("butterfly ".repeat(9000), { stream }));
    assert.equal(error.code, "context_length_exceeded");
  }
});

test("fields without effect are named", async () => {
  const fields = { model: MODEL, messages: user("Hi"), max_tokens: 1, user: "somebody", safety_identifier: "x" };
  const { response } = await nabi.chat.completions.create(fields).withResponse();
  assert.deepEqual(response.headers.get("x-nabi-ignored").split(", ").sort(), ["safety_identifier", "user"]);
});
