/** Cases M: webhooks; N 162 and 163: schemas; P: durability. */
import { createHash, createPublicKey, randomUUID, verify } from "node:crypto";
import { Validator } from "@seriousme/openapi-schema-validator";
import { type Case, notApplicable } from "../case.ts";
import { type Context, STUB } from "../context.ts";
import { check, matches, same, status } from "../expect.ts";
import type { Json } from "../http.ts";
import type { Delivery } from "../receiver.ts";

const submit = (
  ctx: Context,
  url: string,
  input: Json = {},
  headers: Record<string, string> = {},
): Promise<Json> => ctx.submit(input, { query: `?fal_webhook=${encodeURIComponent(url)}`, headers });

/** Verifies a signature as fal's documentation tells receivers to, with only the server's JWKS. */
async function verifies(ctx: Context, { headers, raw }: Delivery): Promise<boolean> {
  const { keys } = status(await ctx.call("/.well-known/jwks.json", { key: false }), 200, "the JWKS").json();
  const named = (name: string): string => String(headers[`x-fal-webhook-${name}`]);
  const message = [
    named("request-id"),
    named("user-id"),
    named("timestamp"),
    createHash("sha256").update(raw).digest("hex"),
  ].join("\n");
  check(
    Math.abs(Date.now() / 1000 - Number(named("timestamp"))) <= 300,
    "the timestamp is further than 300 s away",
  );
  const signature = Buffer.from(named("signature"), "hex");
  return keys.some((key: Json) =>
    verify(null, Buffer.from(message), createPublicKey({ key, format: "jwk" }), signature),
  );
}

