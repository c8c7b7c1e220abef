/** Cases O: workflows, saved and ad-hoc. */
import type { Case } from "../case.ts";
import { type Context, STUB } from "../context.ts";
import { check, fails, same, status } from "../expect.ts";
import type { Json } from "../http.ts";

const EXECUTE = "workflows/execute";

const run = (input: Json, over: Json = {}): Json => ({
  type: "run",
  depends: ["input"],
  app: STUB,
  input,
  ...over,
});
const display = (fields: Json, depends: string[], type = "display"): Json => ({
  type,
  depends,
  input: {},
  fields,
});
const withIds = (nodes: Record<string, Json>): Json =>
  Object.fromEntries(Object.entries(nodes).map(([id, node]) => [id, { id, ...node }]));

/** Builds two nodes; the second takes the output of the first. */
const TWO = withIds({
  "node-first": run({ prompt: "$input.prompt" }),
  "node-second": run({ payload: { said: "$node-first.echo" } }, { depends: ["node-first"] }),
});

let made = 0;
const uniqueName = (): string => `conformance_${process.pid}_${Date.now().toString(36)}-${made++}`;

const save = (ctx: Context, nodes: Json, output: Json, over: Json = {}) =>
  ctx.call("/rest/workflows/", {
    method: "POST",
    body: {
      name: uniqueName(),
      title: "Conformance",
      is_public: false,
      contents: {
        name: "conformance",
        version: "0.1",
        nodes,
        output,
        schema: {
          input: { prompt: { name: "prompt", label: "Prompt", type: "string", modelId: "node-first" } },
          output: {},
        },
        ...over,
      },
    },
  });

/** Saves a workflow. Resolves to its endpoint. */
async function saved(ctx: Context, nodes: Json, output: Json): Promise<string> {
  const answer = status(await save(ctx, nodes, output), 201, "saving");
  const { user_id, name } = answer.json();
  return `workflows/${user_id}/${name}`;
}

/** Reads the whole stream of an ad-hoc workflow. Resolves to its events. */
const executed = async (ctx: Context, workflow: Json, input: Json = {}): Promise<Json[]> =>
  (await ctx.stream(`/run/${EXECUTE}/stream`, { method: "POST", body: { input, workflow } })).events;

/** Runs an ad-hoc workflow of one node with this payload. Resolves to its output. */
async function echoed(
  ctx: Context,
  payload: Json,
  input: Json,
  before: Record<string, Json> = {},
): Promise<Json> {
  const nodes = withIds({
    ...before,
    last: run({ payload }, { depends: ["input", ...Object.keys(before)] }),
    output: display({ said: "$last.echo" }, ["last"]),
  });
  const answer = await ctx.call(`/run/${EXECUTE}`, { method: "POST", body: { input, workflow: nodes } });
  return status(answer, 200, "the run").json().said;
}

