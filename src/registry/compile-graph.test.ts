import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { isObject, type Json, type JsonObject } from "../core/json/json.ts";
import type { JsonSchema } from "../core/models/model.ts";
import type { CompiledGraph } from "../core/pipelines/parsed-graph.ts";
import { readContents } from "../fal/workflow-definition.ts";
import { type Callable, createCompileGraph, type FindCallable } from "./compile-graph.ts";
import { SchemaThread } from "./schema-thread/schema-thread.ts";

const schemas = (model: string): Callable => {
  const read = (part: string): JsonSchema =>
    JSON.parse(
      readFileSync(join(import.meta.dirname, `../../schemas/models/${model}/1.0.0/${part}.json`), "utf8"),
    );
  return { input: read("input"), output: read("output") };
};
const models: Record<string, Callable> = Object.fromEntries(
  ["tempera/stub", "fal-ai/qwen-image", "fal-ai/wan/v2.2-a14b/image-to-video", "fal-ai/mmaudio-v2"].map(
    (id) => [id, schemas(id)],
  ),
);
const find: FindCallable = (endpoint) => models[endpoint] ?? { fault: `there is no '${endpoint}'` };

/** Milliseconds of work done so far: what a busy machine takes away does not count. */
const workedMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

const compileGraph = createCompileGraph(new SchemaThread());
interface Written {
  nodes: JsonObject;
  output?: Json;
  input?: Json;
}
const compile = (
  { nodes, output = { x: "$input.prompt" }, input = { prompt: { type: "string" } } }: Written,
  by = find,
) => {
  const parsed = readContents({ nodes, output, schema: { input } }, []);
  if ("faults" in parsed) throw new Error(JSON.stringify(parsed.faults));
  return compileGraph(parsed, by);
};
const compiled = async (written: Written, by = find): Promise<CompiledGraph> => {
  const made = await compile(written, by);
  if ("faults" in made) throw new Error(JSON.stringify(made.faults));
  return made;
};
const faults = async (written: Written, by = find): Promise<string[]> => {
  const made = await compile(written, by);
  return "faults" in made
    ? made.faults.map(({ loc, msg }) => `${loc.join("/")}: ${msg.replace("Value error, ", "")}`)
    : [];
};

const stub = (input: JsonObject = {}, over: JsonObject = {}): JsonObject => ({
  type: "run",
  app: "tempera/stub",
  depends: [],
  input,
  ...over,
});
const image = (input: JsonObject = { prompt: "$input.prompt" }): JsonObject => ({
  type: "run",
  app: "fal-ai/qwen-image",
  input,
});
const video = (input: JsonObject): JsonObject => ({
  type: "run",
  app: "fal-ai/wan/v2.2-a14b/image-to-video",
  input: { prompt: "x", ...input },
});

describe("a graph", () => {
  it("sorts its nodes, each with the calls it waits for: declared, referenced, by a display", async () => {
    const { graph, calls } = await compiled({
      nodes: {
        last: stub({ payload: { deep: [{ url: "$video.video.url" }] } }, { depends: ["shown"] }),
        shown: {
          type: "display",
          depends: ["input"],
          fields: { image: "$image.images.0.url", also: "$first.echo" },
        },
        video: video({ image_url: "$image.images.0.url" }),
        image: image(),
        first: stub({ prompt: "a $input.prompt" }, { depends: ["input"] }),
      },
      output: { video: "$video.video", text: "no reference: $5" },
    });
    expect(graph.nodes.map(({ id, endpoint, depends }) => [id, endpoint, depends])).toEqual([
      ["image", "fal-ai/qwen-image", []],
      ["first", "tempera/stub", []],
      ["video", "fal-ai/wan/v2.2-a14b/image-to-video", ["image"]],
      ["last", "tempera/stub", expect.arrayContaining(["video", "image", "first"])],
    ]);
    expect(graph.nodes[1]?.input).toEqual({ prompt: "a $input.prompt" });
    expect(calls.toSorted()).toEqual([
      "fal-ai/qwen-image",
      "fal-ai/wan/v2.2-a14b/image-to-video",
      "tempera/stub",
    ]);
  });

  it("derives its output schema from its sources, without references", async () => {
    const { schemas } = await compiled({
      nodes: { image: image(), video: video({ image_url: "$image.images.0.url" }) },
      output: { video: "$video.video", size: { width: "$image.images.0.width" }, note: "fixed" },
    });
    expect(schemas.output).toMatchObject({
      type: "object",
      required: ["video", "size", "note"],
      properties: {
        video: { type: "object", properties: { url: { type: "string" } } },
        size: { type: "object", properties: { width: { type: "integer" } } },
        note: { type: "string" },
      },
    });
    expect(JSON.stringify(schemas.output)).not.toContain("$ref");
  });

  it("waits for nodes with names of any script and with hyphens", async () => {
    const { graph } = await compiled({
      nodes: {
        "画像-1": stub(),
        "a-b": stub({ payload: "$画像-1.echo" }),
        görüntü: stub({ payload: "$a-b.echo.größe" }),
      },
      output: { x: "$görüntü.echo" },
    });
    expect(graph.nodes.map(({ id }) => id)).toEqual(["画像-1", "a-b", "görüntü"]);
  });
});