export const cases: Case[] = [
  {
    number: 143,
    title: "the OK body and the headers; the signature verifies",
    async run(ctx) {
      const hook = ctx.receiver.hook();
      const { request_id } = await submit(ctx, hook.url, { prompt: "x", seed: 1 });
      const [got] = (await hook.arrived(1)) as [Delivery];
      same(
        got.body,
        {
          request_id,
          gateway_request_id: request_id,
          status: "OK",
          payload: { echo: "x", attempt: 1, seed: 1 },
        },
        "the body",
      );
      same(got.headers["x-fal-webhook-request-id"], request_id, "the request id's header");
      check(await verifies(ctx, got), "the signature does not verify");
      check(
        !(await verifies(ctx, { ...got, raw: Buffer.from(`${got.raw} `) })),
        "the signature verifies another body too",
      );
    },
  },
  {
    number: 144,
    title: "the ERROR body of a 422",
    async run(ctx) {
      const hook = ctx.receiver.hook();
      await submit(ctx, hook.url, { fail: "invalid" });
      const [{ body }] = (await hook.arrived(1)) as [Delivery];
      same([body.status, body.error], ["ERROR", "Invalid status code: 422"], "status and error");
      check(Array.isArray(body.payload.detail), "the payload has no detail");
    },
  },
  notApplicable(145, "output that is not JSON", "outputs are JSON by contract with the engines"),
  {
    number: 146,
    title: "500, then 200: the same request twice, each with a new valid timestamp",
    async run(ctx) {
      const hook = ctx.receiver.hook(
        (_, nth, response) => void response.writeHead(nth === 1 ? 500 : 200).end(),
      );
      const { request_id } = await submit(ctx, hook.url);
      const got = await hook.arrived(2);
      same(
        got.map(({ body }) => body.request_id),
        [request_id, request_id],
        "the requests",
      );
      for (const each of got) check(await verifies(ctx, each), "a signature does not verify");
    },
  },
  {
    number: 147,
    title: "an attempt at a receiver slower than the limit fails, and is repeated",
    waits: true,
    async run(ctx) {
      const hook = ctx.receiver.hook((_, nth, response) => nth > 1 && void response.writeHead(200).end());
      await submit(ctx, hook.url);
      const [first, second] = (await hook.arrived(2)) as [Delivery, Delivery];
      check(
        second.atMs - first.atMs >= 1_000,
        `the second came ${second.atMs - first.atMs} ms after the first`,
      );
    },
  },
  {
    number: 148,
    title: "a redirect is not followed",
    async run(ctx) {
      const target = ctx.receiver.hook();
      const hook = ctx.receiver.hook(
        (_, nth, response) => void response.writeHead(nth === 1 ? 302 : 200, { location: target.url }).end(),
      );
      await submit(ctx, hook.url);
      await hook.arrived(2);
      same(target.deliveries.length, 0, "what the redirect's target got");
    },
  },
  {
    number: 149,
    title: "private targets are refused unless the configuration allows them",
    async run(ctx) {
      const hook = ctx.receiver.hook();
      const [byName, opened] = [ctx.receiver.hook(), new URL(hook.url).hostname];
      for (const url of [
        "http://127.0.0.1/",
        "http://127.1.2.3/",
        "http://2130706433/",
        "http://0.0.0.0/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://10.0.0.1/",
        "http://169.254.169.254/",
        "http://192.168.0.1/",
        "http://[::ffff:10.0.0.1]/",
        "http://0x0a000001/",
      ].filter((url) => new URL(url).hostname !== opened))
        status(
          await ctx.call(`/queue/${STUB}?fal_webhook=${encodeURIComponent(url)}`, {
            method: "POST",
            body: {},
          }),
          400,
          url,
        );
      // A host name is resolved at delivery: the same receiver gets nothing under a name of this machine.
      const named = new URL(byName.url);
      named.hostname = "localhost";
      const { request_id } = await submit(ctx, named.href);
      await ctx.ended(request_id);
      await submit(ctx, hook.url);
      await hook.arrived(1);
      same(byName.deliveries.length, 0, "deliveries to localhost");
    },
  },
  {
    number: 150,
    title: "two keys during a rotation; signatures of both verify",
    alone: true,
    needs: ["adminKey"],
    async run(ctx) {
      const one = ctx.receiver.hook();
      await submit(ctx, one.url);
      const [old] = (await one.arrived(1)) as [Delivery];
      status(
        await ctx.call(`${ctx.adminUrl}/v1/signing-keys/rotate`, {
          method: "POST",
          body: { now: true },
          key: ctx.adminKey ?? "",
        }),
        201,
        "rotate",
      );
      const { keys } = (await ctx.call("/.well-known/jwks.json", { key: false })).json();
      check(keys.length >= 2, `the JWKS has ${keys.length} keys`);
      const two = ctx.receiver.hook();
      await submit(ctx, two.url);
      const [fresh] = (await two.arrived(1)) as [Delivery];
      check(
        (await verifies(ctx, old)) && (await verifies(ctx, fresh)),
        "one of the two signatures does not verify",
      );
    },
  },
  {
    number: 151,
    title: "gateway_request_id differs after a platform retry",
    alone: true,
    async run(ctx) {
      const hook = ctx.receiver.hook();
      const { request_id } = await submit(ctx, hook.url, { fail: "crash", fail_attempts: 1 });
      const [{ body }] = (await hook.arrived(1)) as [Delivery];
      same(body.request_id, request_id, "request_id");
      check(
        body.gateway_request_id && body.gateway_request_id !== request_id,
        "gateway_request_id is the request's id",
      );
    },
  },
  {
    number: 152,
    title: "a delivery survives a restart of the server",
    alone: true,
    needs: ["ownServer"],
    async run(ctx) {
      const hook = ctx.receiver.hook(
        (_, nth, response) => void response.writeHead(nth === 1 ? 500 : 200).end(),
      );
      const { request_id } = await submit(ctx, hook.url);
      await hook.arrived(1);
      await ctx.server?.restart();
      const got = await hook.arrived(2);
      same(got[1]?.body.request_id, request_id, "the request of the second attempt");
    },
  },
  {
    number: 162,
    title: "the per-model OpenAPI is valid 3.0, with fal's metadata, order and four paths",
    async run(ctx) {
      const answer = await ctx.call(`/api/openapi/queue/openapi.json?endpoint_id=${STUB}`, { key: false });
      const document = status(answer, 200, "the document").json();
      const { valid, errors } = await new Validator().validate(structuredClone(document));
      check(valid, `it is not valid: ${JSON.stringify(errors)?.slice(0, 300)}`);
      matches(document.openapi, /^3\.0\./, "openapi");
      same(
        [document.info["x-fal-metadata"].endpointId, Object.keys(document.paths).length],
        [STUB, 4],
        "endpointId and paths",
      );
      check(
        Object.values(document.components.schemas as Json).some((schema: Json) =>
          Array.isArray(schema["x-fal-order-properties"]),
        ),
        "no schema has x-fal-order-properties",
      );
      const text = status(await ctx.call(`/models/${STUB}/llms.txt`, { key: false }), 200, "llms.txt").text;
      check(
        text.includes(STUB) && text.includes("`delay_ms`"),
        "llms.txt does not name the endpoint and its fields",
      );
    },
  },
  {
    number: 163,
    title: "GET /v1/meta needs no key",
    needs: ["adminKey"],
    run: async (ctx) =>
      check(
        Array.isArray(
          status(await ctx.call(`${ctx.adminUrl}/v1/meta`, { key: false }), 200, "meta").json()
            .webhook_ip_ranges,
        ),
        "no webhook_ip_ranges",
      ),
  },
  {
    number: 174,
    title: "the server is killed between submit and run: the request still completes",
    alone: true,
    needs: ["ownServer"],
    async run(ctx) {
      const { request_id: id } = await ctx.submit({ delay_ms: 1_000, prompt: "survivor" });
      await ctx.server?.restart();
      await ctx.ended(id);
      same(status(await ctx.call(ctx.at(id)), 200, "the result").json().echo, "survivor", "the output");
    },
  },
  {
    number: 175,
    title: "the runner is killed in mid-run: back to IN_QUEUE, completes, one webhook",
    alone: true,
    async run(ctx) {
      const hook = ctx.receiver.hook();
      const { request_id: id } = await submit(ctx, hook.url, {
        delay_ms: 300,
        fail: "crash",
        fail_attempts: 1,
      });
      const { events } = await ctx.stream(ctx.at(id, "/status/stream"));
      matches(
        events.map(({ status: word }) => word).join(" "),
        /IN_PROGRESS.*IN_QUEUE.*COMPLETED$/,
        "the statuses",
      );
      await hook.arrived(1);
      await new Promise((wait) => setTimeout(wait, 1_500));
      same(hook.deliveries.length, 1, "webhooks");
    },
  },
  {
    number: 176,
    title: "no attempts left: COMPLETED with a request error",
    alone: true,
    async run(ctx) {
      const { request_id: id } = await ctx.submit({ fail: "crash", prompt: randomUUID() });
      const last = await ctx.ended(id);
      // A server may give up an input that crashes runners before its attempts are used up.
      const isGivenUp = last.error_type === "input_quarantined";
      same(
        [last.status, last.error_type],
        ["COMPLETED", isGivenUp ? "input_quarantined" : "runner_disconnected"],
        "its end",
      );
      status(await ctx.call(ctx.at(id)), isGivenUp ? 422 : 503, "the result");
    },
  },
  notApplicable(
    177,
    "X-Fal-Needs-Retry of an app's answer",
    "a model here is an engine behind a protocol of its own: it has no HTTP answers",
  ),
];
