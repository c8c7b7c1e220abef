/** Cases H and I: sync runs and streams. */
import { randomInt, randomUUID } from "node:crypto";
import { ValidationError } from "@fal-ai/client";
import { type Case, notApplicable } from "../case.ts";
import { type Context, STUB } from "../context.ts";
import { check, detail, fails, matches, same, status } from "../expect.ts";
import { startForwarder } from "../forwarder.ts";
import type { Json } from "../http.ts";
import { checkAscii } from "../sse.ts";

const run = (ctx: Context, input: Json, headers: Record<string, string> = {}) =>
  ctx.call(`/run/${STUB}`, { method: "POST", body: input, headers });
const stream = (ctx: Context, input: Json, headers: Record<string, string> = {}) =>
  ctx.stream(`/run/${STUB}/stream`, { method: "POST", body: input, headers });

/** Starts a run of the stub, disconnects from it, and resolves to its last queue status. */
async function leave(ctx: Context, path: string): Promise<string> {
  const between = await startForwarder(ctx.url);
  const leaving = new AbortController();
  try {
    const { open } = await import("../http.ts");
    // The headers of a stream contain the request's id; the id of a sync run is unknown before its end. So
    // the request is cancelled through a stream.
    const response = await open(`${between.url}${path}`, {
      method: "POST",
      body: { delay_ms: 60_000, steps: 600 },
      headers: { authorization: `Key ${ctx.key}` },
      signal: leaving.signal,
    });
    response.on("error", () => {});
    const id = String(response.headers["x-fal-request-id"]);
    await ctx.running(id);
    leaving.abort();
    return id;
  } finally {
    await between.close();
  }
}

