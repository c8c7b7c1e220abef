import { Readable } from "node:stream";
import { Hono } from "hono";
import { describe, expect, it } from "vitest";
import { wideBudgets } from "../../../tests/setup/wide-budgets.ts";
import { answerError } from "../http/answer-error.ts";
import { createArtifact } from "./file.ts";

const SHA = "a".repeat(64);
const TAG = `"${SHA}"`;
const BYTES = Buffer.from("0123456789");
const object = () => ({ info: { bytes: BYTES.length, contentType: "image/png" } });
const artifact = createArtifact({
  budgets: wideBudgets(),
  objects: {
    head: async () => object().info,
    get: async (_key: string, range?: { start: number; end: number }) => ({
      ...object(),
      body: Readable.from([BYTES.subarray(range?.start ?? 0, (range?.end ?? 9) + 1)], { objectMode: false }),
    }),
  },
} as never);
const app = new Hono()
  .get("/", (c) => artifact(c, `aa/${SHA}.png`))
  .onError((error, c) => answerError(c, error, { log: { error() {}, warn() {} } } as never));
const get = async (headers: Record<string, string>, method = "GET") => {
  const response = await app.request("/", { method, headers });
  return { status: response.status, text: await response.text(), headers: response.headers };
};

describe("If-None-Match", () => {
  it.each([TAG, `W/${TAG}`, `"x", ${TAG}`, `"x,y" , W/${TAG}`, ` ${TAG} `, "*", `,${TAG},`])(
    "%s names the file: 304",
    async (tags) => {
      for (const method of ["GET", "HEAD"]) {
        const { status, text, headers } = await get({ "if-none-match": tags }, method);
        expect([status, text, headers.get("etag")]).toEqual([304, "", TAG]);
        expect(headers.get("cache-control")).toContain("immutable");
      }
    },
  );

  it.each(['"x"', 'W/"x"', `"x,${SHA}"`, SHA, '"*"', ""])("%s does not: 200", async (tags) => {
    expect((await get({ "if-none-match": tags })).status).toBe(200);
  });
});

describe("If-Match", () => {
  it.each([TAG, `"x", ${TAG}`, "*"])("%s names the file: 200", async (tags) => {
    expect((await get({ "if-match": tags })).status).toBe(200);
  });

  it.each([`W/${TAG}`, '"x"', '"x", "y"'])("%s does not, compared strongly: 412", async (tags) => {
    expect((await get({ "if-match": tags })).status).toBe(412);
  });

  it("is judged before If-None-Match and Range", async () => {
    const headers = { "if-match": '"x"', "if-none-match": TAG, range: "bytes=0-1" };
    expect((await get(headers)).status).toBe(412);
  });
});

describe("If-Range", () => {
  it("with the file's tag gives the range, with any other the whole file", async () => {
    expect(await get({ "if-range": TAG, range: "bytes=2-3" })).toMatchObject({ status: 206, text: "23" });
    for (const other of [`W/${TAG}`, '"x"', "Sun, 06 Nov 1994 08:49:37 GMT"])
      expect(await get({ "if-range": other, range: "bytes=2-3" })).toMatchObject({
        status: 200,
        text: "0123456789",
      });
    expect((await get({ "if-range": '"x"', range: "bytes=99-" })).status).toBe(200);
  });
});

it("lets pages of other origins embed a file, also with COEP", async () => {
  for (const headers of [{}, { range: "bytes=0-1" }, { "if-none-match": TAG }, { range: "bytes=99-" }])
    expect((await get(headers)).headers.get("cross-origin-resource-policy")).toBe("cross-origin");
});
