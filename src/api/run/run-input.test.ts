import { Hono } from "hono";
import { expect, it } from "vitest";
import { readRunInput } from "./run-input.ts";

const SCHEMA = {
  properties: {
    prompt: { type: "string" },
    steps: { type: "integer" },
    strength: { anyOf: [{ type: "number" }, { type: "null" }] },
    loud: { type: "boolean" },
    sizes: { type: "array", items: { type: "integer" } },
    size: { oneOf: [{ type: "object" }, { type: "string" }] },
  },
};
const read = async (query: string): Promise<unknown> => {
  const app = new Hono().get("/", async (c) => c.json((await readRunInput(c, SCHEMA, 1000)) as object));
  return (await app.request(`/?${query}`)).json();
};

it.each([
  ["prompt=12", { prompt: "12" }],
  ["prompt=a+b%20c", { prompt: "a b c" }],
  ["steps=5&loud=true", { steps: 5, loud: true }],
  ["steps=5.5", { steps: "5.5" }],
  ["steps=soon", { steps: "soon" }],
  ["strength=0.5", { strength: 0.5 }],
  ["strength=null", { strength: null }],
  ["sizes=1&sizes=2", { sizes: [1, 2] }],
  ["sizes=3", { sizes: [3] }],
  ["sizes=%5B1%2C2%5D", { sizes: [1, 2] }],
  ["size=%7B%22width%22%3A1%7D", { size: { width: 1 } }],
  ["size=square", { size: "square" }],
  ["unknown=1&fal_webhook=x&logs=1", { unknown: "1" }],
])("%s", async (query, input) => {
  expect(await read(query)).toEqual(input);
});
