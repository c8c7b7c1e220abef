/** Cases N: the Platform API (fal's api.fal.ai/v1). 162 and 163 are in webhooks.ts. */
import type { Case } from "../case.ts";
import { type Context, STUB } from "../context.ts";
import { check, matches, same, status } from "../expect.ts";
import type { Call, Json } from "../http.ts";

/** Calls the Platform API with the admin key. */
const platform = (ctx: Context, path: string, call: Call & { key?: string | false } = {}) =>
  ctx.call(`${ctx.adminUrl}/v1${path}`, {
    ...(ctx.adminKey !== undefined && { key: ctx.adminKey }),
    ...call,
  });

const get = async (ctx: Context, path: string): Promise<Json> =>
  status(await platform(ctx, path), 200, path).json();

/** Finds a request in the list. Its record may appear a moment after the last event of its stream. */
async function listed(ctx: Context, requestId: string, expand = ""): Promise<Json> {
  const deadlineMs = performance.now() + 120_000;
  for (;;) {
    const { items } = await get(
      ctx,
      `/models/requests/by-endpoint?endpoint_id=${STUB}&request_id=${requestId}${expand}`,
    );
    if (items.length === 1) return items[0];
    check(
      items.length === 0 && performance.now() < deadlineMs,
      `${items.length} items with this request_id, not 1`,
    );
  }
}

