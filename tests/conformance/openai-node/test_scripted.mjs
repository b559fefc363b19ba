// Answers that must be exact: tests/tests/conformance/scripts.rs has what the engines say.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { chat as chatWith, client, failure, gather, nabi, textOf, user } from "./nabi.mjs";

const chat = (messages, fields) => chatWith(messages, { model: "chat", ...fields });

const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "weather", parameters } }];
const QUESTION = "What is the weather?";
const CITIES = [{ city: "Seoul" }, { city: "Busan" }];

test("tools: a round trip", async () => {
  const { message, finish_reason } = (await chat(QUESTION, { tools })).choices[0];
  assert.equal(finish_reason, "tool_calls");
  assert.deepEqual(message.tool_calls.map((call) => JSON.parse(call.function.arguments)), CITIES);
  const answers = message.tool_calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: "21 degrees" }));
  const last = (await chat([...user(QUESTION), message, ...answers], { tools })).choices[0];
  assert.deepEqual([last.message.content, last.finish_reason], ["It is 21 degrees in Seoul.", "stop"]);
});

test("tools: the package runs them", async () => {
  const asked = [];
  const weather = ({ city }) => {
    asked.push(city);
    return "21 degrees";
  };
  const runnable = { type: "function", function: { ...tools[0].function, function: weather, parse: JSON.parse } };
  for (const stream of [false, true]) {
    const fields = { model: "chat", messages: user(QUESTION), tools: [runnable], stream };
    assert.equal(await nabi.chat.completions.runTools(fields).finalContent(), "It is 21 degrees in Seoul.");
  }
  assert.deepEqual(asked, ["Seoul", "Busan", "Seoul", "Busan"]);
});

test("tools: a stream", async () => {
  const chunks = await gather(chat(QUESTION, { tools, stream: true }));
  const deltas = chunks.flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? []);
  const begun = deltas.filter((call) => call.id).map((call) => [call.index, call.type, call.function.name]);
  assert.deepEqual(begun, [[0, "function", "weather"], [1, "function", "weather"]]);
  const text = (index) => deltas.filter((call) => call.index === index).map((call) => call.function.arguments).join("");
  assert.deepEqual([0, 1].map((index) => JSON.parse(text(index))), CITIES);
  assert.equal(chunks.at(-1).choices[0].finish_reason, "tool_calls");
});

test("tools: which may be called", async () => {
  const named = { type: "function", function: { name: "weather" } };
  for (const tool_choice of ["auto", "required", named]) {
    assert.equal((await chat(QUESTION, { tools, tool_choice })).choices[0].message.tool_calls[0].function.name, "weather");
  }
  const none = (await chat(QUESTION, { tools, tool_choice: "none" })).choices[0];
  assert.deepEqual([none.message.tool_calls, none.finish_reason], [undefined, "stop"]);
});

test("reasoning", async () => {
  const { message } = (await chat("Please reason.")).choices[0];
  assert.deepEqual([message.reasoning_content, message.content], ["Let me think.", "Done."]);
  const chunks = await gather(chat("Please reason.", { stream: true }));
  assert.deepEqual([textOf(chunks, 0, "reasoning_content"), textOf(chunks)], ["Let me think.", "Done."]);
});

test("two choices, cached tokens", async () => {
  const told = (await chat("Give two answers.", { n: 2 })).choices;
  assert.deepEqual(told.map((choice) => [choice.index, choice.message.content, choice.finish_reason]), [
    [0, "one two", "stop"],
    [1, "eins zwei", "length"],
  ]);
  assert.equal((await chat("Is this cached?")).usage.prompt_tokens_details.cached_tokens, 3);
});

test("embeddings", async () => {
  const input = ["one", "two words"];
  // By default the package asks for base64.
  const packed = await nabi.embeddings.create({ model: "embedder", input });
  const plain = await nabi.embeddings.create({ model: "embedder", input, encoding_format: "float" });
  packed.data.forEach((item, index) => {
    assert.equal(item.embedding.length, 8);
    item.embedding.forEach((number, at) => assert.ok(Math.abs(number - plain.data[index].embedding[at]) < 1e-6));
  });
  assert.notDeepEqual(plain.data[0].embedding, plain.data[1].embedding);
});

test("each class of failure", async () => {
  for (const [kind, status, code, content, model] of [
    [OpenAI.RateLimitError, 429, "queue_full", "The queue is full.", "chat"],
    [OpenAI.InternalServerError, 500, "engine_failed", "The engine fails.", "chat"],
    [OpenAI.InternalServerError, 502, "engine_lost", "Hi", "mortal"],
    [OpenAI.InternalServerError, 503, "model_not_ready", "Hi", "loading"],
    [OpenAI.InternalServerError, 504, "time_over", "It is too late.", "chat"],
  ]) {
    const error = await failure(kind, chat(content, { model }));
    assert.deepEqual([error.status, error.code], [status, code]);
    assert.ok(error.requestID);
  }
});

test("a stream that breaks off, and one that is given up", async () => {
  let text = "";
  const broken = async () => {
    for await (const chunk of await chat("It breaks off.", { stream: true })) text += textOf([chunk]);
  };
  const error = await failure(OpenAI.APIError, broken());
  assert.deepEqual([error.code, text], ["engine_failed", "This will"]);

  const stream = await chat("It never ends.", { stream: true });
  for await (const chunk of stream) if (textOf([chunk]) === "Once") break;
  assert.ok(stream.controller.signal.aborted);
  assert.equal((await chat("An insect.")).choices[0].finish_reason, "stop");
});

test("the package tries again when it is told to", async () => {
  let asked = 0;
  const counted = (...request) => {
    asked += 1;
    return fetch(...request);
  };
  const patient = client({ maxRetries: 1, fetch: counted });
  const fields = { model: "chat", messages: user("The queue is full.") };
  await failure(OpenAI.RateLimitError, patient.chat.completions.create(fields));
  assert.equal(asked, 2);
});
