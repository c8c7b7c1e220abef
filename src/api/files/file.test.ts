import { Hono } from "hono";
import { describe, expect, it } from "vitest";
import { wideBudgets } from "../../../tests/setup/wide-budgets.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { FileRecord } from "../../core/files/file.ts";
import { LIMITS } from "../../core/limits.ts";
import { createAuthFailureLimiter, createAuthFailures } from "../auth/auth-failure-limiter.ts";
import { answerError } from "../http/answer-error.ts";
import { createFile, parseRange } from "./file.ts";
import { createFindReadable } from "./readable.ts";

it.each([
  ["a private file", true],
  ["an unknown one, so that neither time nor count tells them apart", false],
])("counts the wrong keys that are tried on %s: a plain 404 to them", async (_file, exists) => {
  let lookups = 0;
  const record = {
    fileId: "f",
    ownerId: "ann",
    name: "a.png",
    contentType: "image/png",
    lifecycle: { acl: { default: "hide", rules: [] } },
    objectKey: "files/f",
    stored: { bytes: 1, etag: "e" },
  } as unknown as FileRecord;
  const refuse = async () => {
    lookups++;
    throw new TemperaError("key_unknown");
  };
  const api = {
    files: { find: async () => (exists ? record : undefined) },
    keyRing: { authenticate: refuse },
    tokens: { verify: refuse },
    clock: { nowMs: () => 0 },
    uploadSecret: Buffer.alloc(32),
    budgets: wideBudgets(),
  } as unknown as Parameters<typeof createFile>[0] & Parameters<typeof createFindReadable>[0];
  const file = createFile(api, createFindReadable(api));
  const app = new Hono();
  app.use(createAuthFailureLimiter({ failures: createAuthFailures() }));
  app.get("/", (c) => file(c, { fileId: "f", name: "a.png" }));
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  app.onError((error, c) => answerError(c, error, { log }));
  const read = (authorization: string) =>
    app.request(
      "/",
      { headers: { authorization } },
      { incoming: { socket: { remoteAddress: "192.0.2.1" } } },
    );
  for (let n = 0; n < LIMITS.authFailuresMax; n++)
    expect((await read(n % 2 ? `Key k:${n}` : `Bearer a.b.${n}`)).status).toBe(404);
  expect((await read("Key k:x")).status).toBe(429);
  expect((await read("Bearer a.b.x")).status).toBe(429);
  expect(lookups).toBe(LIMITS.authFailuresMax);
});

describe("a byte range", () => {
  it.each([
    ["bytes=0-99", { start: 0, end: 99 }],
    ["bytes=0-0", { start: 0, end: 0 }],
    ["bytes=999-999", { start: 999, end: 999 }],
    ["bytes=100-", { start: 100, end: 999 }],
    ["bytes=-100", { start: 900, end: 999 }],
    ["bytes=-5000", { start: 0, end: 999 }],
    ["bytes=500-99999999999999999999", { start: 500, end: 999 }],
    [" bytes=0-9 ", { start: 0, end: 9 }],
  ])("%j of 1000 bytes", (header, range) => expect(parseRange(header, 1000)).toEqual(range));

  it.each(["bytes=1000-", "bytes=1000-1001", "bytes=99999999999999999999-", "bytes=-0"])(
    "%j lies outside",
    (header) => expect(parseRange(header, 1000)).toBe("unsatisfiable"),
  );

  it.each(["bytes=0-", "bytes=-1", "bytes=0-0"])("%j of an empty file lies outside", (header) =>
    expect(parseRange(header, 0)).toBe("unsatisfiable"),
  );

  it.each([
    undefined,
    "",
    "bytes",
    "bytes=",
    "bytes=-",
    "bytes=5-2",
    "bytes=a-b",
    "bytes=0-1,5-6",
    "bytes=--1",
    "bytes=1-2-3",
    "bytes=0x0-1",
    "items=0-1",
    "bytes = 0-1",
    "bytes=1.5-2",
    "bytes=0-1x",
  ])("%j is ignored, as RFC 9110 allows", (header) => expect(parseRange(header, 1000)).toBeUndefined());
});
