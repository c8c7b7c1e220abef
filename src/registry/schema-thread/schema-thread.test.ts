import { afterEach, describe, expect, it } from "vitest";
import { writeJson } from "../../core/json/exact-json.ts";
import type { JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { JsonSchema } from "../../core/models/model.ts";
import { createInputCheck } from "../input-check.ts";
import { SchemaThread } from "./schema-thread.ts";
import type { Answer, Task } from "./task.ts";

/** Long enough for the thread on a busy machine. */
const LONG_MS = 300_000;

let opened: SchemaThread[] = [];
const open = (deadlineMs = LONG_MS, rest?: (ms: number) => Promise<void>): SchemaThread => {
  const thread = new SchemaThread({ deadlineMs, ...(rest && { rest }) });
  opened.push(thread);
  return thread;
};
const FITS = { input: {}, ignored: [] };
/** Opens one whose thread has an answer for some tasks, and needs too long for the others. */
const openWith = (hasAnswer: (task: Task) => boolean): SchemaThread => {
  const perform = async (task: Task): Promise<Answer | undefined> =>
    hasAnswer(task) ? { result: writeJson(FITS), tookMs: 0 } : undefined;
  return new SchemaThread({
    rest: async () => {},
    thread: { perform, [Symbol.asyncDispose]: async () => {} },
  });
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
const requested = (schema: JsonSchema, ownerId = "ann") => ({ ownerId, schema });

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
    expect(await open().checkInput(requested(schema), input)).toEqual(inProcess(input));
  });

  it("coerces alone, and checks single fields", async () => {
    const thread = open();
    const schema = object({ n: { type: "integer", maximum: 3 } });
    expect(await thread.coerced(requested(schema), { n: "42" })).toEqual({ n: 42 });
    expect(await thread.checkLiterals(requested(schema), { n: 2 })).toEqual([]);
    expect(await thread.checkLiterals(requested(schema), { n: 9 })).toEqual([
      expect.objectContaining({ loc: ["body", "n"], type: "less_than_equal" }),
    ]);
  });

  it("leaves the event loop to others while it compiles the heaviest schema", async () => {
    const thread = open();
    await thread.checkInput(requested(object({})), {});
    const checked = thread.checkInput(requested(heavy(120, 199)), {});
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
    const thread = open(1, async () => {});
    const late = { faults: [expect.objectContaining({ msg: expect.stringContaining("more than 1 ms") })] };
    const schema = heavy(120, 199);
    expect(await thread.checkInput(requested(schema), {})).toEqual(late);
    expect(await thread.faultOfInputSchema(requested(schema))).toEqual(late.faults[0]);
    expect(await thread.coerced(requested(schema), { n: "1" })).toEqual({ n: "1" });
  });

  it.each<[string, JsonSchema]>([
    ["leads nowhere", object({ a: { $ref: "#/nowhere" } })],
    ["has an impossible pattern", object({ a: { type: "string", pattern: "(" } })],
  ])("gives a fault for a schema that %s", async (_what, schema) => {
    const thread = open();
    expect(await thread.faultOfInputSchema(requested(schema))).toMatchObject({
      msg: expect.stringContaining("the workflow's input schema cannot be used: "),
    });
    expect(await thread.checkInput(requested(object({})), {})).toEqual({ input: {}, ignored: [] });
  });

  it("refuses an input that takes too long, and no other one of the same schema", async () => {
    const thread = openWith((task) => !task.value?.includes("slow"));
    const schema = object({ text: { type: "string" } });
    expect(await thread.checkInput(requested(schema, "bob"), { text: "slow" })).toEqual({
      faults: [expect.objectContaining({ msg: expect.stringContaining("this input takes more than") })],
    });
    expect(await thread.checkInput(requested(schema, "bob"), { text: "ab" })).toEqual(FITS);
    expect(await thread.checkInput(requested(schema), { text: "ab" })).toEqual(FITS);
  });

  it("compiles a schema once more in a new thread, whose memory nobody else has used", async () => {
    let isFull = false;
    const thread = openWith(() => {
      const fits = !isFull;
      isFull = false;
      return fits;
    });
    await thread.checkInput(requested(object({ other: {} }), "bob"), {});
    isFull = true;
    expect(await thread.checkInput(requested(object({})), {})).toEqual(FITS);
  });

  it("lets an owner rest whose check took long, and others go on", async () => {
    const rests: { ms: number; wake: () => void }[] = [];
    const thread = open(1, (ms) => new Promise((wake) => rests.push({ ms, wake })));
    const ended: string[] = [];
    const ask = (ownerId: string, schema: JsonSchema) =>
      thread.checkInput(requested(schema, ownerId), {}).then(() => ended.push(ownerId));
    await ask("ann", heavy(120, 199));
    expect(rests.map(({ ms }) => ms)).toEqual([LIMITS.turnRestFactor]);
    const second = ask("ann", heavy(120, 198));
    await ask("bob", heavy(120, 197));
    expect(ended).toEqual(["ann", "bob"]);
    rests[0]?.wake();
    await second;
    expect(ended).toEqual(["ann", "bob", "ann"]);
  });

  it("rejects the checks of an owner who rests when it ends", async () => {
    const thread = open(1, () => new Promise(() => {}));
    await thread.checkInput(requested(heavy(120, 199)), {});
    const waiting = thread.checkInput(requested(object({})), {});
    await thread[Symbol.asyncDispose]();
    await expect(waiting).rejects.toMatchObject({ code: "store_unavailable" });
  });

  it("takes turns between owners, and bounds the tasks of each", async () => {
    const thread = open();
    const ended: string[] = [];
    const ask = (ownerId: string) =>
      thread.checkInput(requested(object({}), ownerId), {}).then(() => ended.push(ownerId));
    const ann = Array.from({ length: LIMITS.schemaTasksWaitingMax + 1 }, () => ask("ann"));
    await expect(ask("ann")).rejects.toMatchObject({ code: "rate_limited" });
    await ask("bob");
    expect(ended.filter((owner) => owner === "ann").length).toBeLessThan(4);
    await Promise.all(ann);
  });
});