describe("a graph is refused for", () => {
  it.each<[string, Written, string]>([
    [
      "an unknown endpoint",
      { nodes: { a: stub({}, { app: "fal-ai/nothing" }) } },
      "nodes/a/app: there is no 'fal-ai/nothing'",
    ],
    [
      "a node that waits for none",
      { nodes: { a: stub({}, { depends: ["b"] }) } },
      "nodes/a/depends/0: there is no node 'b'",
    ],
    [
      "a reference to no node",
      { nodes: { a: stub({ payload: ["$b.echo"] }) } },
      "nodes/a/input/payload/0: '$b.echo' leads nowhere: there is no node 'b'",
    ],
    [
      "the output from no node",
      { nodes: { a: stub() }, output: { x: { y: "$b" } } },
      "output/x/y: '$b' leads nowhere: there is no node 'b'",
    ],
    [
      "a field that a model's output lacks",
      { nodes: { a: stub(), b: stub({ payload: "$a.images.0" }) } },
      "nodes/b/input/payload: '$a.images.0' leads nowhere: $a is an object without a field 'images'",
    ],
    [
      "a place in what is no list",
      { nodes: { a: image(), b: stub({ payload: "$a.images.0.url.0" }) } },
      "nodes/b/input/payload: '$a.images.0.url.0' leads nowhere: $a.images.0.url " +
        "is a string without an item 0",
    ],
    [
      "a field of a list",
      { nodes: { a: image(), b: stub({ payload: "$a.images.url" }) } },
      "'$a.images.url' leads nowhere: $a.images is a list of objects without a field 'url'",
    ],
    [
      "an input that is not declared",
      { nodes: { a: stub({ prompt: "$input.text" }) } },
      "'$input.text' leads nowhere: the input is an object without a field 'text'",
    ],
    [
      "a reference to a display",
      {
        nodes: { a: stub(), d: { type: "display", fields: { x: "$a.echo" } }, b: stub({ payload: "$d.x" }) },
      },
      "'$d.x' leads nowhere: the node 'd' shows values and has none of its own",
    ],
    [
      "text that begins with $",
      { nodes: { a: stub({ prompt: "$5 off" }) } },
      'nodes/a/input/prompt: "$5 off"',
    ],
    [
      "a reference with a hole",
      { nodes: { a: stub({ prompt: "$input..x" }) } },
      'nodes/a/input/prompt: "$input..x" has ""',
    ],
    [
      "a required input that nothing feeds",
      { nodes: { a: { type: "run", app: "fal-ai/mmaudio-v2", input: { prompt: "x" } } } },
      "nodes/a/input/video_url: Field required",
    ],
    [
      "a list where a string belongs",
      { nodes: { a: image(), b: video({ image_url: "$a.images" }) } },
      "nodes/b/input/image_url: '$a.images' is a list of objects, but this field takes a string; " +
        "'$a.images.0.url' would fit",
    ],
    [
      "a file where its address belongs",
      { nodes: { a: image(), b: video({ image_url: "$a.images.0" }) } },
      "nodes/b/input/image_url: '$a.images.0' is an object, but this field takes a string; " +
        "'$a.images.0.url' would fit",
    ],
    [
      "a number where a string belongs",
      { nodes: { a: image(), b: image({ prompt: "$a.seed" }) } },
      "'$a.seed' is an integer, but this field takes a string",
    ],
    [
      "a string where a number belongs",
      { nodes: { a: stub({ delay_ms: "$input.prompt" }) } },
      "nodes/a/input/delay_ms: '$input.prompt' is a string, but this field takes an integer",
    ],
    [
      "a list where a string belongs, around an address",
      { nodes: { a: image(), b: video({ image_url: ["$a.images.0.url"] }) } },
      "nodes/b/input/image_url: this is a list, but this field takes a string",
    ],
    [
      "a literal value that does not fit",
      { nodes: { a: stub({ steps: -1, prompt: "$input.prompt" }) } },
      "nodes/a/input/steps: Input should be greater than or equal to 0",
    ],
    [
      "a node that waits for itself",
      { nodes: { a: stub({ payload: "$a.echo" }) } },
      "nodes/a/depends: the nodes wait for one another: 'a' waits for 'a'",
    ],
    [
      "a cycle through a display",
      {
        nodes: {
          a: stub({}, { depends: ["d"] }),
          d: { type: "display", fields: { x: "$b.echo" } },
          b: stub({ payload: "$a.echo" }),
          c: stub({ payload: "$b.echo" }),
        },
      },
      "nodes/a/depends: the nodes wait for one another: 'a' waits for 'd' waits for 'b' waits for 'a'",
    ],
  ])("%s", async (_what, written, message) => {
    const found = await faults(written);
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(message);
  });

  it("each cycle once, with the other faults", async () => {
    const written = {
      nodes: {
        a: stub({ payload: "$b.echo" }),
        b: stub({ payload: "$a.echo" }),
        c: stub({ payload: "$d.echo" }),
        d: stub({ payload: "$c.echo" }),
        e: stub({ payload: ["$a.echo", "$c.echo"], steps: "many" }, { depends: ["f"] }),
      },
      output: { x: "$nobody.x" },
    };
    expect(await faults(written)).toEqual([
      "nodes/e/depends/0: there is no node 'f'",
      "output/x: '$nobody.x' leads nowhere: there is no node 'nobody'",
      "nodes/e/input/steps: Input should be a valid integer",
      "nodes/a/depends: the nodes wait for one another: 'a' waits for 'b' waits for 'a'",
      "nodes/c/depends: the nodes wait for one another: 'c' waits for 'd' waits for 'c'",
    ]);
  });
});

