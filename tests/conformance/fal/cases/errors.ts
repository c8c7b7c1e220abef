/** Cases L: errors and authentication. */
import { randomUUID } from "node:crypto";
import { type Case, notApplicable } from "../case.ts";
import { STUB } from "../context.ts";
import { check, detail, fails, matches, same, status } from "../expect.ts";

/** Builds an input that the stub's engine refuses with this type of fault. */
const modelError = (type: string, ctx: object = {}): object => ({
  fail: "model",
  error_type: type,
  error_ctx: ctx,
});

export const cases: Case[] = [
  {
    number: 133,
    title: "no key: 401 with detail",
    run: async (ctx) =>
      matches(
        detail(
          status(await ctx.call(`/queue/${STUB}`, { method: "POST", body: {}, key: false }), 401, "no key"),
          "401",
        ),
        /Authentication is required/,
        "detail",
      ),
  },
  {
    number: 134,
    title: "a key without a colon: 401 with the format's message",
    run: async (ctx) =>
      matches(
        detail(
          status(
            await ctx.call(`/queue/${STUB}`, { method: "POST", body: {}, key: "nocolon" }),
            401,
            "no colon",
          ),
          "401",
        ),
        /Invalid Key Authorization header format/,
        "detail",
      ),
  },
  {
    number: 135,
    title: "an unknown key: 401; the wrong scope: 403",
    needs: ["otherKey", "adminKey"],
    async run(ctx) {
      status(
        await ctx.call(`/queue/${STUB}`, { method: "POST", body: {}, key: `${crypto.randomUUID()}:secret` }),
        401,
        "an unknown key",
      );
      status(
        await ctx.call(`${ctx.adminUrl}/v1/keys`, { key: ctx.otherKey ?? "" }),
        403,
        "a key of scope API where ADMIN is asked for",
      );
    },
  },
  {
    number: 136,
    title: "422 items have loc, msg, type, url",
    async run(ctx) {
      const answer = status(
        await ctx.call(`/run/${STUB}`, { method: "POST", body: { steps: -1, delay_ms: "x" } }),
        422,
        "two faults",
      );
      const items = detail(answer, "422");
      same(items.length, 2, "faults");
      for (const { loc, msg, type, url } of items) {
        check(
          Array.isArray(loc) && loc[0] === "body" && typeof msg === "string",
          `an item is ${JSON.stringify({ loc, msg })}`,
        );
        same(url, `https://docs.fal.ai/errors/#${type}`, "url");
      }
    },
  },
  {
    number: 137,
    title: "each model error has its code and ctx",
    async run(ctx) {
      const faults: [object, string, object | undefined][] = [
        [{ steps: -1 }, "greater_than_equal", { ge: 0 }],
        [{ steps: 1001 }, "less_than_equal", { le: 1000 }],
        [{ fail: "nonsense" }, "one_of", undefined],
        [{ steps: "x" }, "int_parsing", undefined],
        [{ steps: [] }, "int_type", undefined],
        [{ file_url: "http://127.0.0.1:1/x.png" }, "file_download_error", undefined],
        [modelError("content_policy_violation"), "content_policy_violation", undefined],
        [
          modelError("image_too_small", { min_height: 64, min_width: 64 }),
          "image_too_small",
          { min_height: 64, min_width: 64 },
        ],
        [
          modelError("unsupported_audio_format", { supported_formats: ["wav"] }),
          "unsupported_audio_format",
          { supported_formats: ["wav"] },
        ],
      ];
      for (const [input, type, ctxOf] of faults) {
        const answer = await ctx.call(`/run/${STUB}`, { method: "POST", body: input });
        const [item] = detail(status(answer, 422, type), type);
        same(item.type, type, JSON.stringify(input));
        if (ctxOf) same(item.ctx, ctxOf, `ctx of ${type}`);
        same(
          [answer.header("x-fal-retryable"), answer.header("x-fal-needs-retry")],
          ["false", "0"],
          `the headers of ${type}`,
        );
      }
      for (const [type, code] of [
        ["internal_server_error", 500],
        ["generation_timeout", 504],
        ["downstream_service_error", 400],
        ["downstream_service_unavailable", 500],
      ] as const) {
        const answer = await ctx.call(`/run/${STUB}`, {
          method: "POST",
          body: { fail: "model", error_type: type },
        });
        const [item] = detail(status(answer, code, type), type);
        same([item.type, item.url], [type, `https://docs.fal.ai/errors/#${type}`], type);
        check(
          ["true", "false"].includes(answer.header("x-fal-retryable") ?? ""),
          `no x-fal-retryable with ${type}`,
        );
      }
    },
  },
  {
    number: 138,
    title: "each request error has its body and header",
    alone: true,
    async run(ctx) {
      for (const [input, code, type] of [
        [{ fail: "error" }, 500, "runner_server_error"],
        [{ fail: "crash", prompt: randomUUID() }, 503, "runner_disconnected"],
      ] as const) {
        const answer = status(await ctx.call(`/run/${STUB}`, { method: "POST", body: input }), code, type);
        same(
          [answer.json().error_type, answer.header("x-fal-error-type")],
          [type, type],
          "error_type, in the body and the header",
        );
        check(["0", "1"].includes(answer.header("x-fal-needs-retry") ?? ""), "no x-fal-needs-retry");
        detail(answer, type);
      }
    },
  },
  {
    number: 139,
    title: "JS .body.detail equals the server's; PY message equals detail",
    alone: true,
    needs: ["tls"],
    async run(ctx) {
      const { detail: said } = (await ctx.call("/run/nobody/nothing", { method: "POST", body: {} })).json();
      same(
        (await fails(ctx.fal().run("nobody/nothing", { input: {} }), "the run")).body.detail,
        said,
        "JS body.detail",
      );
      const py = await ctx.python("crashed");
      const body = { fail: "crash", prompt: randomUUID() };
      const crashed = (await ctx.call(`/run/${STUB}`, { method: "POST", body })).json();
      same(py.message.split(":")[0], crashed.detail.split(":")[0], "PY's message");
    },
  },
  {
    number: 140,
    title: "405 for wrong methods, as JSON",
    async run(ctx) {
      for (const [method, path] of [
        ["DELETE", `/queue/${STUB}`],
        ["POST", ctx.at("00000000-0000-4000-8000-000000000000", "/status")],
        ["GET", ctx.at("00000000-0000-4000-8000-000000000000", "/cancel")],
        ["PUT", `/run/${STUB}`],
      ] as const)
        detail(status(await ctx.call(path, { method }), 405, `${method} ${path}`), `${method} ${path}`);
    },
  },
  {
    number: 141,
    title: "an API key on ADMIN operations: authorization_error",
    needs: ["otherKey", "adminKey"],
    run: async (ctx) =>
      same(
        status(
          await ctx.call(`${ctx.adminUrl}/v1/keys`, { key: ctx.otherKey ?? "" }),
          403,
          "the list of keys",
        ).json().error.type,
        "authorization_error",
        "type",
      ),
  },
  notApplicable(
    142,
    "a public app without a key",
    "no app is public yet: keys and their rights are the subject of a later version",
  ),
];
