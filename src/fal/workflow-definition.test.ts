import { describe, expect, it } from "vitest";
import type { Json, JsonObject } from "../core/json/json.ts";
import { LIMITS } from "../core/limits.ts";
import type { ParsedGraph } from "../core/pipelines/parsed-graph.ts";
import { readContents, readExecution } from "./workflow-definition.ts";

const run = (over: object = {}): Json => ({
  type: "run",
  depends: ["input"],
  app: "tempera/stub",
  input: { prompt: "$input.prompt" },
  ...over,
});
const contents = (nodes: object, over: object = {}): Json => ({
  name: "w",
  version: "1",
  nodes: nodes as Json,
  output: { text: "$a.echo" },
  schema: {
    input: { prompt: { name: "prompt", label: "Prompt", type: "string", required: true, modelId: "a" } },
    output: {},
  },
  ...over,
});
const read = (nodes: object, over: object = {}): ParsedGraph => {
  const parsed = readContents(contents(nodes, over), ["body", "contents"]);
  if ("faults" in parsed) throw new Error(JSON.stringify(parsed.faults));
  return parsed;
};
const faults = (raw: Json): string[] => {
  const parsed = readContents(raw, ["contents"]);
  return "faults" in parsed ? parsed.faults.map(({ loc, msg }) => `${loc.join("/")}: ${msg}`) : [];
};

/** Milliseconds of work done so far: what a busy machine takes away does not count. */
const workedMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

describe("the nodes of a definition", () => {
  it("reads run as model, display as output, and an input node as defaults", () => {
    const { nodes, input } = read({
      input: { id: "input", type: "input", depends: [], input: { prompt: "a fox", steps: 4 } },
      a: run({ type: "run" }),
      b: run({ type: "model", id: "b", depends: undefined }),
      shown: {
        type: "display",
        depends: ["a"],
        input: {},
        fields: { text: "$a.echo" },
        metadata: { position: { x: 1 } },
      },
      listed: { type: "output", depends: [], fields: ["$b.echo"] },
    });
    expect(nodes.map(({ id, endpoint, value, depends }) => [id, endpoint, value, depends])).toEqual([
      ["a", "tempera/stub", { prompt: "$input.prompt" }, ["input"]],
      ["b", "tempera/stub", { prompt: "$input.prompt" }, []],
      ["shown", undefined, { text: "$a.echo" }, ["a"]],
      ["listed", undefined, ["$b.echo"], []],
    ]);
    expect(input).toMatchObject({
      properties: { prompt: { type: "string", default: "a fox" }, steps: { default: 4 } },
      required: [],
    });
  });

  it("accepts names of any script, with hyphens", () => {
    const ids = ["node-image", "görüntü", "画像_1", "a--b", "1", "constructor"];
    expect(
      read({ a: run(), ...Object.fromEntries(ids.map((id) => [id, run()])) }).nodes.map(({ id }) => id),
    ).toEqual(expect.arrayContaining(ids));
  });

  it.each([
    [
      "a name that references cannot name",
      { "a.b": run() },
      "contents/nodes/a.b: Value error, 'a.b' cannot be the name of a node",
    ],
    ["no name", { "": run() }, "contents/nodes/: Value error, '' cannot be the name of a node"],
    ["a control character", { "a\u0000": run() }, "cannot be the name of a node"],
    [
      "a prototype",
      JSON.parse('{"__proto__": {"type": "run", "app": "tempera/stub"}}'),
      "cannot be the name of a node",
    ],
    ["a name without end", { [`n${"x".repeat(128)}`]: run() }, "a node's name has at most 128 characters"],
    [
      "the input's name",
      { input: run() },
      "contents/nodes/input: Value error, 'input' is the name of the caller's input",
    ],
    [
      "an id that is not the node's name",
      { a: run({ id: "b" }) },
      "contents/nodes/a/id: Value error, the id should be the node's name in the map, 'a'",
    ],
    [
      "another type",
      { a: run({ type: "loop" }) },
      "contents/nodes/a/type: Value error, a node's type should be 'run' or 'display'; it is 'loop'",
    ],
    ["no type", { a: { app: "tempera/stub" } }, "should be 'run' or 'display'; it has none"],
    ["no app", { a: { type: "run" } }, "contents/nodes/a/app: Field required"],
    [
      "an invalid app",
      { a: run({ app: "stub" }) },
      "contents/nodes/a/app: Value error, 'stub' cannot be the id of an endpoint",
    ],
    [
      "an input that is a reference",
      { a: run({ input: "$input" }) },
      "contents/nodes/a/input: Input should be a valid dictionary",
    ],
    [
      "a `depends` that is not a list",
      { a: run({ depends: "input" }) },
      "contents/nodes/a/depends: Input should be a valid list",
    ],
    [
      "a number in `depends`",
      { a: run({ depends: ["input", 3] }) },
      "contents/nodes/a/depends/1: Input should be a valid string",
    ],
    ["a node that is a string", { a: "run" }, "contents/nodes/a: Input should be a valid dictionary"],
    [
      "a definition without calls",
      { shown: { type: "display", fields: { a: "$input.a" } } },
      "has no node that calls a model",
    ],
  ])("refuses %s", (_what, nodes, message) => {
    expect(faults(contents(nodes)).join("\n")).toContain(message);
  });

  it("names every fault", () => {
    expect(faults(contents({ a: run({ app: 1, depends: 2 }), "b.c": run(), d: null }))).toHaveLength(4);
  });

  it("refuses too many nodes quickly", () => {
    const many = (count: number): Json =>
      contents(Object.fromEntries(Array.from({ length: count }, (_, i) => [`n${i}`, run()])));
    expect(faults(many(LIMITS.pipelineNodesMax))).toEqual([]);
    const begun = workedMs();
    expect(faults(many(10_000))).toEqual([
      "contents/nodes: Value error, the workflow has 10,000 nodes, more than the 500 that one may have; " +
        "split it into workflows that call one another",
    ]);
    expect(workedMs() - begun).toBeLessThan(1_500);
  });
});