export const cases: Case[] = [
  {
    number: 164,
    title: "a saved workflow by queue, run and stream",
    async run(ctx) {
      const endpoint = await saved(ctx, TWO, { text: "$node-second.echo.said", seed: "$node-first.seed" });
      const expected = "a fox";
      const input = { prompt: expected };
      const submitted = status(
        await ctx.call(`/queue/${endpoint}`, { method: "POST", body: input }),
        200,
        "submit",
      ).json();
      await ctx.stream(`/queue/${endpoint}/requests/${submitted.request_id}/status/stream`);
      same((await ctx.call(submitted.response_url)).json().text, expected, "the queue's result, bare");
      same(
        (await ctx.call(`/run/${endpoint}`, { method: "POST", body: input })).json().text,
        expected,
        "the run's answer, bare",
      );
      const { events } = await ctx.stream(`/run/${endpoint}/stream`, { method: "POST", body: input });
      same(events.at(-1)?.output?.text, expected, "the stream's output");
      same(
        ((await ctx.fal().subscribe(endpoint, { input })).data as Json).text,
        expected,
        "what JS subscribe gives",
      );
      same(((await ctx.fal().run(endpoint, { input })).data as Json).text, expected, "what JS run gives");
      status(
        await ctx.call(`/run/${endpoint}`, { method: "POST", body: { prompt: 1 } }),
        422,
        "an input that its schema refuses",
      );
      if (ctx.otherKey)
        status(
          await ctx.call(`/queue/${endpoint}`, { method: "POST", body: input, key: ctx.otherKey }),
          404,
          "another's private workflow",
        );
    },
  },
  {
    number: 165,
    title: "workflows/execute: input and workflow in one stream, and on queue and run",
    async run(ctx) {
      const workflow = {
        input: { id: "input", type: "input", depends: [], input: { prompt: "" } },
        ...TWO,
        output: display({ text: "$node-second.echo.said" }, ["node-second"]),
      };
      const input = { prompt: "a fox" };
      same(
        (await executed(ctx, workflow, input)).at(-1),
        { type: "output", output: { text: "a fox" } },
        "the stream's last event",
      );
      same(
        (await ctx.call(`/run/${EXECUTE}`, { method: "POST", body: { input, workflow } })).json(),
        { text: "a fox" },
        "the run's answer",
      );
      const submitted = status(
        await ctx.call(`/queue/${EXECUTE}`, { method: "POST", body: { input, workflow } }),
        200,
        "submit",
      ).json();
      await ctx.stream(`${submitted.status_url}/stream`);
      same((await ctx.call(submitted.response_url)).json(), { text: "a fox" }, "the queue's result");
    },
  },
  {
    number: 166,
    title: "submit and completion of each node; one output at the end, which is JS done()",
    async run(ctx) {
      const workflow = { ...TWO, output: display({ text: "$node-second.echo.said" }, ["node-second"]) };
      const stream = await ctx.fal().stream(EXECUTE, { input: { input: { prompt: "a fox" }, workflow } });
      const events: Json[] = [];
      for await (const event of stream) events.push(event);
      const done = (await stream.done()) as Json;
      same([done.type, done.output], ["output", { text: "a fox" }], "done()");
      same(
        events.map(({ type, node_id }) => [type, node_id].filter(Boolean).join(" ")),
        [
          "submit node-first",
          "completion node-first",
          "submit node-second",
          "completion node-second",
          "output",
        ],
        "the events",
      );
      const [submit, completion] = events;
      check(
        typeof submit.request_id === "string" && submit.request_id !== "",
        "a submit event has no request_id",
      );
      same([submit.app_id, completion.app_id], [STUB, STUB], "their apps");
      same(completion.output.echo, "a fox", "the output of a completion");
    },
  },
  {
    number: 167,
    title: "two independent nodes run in parallel",
    async run(ctx) {
      const slow = run({ delay_ms: 8_000 });
      const workflow = withIds({
        left: slow,
        right: slow,
        output: display({ l: "$left.attempt", r: "$right.attempt" }, ["left", "right"]),
      });
      const stream = await ctx.fal().stream(EXECUTE, { input: { input: {}, workflow } });
      const ids: string[] = [];
      for await (const event of stream as AsyncIterable<Json>) {
        check(event.type === "submit", `${event.type} came before both nodes were submitted`);
        if (ids.push(event.request_id) === 2) break;
      }
      const [left = "", right = ""] = ids;
      await ctx.running(left);
      await ctx.running(right);
      const states = await Promise.all(
        ids.map(async (id) => (await ctx.call(ctx.at(id, "/status"))).json().status),
      );
      same(states, ["IN_PROGRESS", "IN_PROGRESS"], "their states at one moment");
    },
  },
  {
    number: 168,
    title: "$node.images.0.url resolves, also inside lists and objects",
    async run(ctx) {
      const images = [{ url: "https://example.com/a.png", width: 8 }];
      const first = { first: run({ payload: { images: "$input.images" } }) };
      const payload = {
        url: "$first.echo.images.0.url",
        deep: [{ list: ["$first.echo.images.0.width", "$input.images"] }],
        whole: "$first.echo",
      };
      same(
        await echoed(ctx, payload, { images }, first),
        { url: images[0]?.url, deep: [{ list: [8, images] }], whole: { images } },
        "what the node was given",
      );
      const lost = await executed(
        ctx,
        withIds({
          ...first,
          last: run({ payload: "$first.echo.images.1.url" }),
          output: display({ x: "$last.echo" }, []),
        }),
        { images },
      );
      const end = lost.at(-1);
      same(
        [end?.type, end?.node_id, end?.error?.status],
        ["error", "last", 422],
        "the end of one whose reference leads nowhere",
      );
    },
  },
  {
    number: 169,
    title: "a reference is the whole string: 'a $input.x' is not changed",
    async run(ctx) {
      const payload = { a: "a $input.x", b: "$input.x ", c: "$input.x" };
      const refused = await ctx.call(`/run/${EXECUTE}`, {
        method: "POST",
        body: {
          input: { x: "y" },
          workflow: withIds({ a: run({ payload }), output: display({ x: "$a.echo" }, ["a"]) }),
        },
      });
      status(refused, 422, "a string that begins with $ and is no reference");
      same(
        await echoed(ctx, { a: payload.a, c: payload.c }, { x: "$5" }),
        { a: payload.a, c: "$5" },
        "what the node was given",
      );
    },
  },
  {
    number: 170,
    title:
      "a failed node: an error event with its status and body, then a clean end; " +
      "the same status and body on run and queue",
    async run(ctx) {
      const failing = run({ fail: "model", error_type: "generation_timeout" });
      const workflow = withIds({
        good: run({}),
        "bad-node": { ...failing, depends: ["good"] },
        never: run({ payload: "$bad-node.echo" }),
        output: display({ x: "$never.echo" }, ["never"]),
      });
      const events = await executed(ctx, workflow);
      const alone = status(
        await ctx.call(`/run/${STUB}`, { method: "POST", body: failing.input }),
        504,
        "the model alone",
      );
      const end = events.at(-1);
      same([end?.type, end?.node_id, typeof end?.message], ["error", "bad-node", "string"], "the last event");
      same(end?.error, { status: 504, body: alone.json() }, "its error");
      same(
        events.filter(({ type }) => type === "completion").map(({ node_id }) => node_id),
        ["good"],
        "completions",
      );
      check(
        !events.some(({ type, node_id }) => type === "output" || node_id === "never"),
        "something happened after the failure",
      );
      const response = status(
        await ctx.call(`/run/${EXECUTE}`, { method: "POST", body: { input: {}, workflow } }),
        504,
        "the run",
      );
      same(response.json(), alone.json(), "the run's body");
      const { request_id, response_url } = (
        await ctx.call(`/queue/${EXECUTE}`, { method: "POST", body: { input: {}, workflow } })
      ).json();
      await ctx.stream(`/queue/${EXECUTE}/requests/${request_id}/status/stream`);
      same(status(await ctx.call(response_url), 504, "the result").json(), alone.json(), "the result's body");
    },
  },
  {
    number: 171,
    title: "a cycle or an unknown dependency: 422 on creation",
    async run(ctx) {
      const faulty: [string, Record<string, Json>, RegExp][] = [
        ["a cycle", { a: run({ payload: "$b.echo" }), b: run({}, { depends: ["a"] }) }, /'a'.*'b'|'b'.*'a'/],
        ["a node that waits for itself", { a: run({}, { depends: ["a"] }) }, /'a'/],
        ["an unknown dependency", { a: run({}, { depends: ["gone"] }) }, /gone/],
        ["an unknown reference", { a: run({ payload: "$gone.echo" }) }, /gone/],
        ["an unknown endpoint", { a: run({}, { app: "nobody/nothing" }) }, /nobody\/nothing/],
      ];
      for (const [what, nodes, message] of faulty) {
        const { detail } = status(await save(ctx, withIds(nodes), { x: "$a.echo" }), 422, what).json();
        check(
          Array.isArray(detail) &&
            detail.some(({ loc, msg }: Json) => message.test(msg) && loc[0] === "body"),
          `${what} is not named: ${JSON.stringify(detail)}`,
        );
        const adhoc = { ...withIds(nodes), output: display({ x: "$a.echo" }, []) };
        status(
          await ctx.call(`/run/${EXECUTE}/stream`, { method: "POST", body: { input: {}, workflow: adhoc } }),
          422,
          `${what}, ad-hoc`,
        );
      }
      const both = withIds({ ...faulty[0]?.[1], c: run({}, { depends: ["gone"] }) });
      same(
        status(await save(ctx, both, { x: "$a.echo" }), 422, "two faults").json().detail.length,
        2,
        "faults named together",
      );
      const error = await fails(ctx.fal().run(EXECUTE, { input: { input: {}, workflow: both } }), "JS run");
      same(error.status, 422, "what JS throws");
    },
  },
  {
    number: 172,
    title: "node ids with hyphens, fields as a map and as a list, the node types model and output",
    async run(ctx) {
      const nodes = withIds({
        "a-b-c": run({ prompt: "one" }, { type: "model" }),
        "görüntü-1": run({ payload: "$a-b-c.echo" }, { type: "model", depends: ["a-b-c"] }),
        shown: display({ text: "$görüntü-1.echo" }, ["görüntü-1"], "output"),
        listed: display(["$a-b-c.echo", "$a-b-c.attempt"], ["a-b-c"]),
      });
      same(
        (await executed(ctx, nodes)).at(-1)?.output,
        { text: "one", listed: ["one", 1] },
        "what the displays show",
      );
      const endpoint = await saved(ctx, nodes, { text: "$görüntü-1.echo" });
      same(
        (await ctx.call(`/run/${endpoint}`, { method: "POST", body: {} })).json(),
        { text: "one" },
        "what the saved one answers",
      );
    },
  },
  {
    number: 173,
    title: "each node's request_id is a request on the queue API",
    async run(ctx) {
      const events = await executed(
        ctx,
        { ...TWO, output: display({ text: "$node-second.echo" }, ["node-second"]) },
        { prompt: "a fox" },
      );
      const submits = events.filter(({ type }) => type === "submit");
      same(new Set(submits.map(({ request_id }) => request_id)).size, 2, "different request ids");
      for (const { request_id, node_id } of submits) {
        same(
          status(await ctx.call(ctx.at(request_id, "/status")), 200, "its status").json().status,
          "COMPLETED",
          "its state",
        );
        const output = status(await ctx.call(ctx.at(request_id)), 200, "its result").json();
        same(
          output,
          events.find((event) => event.type === "completion" && event.node_id === node_id)?.output,
          "its result",
        );
        if (ctx.otherKey)
          status(await ctx.call(ctx.at(request_id, "/status"), { key: ctx.otherKey }), 404, "to another");
      }
    },
  },
];
