// Vectors by real engines, an encoder and a decoder, served beside a chat model.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { failure, nabi, user } from "./nabi.mjs";

const MODELS = ["encoder", "decoder"];
const NUMBERS = 64;
const TEXTS = ["one", "two words", "now three words"];

async function vectors(input, model = "encoder", fields = {}) {
  const { data } = await nabi.embeddings.create({ model, input, encoding_format: "float", ...fields });
  assert.deepEqual(data.map((item) => item.index), [...data.keys()]);
  return data.map((item) => item.embedding);
}

function assertClose(some, others, distance = 1e-3) {
  assert.equal(some.length, NUMBERS);
  some.forEach((number, at) => assert.ok(Math.abs(number - others[at]) < distance, `number ${at}`));
}

test("alone and together", async () => {
  for (const model of MODELS) {
    const together = await vectors(TEXTS, model);
    for (const [index, vector] of together.entries()) {
      assert.ok(Math.abs(Math.hypot(...vector) - 1) < 1e-5);
      assertClose((await vectors(TEXTS[index], model))[0], vector);
    }
    assert.notDeepEqual(together[0], together[1]);
  }
});

test("base64 holds the same numbers", async () => {
  // By default the package asks for base64.
  const packed = await nabi.embeddings.create({ model: "encoder", input: TEXTS });
  const plain = await vectors(TEXTS);
  packed.data.forEach((item, index) => assert.deepEqual(item.embedding, plain[index].map(Math.fround)));
});

test("tokens are taken as they are", async () => {
  for (const model of MODELS) {
    const texts = await vectors(TEXTS, model);
    const tokenized = TEXTS.map((prompt) => nabi.post("/tokenize", { body: { model, prompt } }));
    const tokens = (await Promise.all(tokenized)).map((answer) => answer.tokens);
    (await vectors(tokens, model)).forEach((vector, index) => assertClose(vector, texts[index]));
    assertClose((await vectors(tokens[1], model))[0], texts[1]);
  }
});

test("what cannot be embedded", async () => {
  for (const [fields, code, param] of [
    [{ dimensions: NUMBERS - 1 }, "invalid_value", "dimensions"],
    [{ input: "7 ".repeat(300) }, "context_length_exceeded", "input"],
    [{ input: ["text", ""] }, "invalid_value", "input"],
    [{ model: "chat" }, "model_unable", "model"],
  ]) {
    const error = await failure(OpenAI.BadRequestError, nabi.embeddings.create({ model: "encoder", input: "one", ...fields }));
    assert.deepEqual([error.code, error.param], [code, param]);
  }
  assert.deepEqual(await vectors("one", "encoder", { dimensions: NUMBERS }), await vectors("one"));
});

test("an embedding model does not chat", async () => {
  for (const model of MODELS) {
    const error = await failure(OpenAI.BadRequestError, nabi.chat.completions.create({ model, messages: user("Hi") }));
    assert.deepEqual([error.code, error.param], ["model_unable", "model"]);
  }
});
