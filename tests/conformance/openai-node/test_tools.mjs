// Calls that are forced upon a real engine. Its model's weights are random: all form is the grammar's.

import assert from "node:assert/strict";
import { test } from "node:test";
import { chat, gather } from "./nabi.mjs";

const CITIES = ["Seoul", "Busan"];
const parameters = {
  type: "object",
  properties: { city: { enum: CITIES }, days: { type: "integer", minimum: 1, maximum: 7 } },
  required: ["city", "days"],
  additionalProperties: false,
};
const tools = ["forecast", "history"].map((name) => ({ type: "function", function: { name, parameters } }));
const named = { type: "function", function: { name: "history" } };

function ask(tool_choice, fields) {
  // A random model has no end to its calls, where there may be several.
  const defaults = { model: "chat", tools, tool_choice, temperature: 1, max_tokens: 600, parallel_tool_calls: false };
  return chat("What is the weather?", { ...defaults, ...fields });
}

function check(name, text) {
  const { city, days, ...rest } = JSON.parse(text);
  assert.ok(CITIES.includes(city) && Number.isInteger(days) && days >= 1 && days <= 7, text);
  assert.deepEqual(rest, {});
  return [name, text];
}

async function whole(tool_choice, fields) {
  const { message, finish_reason } = (await ask(tool_choice, fields)).choices[0];
  assert.deepEqual([finish_reason, message.content, message.tool_calls.length], ["tool_calls", null, 1]);
  const { name, arguments: text } = message.tool_calls[0].function;
  return check(name, text);
}

async function streamed(tool_choice, fields) {
  const chunks = await gather(ask(tool_choice, { ...fields, stream: true }));
  assert.equal(chunks.at(-1).choices[0].finish_reason, "tool_calls");
  const deltas = chunks.flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? []);
  assert.deepEqual(deltas.filter((call) => call.id).map((call) => [call.index, call.type]), [[0, "function"]]);
  return check(deltas[0].function.name, deltas.map((call) => call.function.arguments ?? "").join(""));
}

test("a call is required", async () => {
  for (const fields of [{ seed: 1 }, { seed: 2 }, { temperature: 0 }]) {
    assert.deepEqual(await streamed("required", fields), await whole("required", fields));
  }
});

test("a function is named", async () => {
  for (const seed of [1, 2]) {
    const call = await whole(named, { seed });
    assert.equal(call[0], "history");
    assert.deepEqual(await streamed(named, { seed }), call);
  }
});
