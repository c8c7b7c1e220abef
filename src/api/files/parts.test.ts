import { Hono } from "hono";
import { expect, it } from "vitest";
import { wideBudgets } from "../../../tests/setup/wide-budgets.ts";
import type { FileRecord } from "../../core/files/file.ts";
import { setBodyShare } from "../http/body-share.ts";
import { Turns } from "../limits/turns.ts";
import { createComplete } from "./parts.ts";

const FILE = {
  fileId: "0123456789abcdef0123456789abcdef",
  ownerId: "ann",
  name: "a.bin",
  contentType: "a/b",
  lifecycle: {},
  objectKey: "files/01/a",
  partsId: "p",
  uploadUntilMs: 1,
};
/** The MD5 of the one part, and the etag of the file that was made of it. */
const PART = "d41d8cd98f00b204e9800998ecf8427e";
const WHOLE = "59adb24ef3cdbe0297f05b395827453f-1";

it("completes with the file that a concurrent completion has made of the same parts", async () => {
  let found: FileRecord = FILE;
  const complete = createComplete({
    keyRing: { authenticate: async () => ({ ownerId: "ann", keyId: "k", scope: "API" }) },
    files: {
      find: async () => found,
      parts: async () => {
        found = { ...FILE, stored: { bytes: 1, etag: WHOLE } };
        return [];
      },
    },
    clock: { nowMs: () => 0 },
    uploadSecret: new Uint8Array(32),
  } as never);
  const { fileId, name } = FILE;
  const app = new Hono().post("/", (c) => {
    setBodyShare(c, { hold: wideBudgets().bodies.acquire("ann", 0), turns: new Turns(), sender: "ann" });
    return complete(c, { fileId, name, uploadId: fileId });
  });
  const send = () =>
    app.request("/", { method: "POST", body: JSON.stringify({ parts: [{ partNumber: 1, etag: PART }] }) });
  const answer = await send();
  expect([answer.status, await answer.json()]).toEqual([
    200,
    { access_url: `http://localhost/files/${fileId}/${name}` },
  ]);
});