export const cases: Case[] = [
  {
    number: 81,
    title: "JS run: data, and the header's request id",
    async run(ctx) {
      const between = await startForwarder(ctx.url, { change: (answer) => answer });
      try {
        const { data, requestId } = await ctx.fal(between.url).run(STUB, { input: { prompt: "x" } });
        same((data as Json).echo, "x", "data");
        status(await ctx.call(ctx.at(requestId)), 200, "the request that the id names");
      } finally {
        await between.close();
      }
    },
  },
  {
    number: 82,
    title: "JS run with method GET: the query is the input",
    run: async (ctx) =>
      same(
        ((await ctx.fal().run(STUB, { input: { prompt: "by query", seed: 3 }, method: "get" })).data as Json)
          .echo,
        "by query",
        "the output",
      ),
  },
  {
    number: 83,
    title: "every response has x-fal-request-id",
    async run(ctx) {
      const answers = [
        [200, await run(ctx, {})],
        [401, await ctx.call(`/run/${STUB}`, { method: "POST", body: {}, key: false })],
        [404, await ctx.call("/run/nobody/nothing", { method: "POST", body: {} })],
        [422, await run(ctx, { steps: -1 })],
        [500, await run(ctx, { fail: "error" })],
        [405, await ctx.call(`/run/${STUB}`, { method: "DELETE" })],
      ] as const;
      for (const [code, answer] of answers) {
        status(answer, code, String(code));
        check(answer.header("x-fal-request-id"), `${code} has no x-fal-request-id`);
      }
    },
  },
  {
    number: 84,
    title: "a caller who disconnects from a sync run cancels it",
    alone: true,
    needs: ["adminKey"],
    async run(ctx) {
      // The id of a sync run comes only with its response; the check is that its slot is free again long
      // before the run would have ended.
      const leaving = new AbortController();
      const many = Array.from({ length: 64 }, () =>
        ctx
          .call(`/run/${STUB}`, {
            method: "POST",
            body: { delay_ms: 120_000, steps: 1000 },
            signal: leaving.signal,
          })
          .catch(() => {}),
      );
      const { request_id: blocked } = await ctx.submit({});
      while (
        (await ctx.call(ctx.at(blocked, "/status"))).json().status !== "COMPLETED" &&
        !leaving.signal.aborted
      ) {
        const { request_id: probe } = await ctx.submit({});
        await new Promise((wait) => setTimeout(wait, 500));
        const still = (await ctx.call(ctx.at(probe, "/status"))).json().status === "IN_QUEUE";
        if (still) leaving.abort();
      }
      if (!leaving.signal.aborted) {
        await new Promise((wait) => setTimeout(wait, 2_000));
        leaving.abort();
      }
      await Promise.all(many);
      const { request_id: after } = await ctx.submit({});
      same((await ctx.ended(after)).status, "COMPLETED", "a request that needed one of their slots");
    },
  },
  {
    number: 85,
    title: "over the limit: 429 with X-Fal-Needs-Retry: 1, and JS retries it three times",
    alone: true,
    needs: ["ownServer"],
    async run(ctx) {
      const { open } = await import("../http.ts");
      const held = [];
      let refused: Json;
      for (let i = 0; i < 400 && !refused; i++) {
        const response = await open(`${ctx.url}/run/${STUB}/stream`, {
          method: "POST",
          body: { delay_ms: 60_000 },
          headers: { authorization: `Key ${ctx.key}` },
        });
        response.on("error", () => {});
        held.push(response);
        if (response.statusCode === 429) refused = response;
      }
      try {
        check(refused, "400 streams were opened and none was refused");
        same(
          [refused.headers["x-fal-error-type"], refused.headers["x-fal-needs-retry"]],
          ["concurrent_requests_limit", "1"],
          "the headers",
        );
        const between = await startForwarder(ctx.url);
        try {
          same(
            (await fails(ctx.fal(between.url).run(STUB, { input: {} }), "the run")).status,
            429,
            "what JS threw",
          );
          same(between.seen.length, 4, "attempts");
        } finally {
          await between.close();
        }
      } finally {
        for (const response of held) response.destroy();
      }
      await new Promise((wait) => setTimeout(wait, 7_000));
    },
  },
  {
    number: 86,
    title: "no platform retry on run",
    alone: true,
    async run(ctx) {
      status(
        await run(ctx, { fail: "crash", fail_attempts: 1, prompt: randomUUID() }),
        503,
        "a run whose engine dies once",
      );
    },
  },
  {
    number: 87,
    title: "PY fails after one attempt on a JSON 503 with x-fal-request-id",
    alone: true,
    needs: ["tls"],
    async run(ctx) {
      const said = await ctx.python("crashed");
      same([said.kind, said.status], ["FalClientHTTPError", 503], "what PY raised");
      check(said.seconds < 30, `it took ${said.seconds} s`);
    },
  },
  notApplicable(
    88,
    "an octet-stream output",
    "outputs are JSON by contract with the engines; bytes are files",
  ),
  {
    number: 89,
    title: "no empty body with a JSON content type",
    async run(ctx) {
      const { request_id: id } = await ctx.submit();
      await ctx.ended(id);
      const calls: [string, string][] = [
        ["GET", ctx.at(id)],
        ["GET", ctx.at(id, "/status")],
        ["PUT", ctx.at(id, "/cancel")],
        ["DELETE", ctx.at(id)],
        ["POST", `/run/${STUB}`],
        ["GET", "/nowhere"],
        ["POST", "/rest/tokens/"],
      ];
      for (const [method, path] of calls) {
        const answer = await ctx.call(path, { method, ...(method === "POST" && { body: {} }) });
        if (answer.header("content-type")?.startsWith("application/json")) answer.json();
      }
    },
  },
  {
    number: 90,
    title: "sync_mode: a data URI in the output, and nothing is stored",
    needs: ["ownServer"],
    async run(ctx) {
      // The seed determines the bytes, so that no other run has stored the same.
      const input = { artifact_bytes: 4_321, seed: randomInt(2 ** 31) };
      const urlOf = async (sync_mode: boolean): Promise<string> =>
        status(await run(ctx, { ...input, sync_mode }), 200, "the run").json().file.url;
      const uri = await urlOf(true);
      matches(uri, /^data:application\/octet-stream;base64,/, "the file's address");
      const bytes = Buffer.from(uri.slice(uri.indexOf(",") + 1), "base64");
      same(bytes.length, 4_321, "the bytes in it");
      same(await ctx.server?.stores(bytes), false, "whether its bytes are stored");
      const stored = await ctx.call(await urlOf(false), { key: false });
      check(stored.bytes.equals(bytes), "without sync_mode the bytes are others");
      same(await ctx.server?.stores(bytes), true, "whether they are without sync_mode");
    },
  },
  {
    number: 91,
    title: "JS and PY receive the same events",
    needs: ["tls"],
    async run(ctx) {
      const input = { prompt: "é😀", delay_ms: 60, steps: 2 };
      const seen: Json[] = [];
      for await (const event of await ctx.fal().stream(STUB, { input })) seen.push(event);
      const { events } = await ctx.python("stream");
      const bare = (list: Json[]) => list.map(({ remaining_seconds: _, seed: __, ...rest }) => rest);
      same(bare(events), bare(seen), "the events of PY, beside those of JS");
      same(seen.length, 3, "how many there are");
    },
  },
  {
    number: 92,
    title: "JS done() is the last event",
    async run(ctx) {
      const opened = await ctx.fal().stream(STUB, { input: { prompt: "x", steps: 1 } });
      const seen: Json[] = [];
      for await (const event of opened) seen.push(event);
      same(await opened.done(), seen.at(-1), "done()");
      same(seen.at(-1).echo, "x", "the last event's echo");
    },
  },
  {
    number: 93,
    title: "LF only, and no data that is not JSON",
    async run(ctx) {
      const { events } = await stream(ctx, { delay_ms: 50, steps: 3 });
      same(events.length, 4, "events");
    },
  },
  {
    number: 94,
    title: "é and emoji arrive intact, however the body is split",
    async run(ctx) {
      const { answer, events } = await stream(ctx, { prompt: "é😀" });
      checkAscii(answer.bytes);
      same(events.at(-1).echo, "é😀", "the output");
    },
  },
  {
    number: 95,
    title: "comments are sent during a minute without events",
    waits: true,
    async run(ctx) {
      const { comments, events } = await ctx.stream(`/run/${STUB}/stream`, {
        method: "POST",
        body: { delay_ms: 60_000 },
      });
      check(comments.length >= 4, `${comments.length} comments`);
      same(events.length, 1, "events");
    },
  },
  {
    number: 96,
    title: "422 before the first event: JS ValidationError with the body",
    async run(ctx) {
      const opened = await ctx.fal().stream(STUB, { input: { steps: -1 } });
      const error = await fails(opened.done(), "the stream");
      check(error instanceof ValidationError, `JS threw ${error?.constructor?.name}`);
      check(error.fieldErrors.length > 0, "no fieldErrors");
    },
  },
  {
    number: 97,
    title: "a crash during a stream: an error event, then a clean end",
    alone: true,
    async run(ctx) {
      const { events } = await stream(ctx, { delay_ms: 200, steps: 2, fail: "crash", prompt: randomUUID() });
      const last = events.at(-1);
      same(
        [last.type, last.error.status, last.error.body.error_type],
        ["error", 503, "runner_disconnected"],
        "the last event",
      );
      const seen: Json[] = [];
      for await (const event of await ctx.fal().stream(STUB, { input: { steps: 1, fail: "error" } }))
        seen.push(event);
      same(seen.at(-1).type, "error", "JS's last event");
    },
  },
  notApplicable(98, "a stream that is not SSE", "every stream here is SSE"),
  {
    number: 99,
    title: "a stream with Accept: application/json",
    run: async (ctx) => void (await stream(ctx, {}, { accept: "application/json" })),
  },
  {
    number: 100,
    title: "fal_jwt_token without Authorization; an expired one is a 401 as JSON",
    async run(ctx) {
      const token = async (seconds: number) =>
        (
          await ctx.call("/rest/tokens/", {
            method: "POST",
            body: { allowed_apps: ["stub"], token_expiration: seconds },
          })
        ).json();
      const open = (jwt: string) =>
        ctx.call(`/run/${STUB}/stream?fal_jwt_token=${jwt}`, { method: "POST", body: {}, key: false });
      status(await open(await token(60)), 200, "a good token");
      const brief = await token(1);
      await new Promise((wait) => setTimeout(wait, 2_500));
      const refused = status(await open(brief), 401, "an expired token");
      detail(refused, "an expired token");
    },
  },
  {
    number: 101,
    title: "the stream has x-fal-request-id",
    run: async (ctx) => check((await stream(ctx, {})).answer.header("x-fal-request-id"), "there is none"),
  },
  {
    number: 102,
    title: "a caller who disconnects from a stream cancels it",
    async run(ctx) {
      const id = await leave(ctx, `/run/${STUB}/stream`);
      same((await ctx.ended(id)).error_type, "client_cancelled", "error_type");
    },
  },
];