export const cases: Case[] = [
  {
    number: 153,
    title: "models by endpoint_id, repeated; an unknown id is a 404 error object",
    needs: ["adminKey"],
    async run(ctx) {
      const { models } = await get(ctx, "/models?limit=2");
      check(models.length === 2, "there are fewer than two models");
      const ids = models.map(({ endpoint_id }: Json) => endpoint_id);
      const both = await get(ctx, `/models?endpoint_id=${ids[1]}&endpoint_id=${ids[0]}`);
      same(both.models.map(({ endpoint_id }: Json) => endpoint_id).sort(), [...ids].sort(), "the models");
      for (const field of ["display_name", "category", "description", "status", "tags", "updated_at"])
        check(field in both.models[0].metadata, `metadata has no ${field}`);
      const { error } = status(
        await platform(ctx, "/models?endpoint_id=no/such-model"),
        404,
        "an unknown id",
      ).json();
      same(error.type, "not_found", "error.type");
      matches(error.message, /no\/such-model/, "error.message");
      status(await platform(ctx, "/models", { key: false }), 200, "models without a key");
    },
  },
  {
    number: 154,
    title: "expand=openapi-3.0 embeds the schema",
    needs: ["adminKey"],
    elsewhere: "a schema that cannot be generated: `src/api/admin/admin.test.ts`",
    async run(ctx) {
      const [{ openapi }] = (await get(ctx, `/models?endpoint_id=${STUB}&expand=openapi-3.0`)).models;
      matches(openapi.openapi, /^3\.0\./, "openapi");
      same(openapi.info["x-fal-metadata"].endpointId, STUB, "endpointId");
      const [plain] = (await get(ctx, `/models?endpoint_id=${STUB}`)).models;
      check(!("openapi" in plain), "a model has its schema without being asked");
    },
  },
  {
    number: 155,
    title: "has_more and next_cursor visit every model once",
    needs: ["adminKey"],
    async run(ctx) {
      const all = (await get(ctx, "/models?limit=1000")).models.map(({ endpoint_id }: Json) => endpoint_id);
      const seen: string[] = [];
      for (let cursor = ""; ; ) {
        const page = await get(ctx, `/models?limit=1${cursor}`);
        seen.push(...page.models.map(({ endpoint_id }: Json) => endpoint_id));
        same(page.has_more, page.next_cursor !== null, "has_more");
        if (!page.has_more) break;
        cursor = `&cursor=${encodeURIComponent(page.next_cursor)}`;
      }
      same(seen, all, "the pages together");
      status(await platform(ctx, "/models?cursor=nonsense"), 422, "a cursor that is none");
    },
  },
  {
    number: 156,
    title: "requests/by-endpoint shows a finished request with times, code and expanded payloads",
    needs: ["adminKey", "otherKey"],
    async run(ctx) {
      const { request_id } = await ctx.submit({ prompt: "seen again", seed: 7, delay_ms: 50 });
      await ctx.ended(request_id);
      const item = await listed(ctx, request_id, "&expand=payloads");
      same(
        [item.request_id, item.endpoint_id, item.status_code],
        [request_id, STUB, 200],
        "id, endpoint and code",
      );
      same([item.json_input.prompt, item.json_output.echo], ["seen again", "seen again"], "the payloads");
      const [sent, started, ended] = [item.sent_at, item.started_at, item.ended_at].map((time) =>
        Date.parse(time),
      ) as [number, number, number];
      check(
        sent <= started && started < ended,
        `the times are out of order: ${item.sent_at}, ${item.started_at}, ${item.ended_at}`,
      );
      check(Math.abs(item.duration - (ended - started) / 1000) < 0.01, `the duration is ${item.duration}`);
      check(!("json_input" in (await listed(ctx, request_id))), "payloads without being asked for");

      const failed = (await ctx.submit({ fail: "invalid" })).request_id;
      await ctx.ended(failed);
      same((await listed(ctx, failed)).status_code, 422, "the code of a failed one");
      const list = `/models/requests/by-endpoint?endpoint_id=${STUB}`;
      const users = (await get(ctx, `${list}&status=user_error&limit=100`)).items.map(
        (each: Json) => each.request_id,
      );
      check(users.includes(failed) && !users.includes(request_id), "status=user_error does not filter");
      status(await platform(ctx, "/models/requests/by-endpoint"), 422, "no endpoint_id");
      status(await platform(ctx, list, { key: false }), 401, "no key");
      const theirs = status(
        await platform(ctx, `${list}&limit=100`, { key: ctx.otherKey as string }),
        200,
        "another owner's list",
      ).json();
      check(!theirs.items.some((each: Json) => each.request_id === request_id), "another owner sees it");
    },
  },
  {
    number: 157,
    title: "a request with X-Fal-Store-IO: 0 can be read, and has no payloads in the list",
    needs: ["adminKey"],
    elsewhere: "no record or history contains them: `tests/integration/usage.test.ts`",
    async run(ctx) {
      const { request_id } = await ctx.submit(
        { prompt: "not to be kept" },
        { headers: { "x-fal-store-io": "0" } },
      );
      await ctx.ended(request_id);
      same(
        status(await ctx.call(ctx.at(request_id)), 200, "the result").json().echo,
        "not to be kept",
        "the result",
      );
      const item = await listed(ctx, request_id, "&expand=payloads");
      same(item.status_code, 200, "status_code");
      check(!("json_input" in item) && !("json_output" in item), "the list has its payloads");
      const kept = (await ctx.submit({ prompt: "kept" }, { headers: { "x-fal-store-io": "1" } })).request_id;
      await ctx.ended(kept);
      same(
        (await listed(ctx, kept, "&expand=payloads")).json_output?.echo,
        "kept",
        "the payload of X-Fal-Store-IO: 1",
      );
    },
  },
  {
    number: 158,
    title: "payload deletion removes JSON and media, and reports each link",
    needs: ["adminKey", "otherKey"],
    async run(ctx) {
      const { request_id } = await ctx.submit({
        prompt: "erase me",
        artifact_bytes: 2_000,
        seed: Math.floor(Math.random() * 1e9),
      });
      await ctx.ended(request_id);
      const { url } = status(await ctx.call(ctx.at(request_id)), 200, "the result").json().file;
      status(await ctx.call(url, { key: false }), 200, "the file");
      await listed(ctx, request_id);
      const path = `/models/requests/${request_id}/payloads`;
      status(
        await platform(ctx, path, { method: "DELETE", key: ctx.otherKey as string }),
        403,
        "without the scope",
      );
      const { cdn_delete_results } = status(
        await platform(ctx, path, { method: "DELETE" }),
        200,
        "the deletion",
      ).json();
      same(cdn_delete_results, [{ link: url, exception: null }], "cdn_delete_results");
      status(await ctx.call(url, { key: false }), 404, "the file afterwards");
      const item = await listed(ctx, request_id, "&expand=payloads");
      check(!("json_input" in item || "json_output" in item), "the payloads are still listed");
      const after = status(await ctx.call(ctx.at(request_id)), 404, "the result afterwards");
      check(!after.text.includes("erase me"), "the result still shows the input");
      same(
        status(await ctx.call(ctx.at(request_id, "/status")), 200, "the status afterwards").json().status,
        "COMPLETED",
        "the status",
      );
      status(
        await platform(ctx, `/models/requests/${ctx.key.slice(0, 36)}/payloads`, { method: "DELETE" }),
        404,
        "an unknown request",
      );
    },
  },
  {
    number: 159,
    title: "a key's secret is shown once; a deleted key is a 401 within seconds",
    needs: ["adminKey"],
    async run(ctx) {
      const made = status(
        await platform(ctx, "/keys", { method: "POST", body: { alias: "for a case" } }),
        201,
        "a new key",
      ).json();
      same(made.key, `${made.key_id}:${made.key_secret}`, "key");
      const all = await get(ctx, "/keys");
      const mine = all.keys.find(({ key_id }: Json) => key_id === made.key_id);
      same([mine?.alias, mine?.scope], ["for a case", "API"], "the listed key");
      check(!JSON.stringify(all).includes(made.key_secret), "the list shows the secret");
      await ctx.ended((await ctx.submit({}, { key: made.key })).request_id).catch(() => {});
      status(await platform(ctx, `/keys/${made.key_id}`, { method: "DELETE" }), 204, "its deletion");
      const deadlineMs = performance.now() + 120_000;
      for (;;) {
        const answer = await ctx.call(`/queue/${STUB}`, { method: "POST", body: {}, key: made.key });
        if (answer.status === 401) break;
        check(
          performance.now() < deadlineMs,
          `a deleted key still opens after two minutes: ${answer.status}`,
        );
      }
      status(await platform(ctx, `/keys/${made.key_id}`, { method: "DELETE" }), 404, "its second deletion");
    },
  },
  {
    number: 160,
    title: "queue size, then flush: 204, and waiting requests end",
    alone: true,
    needs: ["adminKey", "otherKey"],
    async run(ctx) {
      await using _ = await ctx.fullQueue();
      const waiting = await Promise.all(Array.from({ length: 3 }, () => ctx.submit()));
      const queue = `/serverless/apps/${STUB}/queue`;
      same((await get(ctx, queue)).queue_size, 3, "queue_size");
      // A key without scope ADMIN flushes the requests of its own owner.
      status(
        await platform(ctx, queue, { method: "DELETE", key: ctx.otherKey as string }),
        204,
        "another owner's flush",
      );
      same((await get(ctx, queue)).queue_size, 3, "queue_size after another owner's flush");
      status(await platform(ctx, queue, { method: "DELETE" }), 204, "the flush");
      for (const { request_id } of waiting)
        same((await ctx.ended(request_id)).error_type, "client_cancelled", "the end of a waiting request");
      same((await get(ctx, queue)).queue_size, 0, "queue_size after the flush");
      status(await platform(ctx, "/serverless/apps/no/such/queue"), 404, "an unknown app's queue");
    },
  },
  {
    number: 161,
    title: "logs: history and the SSE stream filter by request_id",
    needs: ["adminKey"],
    elsewhere: "words, levels, pages, other owners, live lines: `tests/integration/usage.test.ts`",
    async run(ctx) {
      const [one, other] = await Promise.all(
        ["one", "other"].map((name) => ctx.submit({ [`a field of ${name}`]: 1 })),
      );
      for (const { request_id } of [one, other]) await ctx.ended(request_id);
      await listed(ctx, one.request_id);
      const of = `?request_id=${one.request_id}`;
      const { items } = status(
        await platform(ctx, `/serverless/logs/history${of}`, { method: "POST", body: [] }),
        200,
        "history",
      ).json();
      check(items.length > 0, "history has no lines");
      for (const item of items) {
        same(item.labels.request_id, one.request_id, "a line's request");
        check(
          ["timestamp", "level", "message", "app", "revision"].every(
            (field) => typeof item[field] === "string",
          ),
          "a field is missing",
        );
      }
      check(
        items.some(({ message }: Json) => message.includes("a field of one")),
        "the line is missing",
      );
      const { events } = await ctx.stream(`${ctx.adminUrl}/v1/serverless/logs/stream${of}`, {
        method: "POST",
        ...(ctx.adminKey !== undefined && { key: ctx.adminKey }),
      });
      same(
        events.map(({ message }: Json) => message).sort(),
        items.map(({ message }: Json) => message).sort(),
        "the stream's lines",
      );
    },
  },
];