describe("left to the run, where schemas leave it open", () => {
  const of = (output: JsonSchema, into: JsonSchema): Promise<string[]> => {
    const by: FindCallable = (id) =>
      id === "x/from"
        ? { input: {}, output: { type: "object", properties: { v: output } } }
        : { input: { type: "object", properties: { v: into } }, output: {} };
    return faults(
      {
        nodes: { a: { type: "run", app: "x/from" }, b: { type: "run", app: "x/into", input: { v: "$a.v" } } },
      },
      by,
    );
  };

  it.each<[string, JsonSchema, JsonSchema]>([
    ["an open output", {}, { type: "string" }],
    ["an open input", { type: "array" }, {}],
    ["what may be absent", { anyOf: [{ type: "string" }, { type: "null" }] }, { type: "string" }],
    ["a number that may be whole", { type: "number" }, { type: "integer" }],
    [
      "a union with one that fits",
      { type: "string" },
      { anyOf: [{ type: "object" }, { $ref: "#/nowhere" }] },
    ],
    ["lists of nobody knows what", { type: "array" }, { type: "array", items: { type: "string" } }],
    ["text that may be one of few", { type: "string" }, { enum: ["a", "b"] }],
    [
      "an object with what is wanted",
      { type: "object", properties: { url: { type: "string" }, x: {} } },
      { type: "object", required: ["url"], properties: { url: { type: "string" } } },
    ],
  ])("%s", async (_what, output, into) => expect(await of(output, into)).toEqual([]));

  it.each<[string, JsonSchema, JsonSchema]>([
    [
      "a list of objects for one of strings",
      { type: "array", items: { type: "object" } },
      { type: "array", items: { type: "string" } },
    ],
    [
      "an object without what is wanted",
      { type: "object", properties: { x: {} } },
      { type: "object", required: ["url"], properties: { url: {} } },
    ],
    [
      "an object with another kind of it",
      { type: "object", properties: { url: { type: "integer" } } },
      { type: "object", required: ["url"], properties: { url: { type: "string" } } },
    ],
    ["other words than are taken", { enum: ["x"] }, { type: "string", enum: ["a", "b"] }],
    ["never anything", { type: "null" }, { type: "string" }],
  ])("but not %s", async (_what, output, into) => expect(await of(output, into)).toHaveLength(1));

  it("bounds the time for schemas that contain themselves or branch without end", async () => {
    const tree: JsonSchema = {
      $defs: { t: { type: "object", required: ["t"], properties: { t: { $ref: "#/$defs/t" } } } },
      properties: { v: { $ref: "#/$defs/t" } },
    };
    const wide: JsonSchema = {
      properties: {
        v: {
          anyOf: Array.from({ length: 60 }, (_, i) => ({
            type: "array",
            items: { anyOf: Array.from({ length: 60 }, (_, j) => ({ const: i * 100 + j })) },
          })),
        },
      },
    };
    for (const schema of [tree, wide]) {
      const by: FindCallable = () => ({ input: schema, output: schema });
      const begun = workedMs();
      expect(
        await faults(
          {
            nodes: { a: stub({ v: "$input.v" }), b: stub({ v: "$a.v" }) },
            input: { v: {} },
            output: { x: "$b.v" },
          },
          by,
        ),
      ).toEqual([]);
      expect(workedMs() - begun).toBeLessThan(1_500);
    }
  });

  it("compiles a graph of the largest size quickly", async () => {
    const nodes: JsonObject = {};
    for (let i = 0; i < 500; i++)
      nodes[`n${i}`] = stub(
        i === 0 ? { steps: 1 } : { payload: { all: [`$n${i - 1}.echo`, `$n${i >> 1}.seed`] }, steps: i },
      );
    const begun = workedMs();
    expect((await compiled({ nodes })).graph.nodes).toHaveLength(500);
    expect(workedMs() - begun).toBeLessThan(4_000);
  });

  it("compiles or refuses any definition, and locates every fault", async () => {
    const whole: JsonObject = {
      nodes: {
        input: { type: "input", input: { prompt: "x" } },
        image: image(),
        video: video({ image_url: "$image.images.0.url" }),
        shown: {
          type: "display",
          depends: ["video"],
          fields: { video: "$video.video", list: ["$image.images"] },
        },
      },
      output: { video: "$video.video" },
      schema: {
        input: { prompt: { type: { kind: "list", elementType: "string" }, required: true } },
        output: { video: { label: "Video" } },
      },
    };
    const odd: Json[] = [
      null,
      true,
      -1,
      1e308,
      "",
      "$",
      "$input",
      "$image.images.0",
      "input",
      "video",
      [],
      [[]],
      ["$video"],
      {},
      { $ref: "#" },
      { type: 1 },
      { required: 3, enum: [] },
    ];
    let state = 7;
    const below = (bound: number): number => {
      state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
      return Math.floor((state / 2 ** 31) * bound);
    };
    const positions = (value: Json): [JsonObject | Json[], string | number][] =>
      typeof value !== "object" || value === null
        ? []
        : (Object.entries(value) as [string, Json][]).flatMap(([name, inner]) => [
            [value, name] as [JsonObject, string],
            ...positions(inner),
          ]);
    let compiledCount = 0;
    for (let round = 0; round < 3_000; round++) {
      const spoiled = structuredClone(whole);
      for (let change = below(3); change >= 0; change--) {
        const all = positions(spoiled);
        const [parent, name] = all[below(all.length)] as [JsonObject, string];
        parent[name] = structuredClone(odd[below(odd.length)] as Json);
      }
      const parsed = readContents(spoiled, ["body"]);
      const made = "faults" in parsed ? parsed : await compileGraph(parsed, find);
      if (!("faults" in made)) compiledCount += 1;
      else {
        expect(made.faults.length).toBeGreaterThan(0);
        for (const { loc, msg, type } of made.faults)
          expect([loc[0], typeof msg, typeof type]).toEqual(["body", "string", "string"]);
      }
    }
    expect(compiledCount).toBeGreaterThan(0);
  });

  it("does not change the definition", async () => {
    const nodes = { a: stub({ error_ctx: {} }) };
    const before = structuredClone(nodes);
    await compiled({ nodes });
    expect(nodes).toEqual(before);
    expect(isObject(nodes.a)).toBe(true);
  });
});
