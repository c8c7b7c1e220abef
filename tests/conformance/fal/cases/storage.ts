/** Cases K: storage. */
import { createHash, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { Case } from "../case.ts";
import { type Context, STUB } from "../context.ts";
import { check, matches, same, status } from "../expect.ts";
import { startForwarder } from "../forwarder.ts";
import type { Json } from "../http.ts";

const MIB = 1024 * 1024;
const initiate = async (ctx: Context, headers: Record<string, string> = {}, query = ""): Promise<Json> =>
  status(
    await ctx.call(`/rest/storage/upload/initiate${query}`, {
      method: "POST",
      body: { content_type: "text/plain", file_name: "a.txt" },
      headers,
    }),
    200,
    "initiate",
  ).json();
const put = (ctx: Context, url: string, body: Buffer | string, headers: Record<string, string> = {}) =>
  ctx.call(url, {
    method: "PUT",
    body: Buffer.from(body),
    key: false,
    headers: { "content-type": "text/plain", ...headers },
  });
async function uploaded(ctx: Context, text: string, headers: Record<string, string> = {}): Promise<string> {
  const { upload_url, file_url } = await initiate(ctx, headers);
  status(await put(ctx, upload_url, text), 200, "the upload");
  return file_url;
}
const lifecycle = (value: Json): Record<string, string> => ({
  "x-fal-object-lifecycle": JSON.stringify(value),
});
const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

export const cases: Case[] = [
  {
    number: 119,
    title: "JS upload of 5 bytes: the same bytes and type come back",
    async run(ctx) {
      const url = await ctx.fal().storage.upload(new Blob(["hello"], { type: "text/plain" }));
      const got = await ctx.call(url, { key: false });
      same([got.text, got.header("content-type")], ["hello", "text/plain"], "what came back");
    },
  },
  {
    number: 120,
    title: "JS upload of 91 MiB in parts: the file is intact",
    async run(ctx) {
      const bytes = randomBytes(91 * MIB);
      const url = await ctx.fal().storage.upload(new Blob([new Uint8Array(bytes)], { type: "video/mp4" }));
      const got = await ctx.call(url, { key: false });
      same(sha256(got.bytes), sha256(bytes), "the digest");
    },
  },
  {
    number: 121,
    title: "JS uploads Blobs inside lists automatically",
    async run(ctx) {
      const { data } = await ctx.fal().run(STUB, {
        input: { payload: { list: [{ deep: new Blob(["a"], { type: "text/plain" }) }] } } as never,
      });
      const url = (data as Json).echo.list[0].deep;
      same((await ctx.call(url, { key: false })).text, "a", "what is at the address");
    },
  },
  {
    number: 122,
    title: "an upload URL with a query also works for the paths of parts",
    async run(ctx) {
      const made = status(
        await ctx.call("/rest/storage/upload/initiate-multipart", {
          method: "POST",
          body: { content_type: "text/plain", file_name: "a.txt" },
        }),
        200,
        "initiate",
      ).json();
      const at = (path: string): string => {
        const url = new URL(made.upload_url);
        check(url.search !== "", "the upload address has no query");
        url.pathname += path;
        return url.href;
      };
      const part = status(await put(ctx, at("/1"), "part one"), 200, "a part").json();
      const done = await ctx.call(at("/complete"), {
        method: "POST",
        body: { parts: [{ partNumber: 1, etag: part.etag }] },
        key: false,
      });
      status(done, 200, "complete");
      same((await ctx.call(made.file_url, { key: false })).text, "part one", "the file");
    },
  },
  {
    number: 123,
    title: "a PUT needs no key; a forged or foreign signature is a 403",
    elsewhere: "an expired one: `tests/integration/storage.test.ts`",
    async run(ctx) {
      const [one, two] = [await initiate(ctx), await initiate(ctx)];
      const forged = new URL(one.upload_url);
      check(forged.search.length > 8, "the upload address has no signature");
      forged.search = forged.search.slice(0, -8) + [...forged.search.slice(-8)].reverse().join("");
      status(await put(ctx, forged.href, "x"), 403, "a forged signature");
      const foreign = new URL(one.upload_url);
      foreign.search = new URL(two.upload_url).search;
      status(await put(ctx, foreign.href, "x"), 403, "a foreign signature");
      status(await put(ctx, one.file_url, "x"), 403, "no signature");
      status(await put(ctx, one.upload_url, "x"), 200, "the right one");
    },
  },
  {
    number: 124,
    title: "PY uploads bytes, text, a file and an image",
    needs: ["tls"],
    async run(ctx) {
      const said = await ctx.python("uploads");
      same(
        [said.bytes.bytes, said.text.start, said.file.start],
        [10, "some text", "a file"],
        "what came back",
      );
      matches(said.image.start, /PNG/, "the image");
      for (const { url } of Object.values(said) as Json[])
        matches(url, /^https:\/\/v3\.fal\.media\/files\//, "an address");
    },
  },
  {
    number: 125,
    title: "PY multipart upload of 101 MiB, with parts in parallel",
    needs: ["tls"],
    run: async (ctx) =>
      same((await ctx.python("multipart", { mib: 101 })).same, true, "whether the file is intact"),
  },
  {
    number: 126,
    title: "expires_at parses in every Python since 3.8",
    async run(ctx) {
      const { expires_at } = (
        await ctx.call("/rest/storage/auth/token?storage_type=fal-cdn-v3", { method: "POST", body: {} })
      ).json();
      // `fromisoformat` before 3.11 needs an offset with a colon, no Z, and no fraction or one of three or
      // six digits.
      matches(expires_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}|\.\d{6})?\+\d\d:\d\d$/, "expires_at");
    },
  },
  {
    number: 127,
    title: "PY falls back to storage_type=gcs when the CDN upload fails",
    needs: ["tls", "ownServer"],
    async run(ctx) {
      const files = { pem: ctx.server?.certificateFile ?? "", ca: ctx.caFile ?? "" };
      const between = await startForwarder(ctx.tlsUrl ?? "", {
        tls: { pem: await readFile(files.pem, "utf8"), ca: await readFile(files.ca, "utf8") },
        change: (answer, { path }) =>
          path === "/files/upload"
            ? { ...answer, status: 500, body: Buffer.from('{"detail":"The CDN is ill."}') }
            : answer,
      });
      try {
        const { port } = new URL(between.url);
        const { url, text } = await ctx.python("fallback", {}, { SERVED_AT: `127.0.0.1:${port}` });
        same(text, "by the fallback", "the file");
        const calls = between.seen.map(({ method, headers, path }) => `${method} ${headers.host}${path}`);
        const { pathname } = new URL(url);
        same(
          calls
            .map((line) => line.replace(pathname, "{file}").replace(/\?upload=.*/, "?…"))
            .filter((line) => !/auth\/token/.test(line)),
          [
            "POST v3.fal.media/files/upload",
            "POST rest.fal.ai/storage/upload/initiate?storage_type=gcs",
            "PUT v3.fal.media{file}?…",
            "GET v3.fal.media{file}",
          ],
          "what PY asked for",
        );
      } finally {
        await between.close();
      }
    },
  },
  {
    number: 128,
    title: "an expired object is no longer served",
    waits: true,
    async run(ctx) {
      const url = await uploaded(ctx, "brief", lifecycle({ expiration_duration_seconds: 2 }));
      status(await ctx.call(url, { key: false }), 200, "before its time");
      await sleep(2_500);
      status(await ctx.call(url, { key: false }), 404, "after its time");
    },
  },
  {
    number: 129,
    title: "ACL: forbid 403, hide 404, the owner 200",
    async run(ctx) {
      for (const [decision, code] of [
        ["forbid", 403],
        ["hide", 404],
      ] as const) {
        const url = await uploaded(ctx, "secret", lifecycle({ initial_acl: { default: decision } }));
        status(await ctx.call(url, { key: false }), code, decision);
        status(await ctx.call(url), 200, `${decision}, to its owner`);
      }
    },
  },
  {
    number: 130,
    title: "a signed URL works, and expires",
    async run(ctx) {
      const url = await uploaded(ctx, "secret", lifecycle({ initial_acl: { default: "hide" } }));
      const sign = async (duration: number): Promise<string> => {
        const answer = status(
          await ctx.call(`${url}/sign`, { method: "POST", body: { duration, scope: ["read"] } }),
          200,
          "sign",
        );
        return answer.text.trim().replace(/^"|"$/g, "");
      };
      // Two URLs are used: one valid for two seconds may expire before a busy machine has read it.
      same((await ctx.call(await sign(60), { key: false })).text, "secret", "what the signed address reads");
      const signed = await sign(2);
      await sleep(3_000);
      status(await ctx.call(signed, { key: false }), 404, "after its time");
    },
  },
  {
    number: 131,
    title: "Range and HEAD; CORS on GET and PUT",
    async run(ctx) {
      const origin = { origin: "https://app.example.com" };
      const { upload_url, file_url } = await initiate(ctx);
      const sent = await put(ctx, upload_url, "0123456789", origin);
      same(sent.header("access-control-allow-origin"), "*", "CORS on PUT");
      const part = status(
        await ctx.call(file_url, { key: false, headers: { ...origin, range: "bytes=2-4" } }),
        206,
        "a range",
      );
      same(
        [part.text, part.header("access-control-allow-origin")],
        ["234", "*"],
        "the range, and CORS on GET",
      );
      const head = status(await ctx.call(file_url, { method: "HEAD", key: false }), 200, "HEAD");
      same([head.header("content-length"), head.bytes.length], ["10", 0], "HEAD");
    },
  },
  {
    number: 132,
    title: "X-Fal-Object-Lifecycle-Preference holds for produced files",
    async run(ctx) {
      const headers = {
        "x-fal-object-lifecycle-preference": JSON.stringify({ expiration_duration_seconds: 2 }),
      };
      const { request_id: id } = await ctx.submit({ artifact_bytes: 100 }, { headers });
      await ctx.ended(id);
      const { url } = (await ctx.call(ctx.at(id))).json().file;
      status(await ctx.call(url, { key: false }), 200, "before its time");
      await sleep(2_500);
      status(await ctx.call(url, { key: false }), 404, "after its time");
    },
  },
];
