/** Cases A and B: access to the server, endpoint ids. */
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createFalClient } from "@fal-ai/client";
import { createProxy } from "@fal-ai/server-proxy/remix";
import { inBrowser } from "../browser.ts";
import type { Case } from "../case.ts";
import { type Context, STUB } from "../context.ts";
import { check, detail, matches, same, status } from "../expect.ts";
import { startForwarder } from "../forwarder.ts";

/** fal's route trees by their host names. */
const TREES: Record<string, string> = {
  "fal.run": "/run",
  "queue.fal.run": "/queue",
  "rest.fal.ai": "/rest",
  "rest.alpha.fal.ai": "/rest",
};
const byPrefix = (base: string, url: string): string => {
  const { hostname, pathname, search } = new URL(url);
  return hostname in TREES ? base + TREES[hostname] + pathname + search : url;
};
const proxied = (ctx: Context, target: string | undefined, method = "POST", body: unknown = {}) =>
  ctx.call("/api/fal/proxy", {
    method,
    ...(method === "POST" && { body }),
    headers: target === undefined ? {} : { "x-fal-target-url": target },
  });

export const cases: Case[] = [
  {
    number: 1,
    title: "JS with proxyUrl runs a model: POST, with the target's address in a header",
    async run(ctx) {
      const between = await startForwarder(ctx.url);
      try {
        const { data } = await ctx.fal(between.url).run(STUB, { input: { prompt: "one" } });
        same((data as { echo: string }).echo, "one", "the output");
        const { method, headers } = between.seen[0] ?? {};
        same(
          [method, headers?.["x-fal-target-url"]],
          ["POST", `https://fal.run/${STUB}`],
          "what the server saw",
        );
      } finally {
        await between.close();
      }
    },
  },
  {
    number: 2,
    title: "the proxy honours the target's query",
    async run(ctx) {
      const hook = ctx.receiver.hook();
      const submitted = status(
        await proxied(ctx, `https://queue.fal.run/${STUB}?fal_webhook=${encodeURIComponent(hook.url)}`),
        200,
        "submit",
      ).json();
      const [delivery] = await hook.arrived(1);
      same(delivery?.body.request_id, submitted.request_id, "the webhook's request");
      const seen = await proxied(
        ctx,
        `https://queue.fal.run/${STUB}/requests/${submitted.request_id}/status?logs=1`,
        "GET",
      );
      check(
        Array.isArray(seen.json().logs),
        "the status has no logs although the target's query asks for them",
      );
    },
  },
  {
    number: 3,
    title: "a target outside fal is refused, and nothing is sent to it",
    async run(ctx) {
      const hook = ctx.receiver.hook();
      for (const target of [
        hook.url,
        "https://evil.example/x",
        "https://fal.run.evil.example/a/b",
        "https://user@fal.run/a/b",
      ])
        status(await proxied(ctx, target), 400, target);
      await new Promise((wait) => setTimeout(wait, 300));
      same(hook.deliveries.length, 0, "connections to the target");
    },
  },
  {
    number: 4,
    title: "without the header: 400 Invalid request",
    run: async (ctx) =>
      matches(status(await proxied(ctx, undefined), 400, "no target").text, /Invalid request/, "the body"),
  },
  {
    number: 5,
    title: "rest.alpha.fal.ai is served as rest.fal.ai",
    async run(ctx) {
      for (const host of ["rest.fal.ai", "rest.alpha.fal.ai"]) {
        const made = status(
          await proxied(ctx, `https://${host}/storage/upload/initiate`, "POST", {
            content_type: "text/plain",
            file_name: "a.txt",
          }),
          200,
          host,
        );
        matches(made.json().upload_url, /^http/, "upload_url");
      }
    },
  },
  {
    number: 6,
    title: "JS with a requestMiddleware that rewrites the host: run and queue",
    async run(ctx) {
      const fal = createFalClient({
        credentials: ctx.key,
        requestMiddleware: async (config) => ({ ...config, url: byPrefix(ctx.url, config.url) }),
      });
      same((await fal.run(STUB, { input: { prompt: "a" } })).data.echo, "a", "run");
      same((await fal.subscribe(STUB, { input: { prompt: "b" }, pollInterval: 50 })).data.echo, "b", "queue");
    },
  },
  {
    number: 7,
    title: "JS with a fetch of its own: run, queue, stream, upload",
    async run(ctx) {
      const fal = createFalClient({
        credentials: ctx.key,
        fetch: (url, init) => fetch(byPrefix(ctx.url, String(url)), init),
      });
      same((await fal.run(STUB, { input: { prompt: "a" } })).data.echo, "a", "run");
      same((await fal.subscribe(STUB, { input: { prompt: "b" }, pollInterval: 50 })).data.echo, "b", "queue");
      const stream = await fal.stream(STUB, { input: { prompt: "c" } });
      same(((await stream.done()) as { echo: string }).echo, "c", "stream");
      const url = await fal.storage.upload(new Blob(["hello"], { type: "text/plain" }));
      same(await (await fetch(url)).text(), "hello", "the uploaded file");
    },
  },
  {
    number: 8,
    title: "PY with FAL_RUN_HOST, FAL_QUEUE_RUN_HOST and SSL_CERT_FILE alone",
    needs: ["tls"],
    async run(ctx) {
      const { host } = new URL(ctx.tlsUrl ?? "");
      const said = await ctx.python(
        "basics",
        {},
        { FAL_RUN_HOST: host, FAL_QUEUE_RUN_HOST: `${host}/queue`, PYTHONPATH: "" },
      );
      for (const way of ["run", "submit", "subscribe"]) same(said[way].echo, "one", way);
      matches(said.status_url, new RegExp(`^https://${host}/queue/`), "status_url");
    },
  },
  {
    number: 9,
    title: "fal's own names over TLS, without a change in the client",
    needs: ["tls"],
    async run(ctx) {
      const said = await ctx.python("basics");
      for (const way of ["run", "submit", "subscribe"]) same(said[way].echo, "one", way);
      matches(said.status_url, /^https:\/\/queue\.fal\.run\//, "status_url");
      const ca = readFileSync(ctx.caFile ?? "", "utf8");
      const { hostname, port } = new URL(ctx.tlsUrl ?? "");
      for (const name of ["fal.run", "queue.fal.run", "rest.fal.ai", "v3.fal.media"]) {
        const answer = await ctx.call(`https://${name}/nowhere`, {
          ca,
          connectTo: { host: hostname, port: Number(port) },
        });
        check(answer.header("x-fal-request-id"), `${name} is not served over TLS`);
      }
    },
  },
  {
    number: 10,
    title: "a browser: the preflight passes, x-fal-request-id is readable",
    async run(ctx) {
      const requested = "authorization,content-type,x-fal-queue-priority,x-fal-target-url";
      const preflight = await ctx.call(`/run/${STUB}`, {
        method: "OPTIONS",
        key: false,
        headers: {
          origin: "https://app.example.com",
          "access-control-request-method": "POST",
          "access-control-request-headers": requested,
        },
      });
      status(preflight, [200, 204], "the preflight");
      const allowed = preflight.header("access-control-allow-headers")?.toLowerCase() ?? "";
      for (const name of requested.split(","))
        check(
          allowed === "*" || allowed.includes(name),
          `${name} is not allowed by the preflight: ${allowed}`,
        );
      const said = await inBrowser(
        async ({ url, key }: { url: string; key: string }) => {
          const answer = await fetch(url, {
            method: "POST",
            headers: {
              authorization: `Key ${key}`,
              "content-type": "application/json",
              "x-fal-queue-priority": "normal",
            },
            body: JSON.stringify({ prompt: "from a browser" }),
          });
          return { id: answer.headers.get("x-fal-request-id"), body: await answer.json() };
        },
        { url: `${ctx.url}/run/${STUB}`, key: ctx.key },
      );
      same(said.body.echo, "from a browser", "the output in the browser");
      check(said.id, "the script cannot read x-fal-request-id");
    },
  },
  {
    number: 11,
    title: "a trailing slash gives the same response, without a redirect",
    async run(ctx) {
      const { request_id: id } = status(
        await ctx.call(`/queue/${STUB}/`, { method: "POST", body: {} }),
        200,
        "submit/",
      ).json();
      await ctx.ended(id);
      for (const path of ["/status", ""]) {
        const [plain, slashed] = await Promise.all([
          ctx.call(ctx.at(id, path)),
          ctx.call(ctx.at(id, `${path}/`)),
        ]);
        same([slashed.status, slashed.json()], [plain.status, plain.json()], `${path}/`);
      }
      status(await ctx.call(ctx.at(id, "/cancel/"), { method: "PUT" }), 400, "cancel/");
    },
  },
  {
    number: 12,
    title: "a JSON content type without a body is accepted on GET and PUT",
    async run(ctx) {
      const { request_id: id } = await ctx.submit({ delay_ms: 20_000 });
      const headers = { "content-type": "application/json" };
      status(await ctx.call(ctx.at(id, "/status"), { headers }), 202, "GET");
      status(await ctx.call(ctx.at(id, "/cancel"), { method: "PUT", headers }), 202, "PUT");
    },
  },
  {
    number: 13,
    alone: true,
    title: "fal's official server proxy in front of this server: run, queue, upload initiate",
    needs: ["tls"],
    async run(ctx) {
      // The proxy of a web application, whose fetch directs fal's names to this server.
      const { action: proxy } = createProxy({
        allowedEndpoints: ["tempera/**"],
        allowUnauthorizedRequests: true,
        json: (data: unknown, init?: ResponseInit) => Response.json(data, init),
      } as never);
      const server = createServer(async (incoming, outgoing) => {
        const chunks: Buffer[] = [];
        for await (const chunk of incoming) chunks.push(chunk as Buffer);
        const request = new Request(`http://application${incoming.url}`, {
          method: incoming.method ?? "POST",
          headers: incoming.headers as Record<string, string>,
          ...(incoming.method !== "GET" && { body: Buffer.concat(chunks) }),
        });
        const answer: Response = await (proxy as (given: object) => Promise<Response>)({ request });
        outgoing.writeHead(
          answer.status,
          Object.fromEntries([...answer.headers].filter(([name]) => name !== "content-encoding")),
        );
        for await (const chunk of (answer.body ?? []) as AsyncIterable<Uint8Array>) outgoing.write(chunk);
        outgoing.end();
      });
      const keyBefore = process.env.FAL_KEY;
      process.env.FAL_KEY = ctx.key;
      const original = globalThis.fetch;
      await new Promise<void>((open) => server.listen(0, "127.0.0.1", open));
      globalThis.fetch = (url, init) => original(byPrefix(ctx.url, String(url)), init);
      try {
        const fal = createFalClient({
          credentials: () => undefined,
          proxyUrl: { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, when: "always" },
          fetch: original,
        });
        same((await fal.run(STUB, { input: { prompt: "a" } })).data.echo, "a", "run");
        same(
          (await fal.subscribe(STUB, { input: { prompt: "b" }, pollInterval: 50 })).data.echo,
          "b",
          "queue",
        );
        const url = await fal.storage.upload(new Blob(["hello"], { type: "text/plain" }));
        same(await (await original(url)).text(), "hello", "the uploaded file");
      } finally {
        globalThis.fetch = original;
        if (keyBefore === undefined) delete process.env.FAL_KEY;
        else process.env.FAL_KEY = keyBefore;
        server.closeAllConnections();
        server.close();
      }
    },
  },
  {
    number: 14,
    title: "owner/alias and owner/alias/a/b/c reach the right app and path",
    async run(ctx) {
      status(await ctx.call(`/run/${STUB}`, { method: "POST", body: {} }), 200, STUB);
      const deep = status(
        await ctx.call(`/run/${STUB}/a/b/c`, { method: "POST", body: {} }),
        404,
        "a deeper path",
      );
      same(detail(deep, "a deeper path"), "Path /a/b/c not found", "detail");
    },
  },
  {
    number: 15,
    title: "12345-my-app in JS reaches /12345/my-app",
    async run(ctx) {
      const between = await startForwarder(ctx.url);
      try {
        const fal = createFalClient({
          credentials: ctx.key,
          requestMiddleware: async (config) => ({ ...config, url: byPrefix(between.url, config.url) }),
        });
        const error = await fal.run("12345-my-app", { input: {} }).catch((failed) => failed);
        same(between.seen[0]?.path, "/run/12345/my-app", "the path");
        same([error.status, error.body?.detail], [404, 'Application "my-app" not found'], "the answer");
      } finally {
        await between.close();
      }
    },
  },
  {
    number: 16,
    title: "workflows/u/n and comfy/u/n are routed by three segments",
    async run(ctx) {
      for (const id of ["workflows/u/n", "comfy/u/n"])
        same(
          detail(status(await ctx.call(`/queue/${id}`, { method: "POST", body: {} }), 404, id), id),
          'Application "n" not found',
          id,
        );
    },
  },
  {
    number: 17,
    title: "JS accepts a full URL as id",
    async run(ctx) {
      const fal = createFalClient({
        credentials: ctx.key,
        requestMiddleware: async (config) => ({ ...config, url: byPrefix(ctx.url, config.url) }),
      });
      same(
        (await fal.run(`https://fal.run/${STUB}`, { input: { prompt: "a" } })).data.echo,
        "a",
        "the output",
      );
    },
  },
  {
    number: 18,
    title: "an unknown app: 404 with detail and x-fal-request-id",
    async run(ctx) {
      const answer = status(
        await ctx.call("/queue/nobody/nothing", { method: "POST", body: {} }),
        404,
        "an unknown app",
      );
      matches(detail(answer, "an unknown app"), /^Application .* not found$/, "detail");
      check(answer.header("x-fal-request-id"), "no x-fal-request-id");
    },
  },
  {
    number: 19,
    title: "an unknown path in a known app: 404",
    run: async (ctx) =>
      matches(
        detail(
          status(
            await ctx.call(`/queue/${STUB}/nowhere`, { method: "POST", body: {} }),
            404,
            "an unknown path",
          ),
          "an unknown path",
        ),
        /^Path .* not found$/,
        "detail",
      ),
  },
];