describe("the input and output of a definition", () => {
  it("turns fields of every kind into a schema, in which an unknown type accepts any value", () => {
    const { input } = read(
      { a: run() },
      {
        schema: {
          input: {
            prompt: {
              name: "prompt",
              label: "Prompt",
              type: "string",
              required: true,
              description: "What to paint",
              modelId: "a",
            },
            images: { type: { kind: "list", elementType: "string" } },
            rows: {
              type: { kind: "list", elementType: { kind: "list", elementType: "integer" } },
              default: [],
            },
            look: { type: "style", required: true, default: "plain", enum: ["plain", "wild"] },
          },
        },
      },
    );
    expect(input).toEqual({
      type: "object",
      required: ["prompt"],
      "x-fal-order-properties": ["prompt", "images", "rows", "look"],
      properties: {
        prompt: { title: "Prompt", description: "What to paint", type: "string" },
        images: { type: "array", items: { type: "string" } },
        rows: { type: "array", items: { type: "array", items: { type: "integer" } }, default: [] },
        look: { default: "plain", enum: ["plain", "wild"] },
      },
    });
  });

  it("reads a JSON Schema of the SDK and resolves its references", () => {
    const schema = {
      title: "Input",
      type: "object",
      properties: {
        prompt: { title: "Prompt", type: "string", pattern: "(a+)+$" },
        size: { $ref: "#/definitions/Size" },
      },
      required: ["prompt"],
      definitions: { Size: { type: "object", properties: { width: { type: "integer" } } } },
    };
    expect(read({ a: run() }, { schema: { input: schema } }).input).toEqual({
      title: "Input",
      type: "object",
      properties: {
        prompt: { title: "Prompt", type: "string" },
        size: { type: "object", properties: { width: { type: "integer" } } },
      },
      required: ["prompt"],
    });
  });

  it.each<[string, (names: string[]) => JsonObject]>([
    ["required", (required) => ({ type: "object", required })],
    ["enum", (values) => ({ enum: values })],
    ["const", (values) => ({ const: { nested: values } })],
    ["default", (values) => ({ default: [[values]] })],
  ])("counts the entries of %s, those of all fields together", (_, schemaOf) => {
    const field = schemaOf(Array.from({ length: 199 }, (_, i) => `name${i}`));
    const of = (count: number) => {
      const properties = Object.fromEntries(Array.from({ length: count }, (_, i) => [`f${i}`, field]));
      return faults(contents({ a: run() }, { schema: { input: { type: "object", properties } } }));
    };
    expect(of(4)).toEqual([]);
    expect(of(100)).toEqual([
      "contents/schema/input: Value error, the input has more than 1000 names and values in required, " +
        "enum, const and default",
    ]);
  });

  it("refuses a schema that is large or contains itself, without following it", () => {
    const twice = (name: string): Json => ({
      anyOf: [{ $ref: `#/$defs/${name}` }, { $ref: `#/$defs/${name}` }],
    });
    const $defs = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`d${i}`, twice(`d${i + 1}`)]));
    const fields = (count: number): Json =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [`f${i}`, { type: "string" }]));
    const of = (input: Json) => faults(contents({ a: run() }, { schema: { input } }));
    const refusal = [
      "contents/schema/input: Value error, the input has more than 128 fields and parts of fields",
    ];
    const begun = workedMs();
    expect(of({ type: "object", properties: { x: { $ref: "#/$defs/d0" } }, $defs })).toEqual(refusal);
    expect(of(fields(129))).toEqual(refusal);
    expect(of(fields(128))).toEqual([]);
    expect(workedMs() - begun).toBeLessThan(1_500);
  });

  it("defaults the output to the display nodes: fields by name, a list by its node's name", () => {
    const nodes = {
      a: run(),
      shown: { type: "display", fields: { text: "$a.echo" } },
      more: { type: "display", fields: ["$a.seed", "$a.attempt"] },
    };
    expect(read(nodes, { output: undefined }).output).toEqual({
      text: "$a.echo",
      more: ["$a.seed", "$a.attempt"],
    });
    expect(read(nodes).output).toEqual({ text: "$a.echo" });
    expect(
      faults(contents({ ...nodes, again: { type: "display", fields: { text: "$a.seed" } } }, { output: {} })),
    ).toEqual(["contents/nodes/again/fields/text: Value error, another display node shows 'text' too"]);
    expect(faults(contents({ a: run() }, { output: undefined })).join()).toContain(
      "the workflow has no output",
    );
    expect(faults(contents({ a: run() }, { output: "$a" }))).toEqual([
      "contents/output: Input should be a valid dictionary",
    ]);
  });
});

