// A real model's answers through OpenAI's package.

import assert from "node:assert/strict";
import { test } from "node:test";
import { MODEL, chat, gather, nabi, textOf, user } from "./nabi.mjs";

const QUESTION = "What is a butterfly?";
const PROMPT = "The butterfly is an insect that";

test("a whole answer", async () => {
  const answer = await chat(QUESTION, { max_tokens: 32 });
  assert.deepEqual([answer.object, answer.model, answer.choices.length], ["chat.completion", MODEL, 1]);
  assert.equal(answer.choices[0].finish_reason, "length");
  assert.match(answer.choices[0].message.content, /butterfl/i);
  assert.equal(answer.usage.completion_tokens, 32);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + 32);
});

test("a stream equals the whole answer", async () => {
  const whole = await chat(QUESTION, { max_tokens: 32 });
  const options = { max_tokens: 32, stream: true, stream_options: { include_usage: true } };
  const chunks = await gather(chat(QUESTION, options));
  const last = chunks.pop();
  assert.deepEqual([last.choices, last.usage.completion_tokens], [[], 32]);
  assert.equal(textOf(chunks), whole.choices[0].message.content);
  assert.equal(chunks.at(-1).choices[0].finish_reason, "length");
});

test("several choices", async () => {
  const fields = { max_tokens: 16, temperature: 1, seed: 7, n: 2 };
  const answer = await chat("Tell a story.", fields);
  const texts = answer.choices.map((choice) => choice.message.content);
  assert.notEqual(texts[0], texts[1]);
  const chunks = await gather(chat("Tell a story.", { ...fields, stream: true }));
  assert.deepEqual([textOf(chunks, 0), textOf(chunks, 1)], texts);
});

test("log-probabilities of a chat", async () => {
  const fields = { max_tokens: 8, logprobs: true, top_logprobs: 3 };
  const choice = (await chat(QUESTION, fields)).choices[0];
  const tokens = choice.logprobs.content;
  assert.equal(tokens.length, 8);
  const text = Buffer.concat(tokens.map((token) => Buffer.from(token.bytes))).toString();
  assert.equal(text, choice.message.content);
  for (const token of tokens) {
    assert.deepEqual([token.top_logprobs.length, token.top_logprobs[0].token], [3, token.token]);
  }
  const chunks = await gather(chat(QUESTION, { ...fields, stream: true }));
  const streamed = chunks.flatMap((chunk) => chunk.choices[0].logprobs?.content ?? []);
  assert.deepEqual(streamed.map((token) => token.token), tokens.map((token) => token.token));
});

test("a JSON schema", async () => {
  const schema = {
    type: "object",
    properties: { name: { enum: ["butterfly", "beetle", "bee"] }, legs: { enum: [4, 6, 8] } },
    required: ["name", "legs"],
    additionalProperties: false,
  };
  const answer = await nabi.chat.completions.parse({
    model: MODEL,
    messages: user("Describe an insect."),
    temperature: 0,
    max_tokens: 200,
    response_format: { type: "json_schema", json_schema: { name: "insect", strict: true, schema } },
  });
  const { name, legs } = JSON.parse(answer.choices[0].message.content);
  assert.ok(schema.properties.name.enum.includes(name) && schema.properties.legs.enum.includes(legs));
});

test("a completion with its prompt and their log-probabilities", async () => {
  const fields = { model: MODEL, prompt: PROMPT, temperature: 0, max_tokens: 2, echo: true, logprobs: 2 };
  const choice = (await nabi.completions.create(fields)).choices[0];
  const told = choice.logprobs;
  assert.ok(choice.text.startsWith(PROMPT));
  assert.equal(told.tokens.join(""), choice.text);
  assert.equal(told.token_logprobs[0], null);
  assert.ok(told.token_logprobs.slice(1).every((logprob) => logprob <= 0));
  const chunks = await gather(nabi.completions.create({ ...fields, stream: true }));
  assert.equal(chunks.map((chunk) => chunk.choices[0].text).join(""), choice.text);
  const tokens = chunks.flatMap((chunk) => chunk.choices[0].logprobs?.tokens ?? []);
  assert.deepEqual(tokens, told.tokens);
});

test("cached tokens of a prompt that comes again", async () => {
  const prompt = "The bee came over the hill and sat on a flower. ".repeat(40) + "Where did it sit?";
  await chat(prompt, { max_tokens: 1 });
  const { usage } = await chat(prompt, { max_tokens: 1 });
  assert.ok(usage.prompt_tokens_details.cached_tokens > 0.9 * usage.prompt_tokens);
});

test("models", async () => {
  const listed = await gather(nabi.models.list());
  assert.deepEqual(listed.map((model) => model.id), [MODEL]);
  assert.deepEqual(await nabi.models.retrieve(MODEL), listed[0]);
});
