import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { expect, it } from "vitest";
import { createS3ObjectStore } from "./s3-object-store.ts";

/** An S3 store that has its bucket and refuses every write with one status and code. */
async function refusingStore(status: number, code: string) {
  const server = createServer(async (incoming, response) => {
    for await (const _ of incoming);
    if (incoming.method === "HEAD" || incoming.method === "GET") return response.writeHead(200).end();
    const xml = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>refused</Message></Error>`;
    return response.writeHead(status, { "content-type": "application/xml" }).end(code ? xml : "");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const store = await createS3ObjectStore({
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    bucket: "bucket",
    region: "us-east-1",
    accessKey: "a",
    secretKey: "s",
  });
  return {
    store,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
    },
  };
}

const BYTES = Buffer.from("bytes");
const INFO = { bytes: BYTES.length, contentType: "text/plain" };
const UPLOAD = { key: "files/a", uploadId: "u" };

it.each([
  [507, "XMinioStorageFull", "The object store has no space left (XMinioStorageFull)"],
  [507, "InsufficientStorage", "The object store has no space left (InsufficientStorage)"],
  [400, "XMinioAdminBucketQuotaExceeded", "The object store has used up its quota"],
  [403, "QuotaExceeded", "The object store has used up its quota (QuotaExceeded)"],
])("a write that is refused with %s %s is store_full", async (status, code, message) => {
  await using refusing = await refusingStore(status, code);
  const { store } = refusing;
  for (const write of [
    () => store.put("files/a", BYTES, INFO),
    () => store.put("files/a", Readable.from([BYTES]), INFO),
    () => store.beginParts("files/a", "text/plain"),
    () => store.putPart(UPLOAD, 1, BYTES, BYTES.length),
    () => store.completeParts(UPLOAD, [{ number: 1, etag: "e" }], INFO),
  ])
    await expect(write()).rejects.toMatchObject({
      code: "store_full",
      store: "object store",
      message: expect.stringContaining(message),
    });
});

it("a put that is refused with 507 and no code is store_full", async () => {
  await using refusing = await refusingStore(507, "");
  await expect(refusing.store.put("files/a", BYTES, INFO)).rejects.toMatchObject({
    code: "store_full",
    message: expect.stringContaining("The object store has no space left (HTTP 507)"),
  });
});

it.each([
  [503, "SlowDown"],
  [503, "ServiceUnavailable"],
  [403, "AccessDenied"],
])("a write that is refused with %s %s is store_unavailable", async (status, code) => {
  await using refusing = await refusingStore(status, code);
  await expect(refusing.store.put("files/a", BYTES, INFO)).rejects.toMatchObject({
    code: "store_unavailable",
    store: "object store",
  });
});