describe("workflows/execute", () => {
  const workflow = { a: run(), shown: { type: "display", depends: ["a"], fields: { text: "$a.echo" } } };
  const execute = (body: Json) => {
    const read = readExecution(body);
    return "faults" in read ? read.faults.map(({ loc, msg }) => `${loc.join("/")}: ${msg}`) : read;
  };

  it("accepts the map of nodes, and contents as they are saved", () => {
    const input = { prompt: "a", rows: [[1]], nothing: null, size: { width: 1.5 } };
    expect(execute({ input, workflow })).toMatchObject({
      input,
      parsed: {
        output: { text: "$a.echo" },
        input: {
          additionalProperties: false,
          properties: {
            prompt: { type: "string" },
            rows: { type: "array" },
            nothing: { type: "null" },
            size: { properties: { width: { type: "number" } } },
          },
        },
      },
    });
    expect(execute({ input, workflow: contents({ a: run() }) })).toMatchObject({
      parsed: { output: { text: "$a.echo" } },
    });
    expect(execute({ workflow: { ...workflow, nodes: run() } })).toMatchObject({
      parsed: { nodes: [{ id: "a" }, { id: "shown" }, { id: "nodes" }] },
    });
  });

  it("fills in the fields that the caller leaves out from an input node", () => {
    const preset = { type: "input", input: { prompt: "preset", seed: 1 } };
    expect(execute({ input: { prompt: "given" }, workflow: { input: preset, ...workflow } })).toMatchObject({
      input: { prompt: "given", seed: 1 },
    });
  });

  it("accepts a field called __proto__", () => {
    const body = JSON.parse(
      '{"input": {"__proto__": {"a": 1}}, ' +
        '"workflow": {"i": {"type": "input", "input": {"__proto__": {"b": 2}, "c": 3}}}}',
    );
    Object.assign(body.workflow, workflow);
    const { input } = execute(body) as { input: object };
    expect(JSON.stringify(input)).toBe('{"c":3,"__proto__":{"a":1}}');
    expect(Object.getPrototypeOf(input)).toBe(Object.prototype);
    expect(({} as { b?: number }).b).toBeUndefined();
  });

  it.each([
    [[], "body: Input should be a valid dictionary"],
    [{ input: {} }, "body/workflow: Field required"],
    [{ input: "x", workflow }, "body/input: Input should be a valid dictionary"],
    [{ workflow: [] }, "body/workflow: Input should be a valid dictionary"],
    [{ workflow: {} }, "body/workflow: Value error, the workflow has no node that calls a model"],
  ])("refuses %j", (body, message) => expect(execute(body as Json)).toContain(message));
});
