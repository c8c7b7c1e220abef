import { describe, expect, it } from "vitest";
import type { JsonObject, Stored } from "../core/json/json.ts";
import type { Graph, GraphNode } from "../core/pipelines/pipeline.ts";
import { failureOutcome } from "./pipeline-errors.ts";
import type { PipelineNodes } from "./pipeline-nodes.ts";
import { runGraph } from "./run-graph.ts";

const read = async (stored: Stored<JsonObject>): Promise<JsonObject> =>
  "inline" in stored ? stored.inline : {};

/** Nodes that end when the test ends them; `started` are the nodes that were run, in their order. */
function createNodes() {
  const started: { id: string; input: JsonObject }[] = [];
  const ends = new Map<string, { done(output: JsonObject): void; fail(error: Error): void }>();
  const refused: { id: string; faults: unknown }[] = [];
  const nodes = {
    read,
    run: (_endpoint: string, input: JsonObject, id: string) =>
      new Promise<Stored<JsonObject>>((resolve, reject) => {
        started.push({ id, input });
        ends.set(id, { done: (output) => resolve({ inline: output }), fail: reject });
      }),
    refuse: async (_endpoint: string, _input: JsonObject, id: string, faults: unknown) => {
      refused.push({ id, faults });
      throw new Error(`${id} was refused`);
    },
  } as unknown as PipelineNodes;
  const settled = () => new Promise((resolve) => setImmediate(resolve));
  const end = async (id: string, output: JsonObject): Promise<void> => {
    ends.get(id)?.done(output);
    await settled();
  };
  return { nodes, started, ends, refused, settled, end };
}

const node = (id: string, depends: string[], input: JsonObject = {}): GraphNode => ({
  id,
  endpoint: "a/b",
  input,
  depends,
});

describe("a graph", () => {
  it("starts each node when its dependencies have ended, and no sooner", async () => {
    const { nodes, started, settled, end } = createNodes();
    const graph: Graph = {
      nodes: [
        node("a", [], { prompt: "$input.prompt" }),
        node("b", ["a"], { image: "$a.images.0.url" }),
        node("c", []),
        node("d", ["b", "c"], { list: ["$b.x", { deep: "$c.y" }] }),
        node("e", ["a"]),
      ],
      output: { result: "$d.z", all: ["$a.images"] },
    };
    const result = runGraph(graph, { prompt: "hello" }, nodes);
    await settled();
    expect(started.map(({ id }) => id)).toEqual(["a", "c"]);
    await end("a", { images: [{ url: "u" }] });
    expect(started.slice(2).sort((one, other) => (one.id < other.id ? -1 : 1))).toEqual([
      { id: "b", input: { image: "u" } },
      { id: "e", input: {} },
    ]);
    await end("b", { x: 1 });
    expect(started).toHaveLength(4);
    await end("c", { y: "$not a reference, since it is a value" });
    expect(started.at(-1)).toEqual({
      id: "d",
      input: { list: [1, { deep: "$not a reference, since it is a value" }] },
    });
    await end("d", { z: true });
    await end("e", {});
    expect(await result).toEqual({ result: true, all: [[{ url: "u" }]] });
  });

  it("fails a node with 422 and the name of the reference that leads nowhere", async () => {
    const { nodes, started, refused, settled, end } = createNodes();
    const graph: Graph = {
      nodes: [node("a", []), node("b", ["a"], { image: { url: "$a.images.1.url" } })],
      output: {},
    };
    const result = runGraph(graph, {}, nodes);
    result.catch(() => {});
    await settled();
    await end("a", { images: [] });
    await expect(result).rejects.toThrow("b was refused");
    expect(started).toHaveLength(1);
    expect(refused).toMatchObject([
      {
        id: "b",
        faults: [
          {
            loc: ["body", "image", "url"],
            ctx: { reference: "$a.images.1.url" },
            msg: expect.stringContaining("leads nowhere"),
          },
        ],
      },
    ]);
  });

  it("ends with its first failure and never starts the nodes that depend on the failed one", async () => {
    const { nodes, started, ends, settled } = createNodes();
    const result = runGraph(
      { nodes: [node("a", []), node("b", ["a"]), node("c", [])], output: {} },
      {},
      nodes,
    );
    result.catch(() => {});
    await settled();
    ends.get("a")?.fail(new Error("a failed"));
    await expect(result).rejects.toThrow("a failed");
    expect(started.map(({ id }) => id)).toEqual(["a", "c"]);
  });

  it("fails the pipeline, not a node, with 422 when its output cannot be made", async () => {
    const { nodes, settled, end } = createNodes();
    const result = runGraph({ nodes: [node("a", [])], output: { x: "$a.missing" } }, {}, nodes);
    result.catch(() => {});
    await settled();
    await end("a", {});
    const { outcome } = failureOutcome(await result.catch((error) => error));
    expect(outcome).toMatchObject({ error: { code: "input_invalid", faults: [{ loc: ["output", "x"] }] } });
    expect(outcome).not.toHaveProperty("node");
  });

  it("runs five hundred nodes in a chain", async () => {
    const chain = Array.from({ length: 500 }, (_, i) =>
      node(`n${i}`, i === 0 ? [] : [`n${i - 1}`], i === 0 ? {} : { before: `$n${i - 1}.i` }),
    );
    let i = 0;
    const nodes = { read, run: async () => ({ inline: { i: i++ } }) } as unknown as PipelineNodes;
    expect(await runGraph({ nodes: chain, output: { last: "$n499.i" } }, {}, nodes)).toEqual({ last: 499 });
  });
});
