import { afterEach, describe, expect, it } from "vitest";
import type { JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { JsonSchema } from "../../core/models/model.ts";
import { createInputCheck } from "../input-check.ts";
import { SchemaThread } from "./schema-thread.ts";

/** Long enough for the thread on a busy machine. */
const LONG_MS = 300_000;

let opened: SchemaThread[] = [];
const open = (deadlineMs = LONG_MS): SchemaThread => {
  const thread = new SchemaThread({ deadlineMs });
  opened.push(thread);
  return thread;
};
afterEach(async () => {
  await Promise.all(opened.map((thread) => thread[Symbol.asyncDispose]()));
  opened = [];
});

const object = (properties: JsonObject, more: JsonObject = {}): JsonSchema => ({
  type: "object",
  properties,
  ...more,
});
const owned = (schema: JsonSchema, ownerId = "ann") => ({ ownerId, schema });

/** The attack: small in fields, large in names. */
const heavy = (fields: number, names: number): JsonSchema =>
  object(
    Object.fromEntries(
      Array.from({ length: fields }, (_, field) => [
        `f${field}`,
        { type: "object", required: Array.from({ length: names }, (_, name) => `r${field}_${name}`) },
      ]),
    ),
  );

describe("the schema thread", () => {
  it.each<[string, JsonSchema, JsonObject]>([
    [
      "completes with defaults, and coerces",
      object({ n: { type: "integer" }, d: { default: "x" } }),
      { n: "42", gone: 1 },
    ],
    ["names the faults", object({ n: { type: "integer", maximum: 3 } }, { required: ["m"] }), { n: 9 }],
    ["keeps large integers", object({ n: { type: "integer" } }), { n: 18_446_744_073_709_551_615n }],
  ])("%s as the check in the process does", async (_what, schema, input) => {
    const inProcess = createInputCheck({ schemas: { input: schema, output: {} }, restrictions: [] });
    expect(await open().checkInput(owned(schema), input)).toEqual(inProcess(input));
  });

  it("coerces alone, and checks single fields", async () => {
    const thread = open();
    const schema = object({ n: { type: "integer", maximum: 3 } });
    expect(await thread.coerced(owned(schema), { n: "42" })).toEqual({ n: 42 });
    expect(await thread.checkLiterals(owned(schema), { n: 2 })).toEqual([]);
    expect(await thread.checkLiterals(owned(schema), { n: 9 })).toEqual([
      expect.objectContaining({ loc: ["body", "n"], type: "less_than_equal" }),
    ]);
  });

  it("leaves the event loop to others while it compiles the heaviest schema", async () => {
    const thread = open();
    await thread.checkInput(owned(object({})), {});
    const checked = thread.checkInput(owned(heavy(120, 199)), {});
    let turns = 0;
    let done = false;
    void checked.then(() => {
      done = true;
    });
    while (!done) {
      turns += 1;
      await new Promise((next) => setImmediate(next));
    }
    expect(await checked).toEqual({ input: {}, ignored: [] });
    // In the process itself the loop would have turned once.
    expect(turns).toBeGreaterThan(10);
  });

  it("refuses a schema that takes too long, at once the second time, and goes on", async () => {
    const thread = open(1);
    const late = { faults: [expect.objectContaining({ msg: expect.stringContaining("more than 1 ms") })] };
    const schema = heavy(120, 199);
    expect(await thread.checkInput(owned(schema), {})).toEqual(late);
    expect(await thread.faultOfInputSchema(owned(schema))).toEqual(late.faults[0]);
    expect(await thread.coerced(owned(schema), { n: "1" })).toEqual({ n: "1" });
  });

  it.each<[string, JsonSchema]>([
    ["leads nowhere", object({ a: { $ref: "#/nowhere" } })],
    ["has an impossible pattern", object({ a: { type: "string", pattern: "(" } })],
  ])("gives a fault for a schema that %s", async (_what, schema) => {
    const thread = open();
    expect(await thread.faultOfInputSchema(owned(schema))).toMatchObject({
      msg: expect.stringContaining("the workflow's input schema cannot be used: "),
    });
    expect(await thread.checkInput(owned(object({})), {})).toEqual({ input: {}, ignored: [] });
  });

  it("takes turns between owners, and bounds the tasks of each", async () => {
    const thread = open();
    const ended: string[] = [];
    const ask = (ownerId: string) =>
      thread.checkInput(owned(object({}), ownerId), {}).then(() => ended.push(ownerId));
    const ann = Array.from({ length: LIMITS.schemaTasksWaitingMax + 1 }, () => ask("ann"));
    await expect(ask("ann")).rejects.toMatchObject({ code: "rate_limited" });
    await ask("bob");
    expect(ended.filter((owner) => owner === "ann").length).toBeLessThan(4);
    await Promise.all(ann);
  });
});
