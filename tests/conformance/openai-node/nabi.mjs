// OpenAI's own package, pointed at the Nabi that NABI_ADDRESS, NABI_KEY and NABI_MODEL name.
// NODE_EXTRA_CA_CERTS has the certificate to trust.

import assert from "node:assert/strict";
import OpenAI from "openai";

export const MODEL = process.env.NABI_MODEL;

export function client(options = {}) {
  const baseURL = `${process.env.NABI_ADDRESS}/v1`;
  // Every attempt counts.
  return new OpenAI({ baseURL, apiKey: process.env.NABI_KEY, maxRetries: 0, timeout: 120_000, ...options });
}

export const nabi = client();

export const user = (content) => [{ role: "user", content }];

export function chat(messages, fields = {}) {
  messages = typeof messages === "string" ? user(messages) : messages;
  return nabi.chat.completions.create({ model: MODEL, temperature: 0, messages, ...fields });
}

export async function gather(stream) {
  const chunks = [];
  for await (const chunk of await stream) chunks.push(chunk);
  return chunks;
}

/** What a stream's chunks add to one choice. */
export function textOf(chunks, index = 0, field = "content") {
  const choices = chunks.flatMap((chunk) => chunk.choices).filter((choice) => choice.index === index);
  return choices.map((choice) => choice.delta[field] ?? "").join("");
}

/** The error with which a promise fails, which must be of this class. */
export async function failure(kind, promise) {
  const error = await promise.then(
    (value) => assert.fail(`an answer instead of ${kind.name}: ${JSON.stringify(value)}`),
    (error) => error,
  );
  assert.ok(error instanceof kind, `${error.constructor.name} instead of ${kind.name}: ${error.message}`);
  return error;
}
