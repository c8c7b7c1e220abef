/**
 * Files: uploads in every form, access to them, their expiry, and refusals. Runs on both object stores.
 */
import { createHash, randomBytes } from "node:crypto";
import { connect } from "node:net";
import { gzipSync } from "node:zlib";
import { createFalClient } from "@fal-ai/client";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createSignatures } from "../../src/core/files/signatures.ts";
import { systemClock } from "../../src/core/operations/clock.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const STUB = "tempera/stub";
const PART = 5 * 1024 * 1024;

const STORES: [string, () => Record<string, string>][] = [
  ["files", () => ({})],
  [
    "S3",
    () => ({
      S3_ENDPOINT: process.env.TEST_S3_ENDPOINT ?? "",
      S3_ACCESS_KEY: process.env.TEST_S3_ACCESS_KEY ?? "",
      S3_SECRET_KEY: process.env.TEST_S3_SECRET_KEY ?? "",
      S3_BUCKET: `storage-${randomBytes(4).toString("hex")}`,
    }),
  ],
];

describe.each(STORES)("on %s", (_store, env) => {
  let test: TestPlatform;
  let other: string;
  beforeAll(async () => {
    test = await startTestPlatform({ ...env(), TEMPERA_WORKER_MODELS: STUB });
    other = (await test.client.admin<{ key: string }>("POST", "/v1/keys", { alias: "other" })).key;
  });
  afterAll(() => test[Symbol.asyncDispose]());

  const json = async <T = Record<string, string>>(
    path: string,
    body: unknown,
    headers: Record<string, string> = {},
  ): Promise<T> => {
    const answer = await test.call(path, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw Object.assign(new Error(await answer.text()), { status: answer.status });
    return (await answer.json()) as T;
  };
  const initiate = (name = "a.txt", headers: Record<string, string> = {}, type = "text/plain") =>
    json<{ upload_url: string; file_url: string }>(
      "/rest/storage/upload/initiate?storage_type=fal-cdn-v3",
      { content_type: type, file_name: name },
      headers,
    );
  async function upload(
    bytes: Buffer | string,
    name?: string,
    headers?: Record<string, string>,
  ): Promise<string> {
    const { upload_url, file_url } = await initiate(name, headers);
    expect(
      (
        await fetch(upload_url, {
          method: "PUT",
          body: new Uint8Array(Buffer.from(bytes)),
          headers: { "content-type": "text/plain" },
        })
      ).status,
    ).toBe(200);
    return file_url;
  }
  const as = (key: string | undefined, url: string, init: RequestInit = {}) =>
    fetch(url, { ...init, headers: { ...(key && { authorization: `Key ${key}` }), ...init.headers } });

  describe("an upload", () => {
    it("is served as it was sent; the same bytes can be sent again, and others cannot", async () => {
      const { upload_url, file_url } = await initiate("Señal 1.txt");
      const put = (body: string) => fetch(upload_url, { method: "PUT", body });
      expect((await as(undefined, file_url)).status).toBe(404);
      expect((await put("hello")).status).toBe(200);
      const got = await as(undefined, file_url);
      expect(await got.text()).toBe("hello");
      expect(Object.fromEntries(got.headers)).toMatchObject({
        "content-type": "text/plain",
        "accept-ranges": "bytes",
        "x-content-type-options": "nosniff",
      });
      expect(file_url).toMatch(/\/Senal_1\.txt$/);
      expect((await put("hello")).status).toBe(200);
      expect((await put("other")).status).toBe(409);
    });

    it("by the official client, nested in an input, is read by the run", async () => {
      const fal = createFalClient({
        credentials: test.platform.key,
        proxyUrl: { url: `${test.platform.url}/api/fal/proxy`, when: "always" },
      });
      const bytes = randomBytes(200_000);
      const url = await fal.storage.upload(new Blob([new Uint8Array(bytes)], { type: "image/png" }));
      expect(Buffer.from(await (await fetch(url)).arrayBuffer()).equals(bytes)).toBe(true);
      const { data } = await fal.run(STUB, {
        input: { file_url: new Blob([new Uint8Array(bytes)], { type: "image/png" }) },
      });
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      expect((data as { input_file: object }).input_file).toEqual({
        sha256,
        bytes: bytes.length,
        content_type: "image/png",
      });
    });

    it("accepts parts as JavaScript sends them: JSON bodies, a query in the address", async () => {
      const { upload_url, file_url } = await json<{ upload_url: string; file_url: string }>(
        "/rest/storage/upload/initiate-multipart",
        {
          content_type: "video/mp4",
          file_name: "v.mp4",
        },
      );
      const at = (path: string) => {
        const url = new URL(upload_url);
        url.pathname += path;
        return url;
      };
      const bodies = [randomBytes(PART), randomBytes(PART), randomBytes(10)];
      const parts: { partNumber: number; etag: string }[] = [];
      for (const [i, body] of bodies.entries())
        parts.push(
          (await (
            await fetch(at(`/${i + 1}`), { method: "PUT", body: new Uint8Array(body) })
          ).json()) as (typeof parts)[0],
        );
      const complete = (list: unknown) =>
        fetch(at("/complete"), { method: "POST", body: JSON.stringify({ parts: list }) });
      expect((await complete(parts.slice(0, 2))).status).toBe(400);
      expect((await complete([parts[0], parts[2]])).status).toBe(400);
      expect((await complete([...parts, parts[0]])).status).toBe(400);
      expect((await complete(parts.map((part) => ({ ...part, etag: `"${"0".repeat(32)}"` })))).status).toBe(
        400,
      );
      expect((await complete([])).status).toBe(400);
      expect((await complete([parts[2], parts[0], parts[1]])).status).toBe(200);
      expect((await complete(parts)).status).toBe(200);
      expect((await fetch(at("/1"), { method: "PUT", body: "late" })).status).toBe(409);
      const got = Buffer.from(await (await fetch(file_url)).arrayBuffer());
      expect(got.equals(Buffer.concat(bodies))).toBe(true);
    });

    it("accepts parts as Python sends them: a CDN token, any order at once, one of them twice", async () => {
      const { token } = await json<{ token: string }>("/rest/storage/auth/token?storage_type=fal-cdn-v3", {});
      const cdn = (path: string, init: RequestInit) =>
        fetch(`${test.platform.url}/files${path}`, {
          ...init,
          headers: { authorization: `Bearer ${token}`, ...init.headers },
        });
      const begun = await cdn("/upload/multipart", {
        method: "POST",
        headers: { "content-type": "application/octet-stream", "x-fal-file-name": "w.bin" },
      });
      const { access_url, uploadId } = (await begun.json()) as { access_url: string; uploadId: string };
      const base = `${new URL(access_url).pathname.replace(/^\/files/, "")}/multipart/${uploadId}`;
      const bodies = [randomBytes(PART), randomBytes(PART), randomBytes(3)];
      await cdn(`${base}/2`, { method: "PUT", body: new Uint8Array(randomBytes(PART)) });
      const etags = await Promise.all(
        [2, 0, 1].map(async (i) => ({
          partNumber: i + 1,
          etag: (
            await cdn(`${base}/${i + 1}`, { method: "PUT", body: new Uint8Array(bodies[i] as Buffer) })
          ).headers.get("etag"),
        })),
      );
      const done = await cdn(`${base}/complete`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ parts: etags }),
      });
      expect(done.status).toBe(200);
      expect(Buffer.from(await (await fetch(access_url)).arrayBuffer()).equals(Buffer.concat(bodies))).toBe(
        true,
      );
      // Another owner's token does not give access to it.
      const { token: foreign } = (await (
        await as(other, `${test.platform.url}/rest/storage/auth/token`, { method: "POST", body: "{}" })
      ).json()) as { token: string };
      const meddled = await fetch(`${test.platform.url}/files${base}/1`, {
        method: "PUT",
        body: "x",
        headers: { authorization: `Bearer ${foreign}` },
      });
      expect(meddled.status).toBe(404);
    });

    it("in a content coding is kept, served with it, and decoded for a run", async () => {
      const coded = gzipSync("hello ".repeat(100));
      const { upload_url, file_url } = await initiate();
      const put = (encoding: string) =>
        fetch(upload_url, {
          method: "PUT",
          body: new Uint8Array(coded),
          headers: { "content-type": "text/plain", "content-encoding": encoding },
        });
      expect((await put("zstd")).status).toBe(415);
      for (let sent = 0; sent < 2; sent++) expect((await put("gzip")).status).toBe(200);
      const read = await fetch(file_url);
      expect(read.headers.get("content-encoding")).toBe("gzip");
      expect(await read.text()).toBe("hello ".repeat(100));
      const head = await fetch(file_url, { method: "HEAD" });
      expect(head.headers.get("content-encoding")).toBe("gzip");
      expect(head.headers.get("content-length")).toBe(String(coded.length));
      const ran = await test.call(`/${STUB}`, { method: "POST", body: JSON.stringify({ file_url }) });
      expect(await ran.json()).toMatchObject({ input_file: { bytes: 600 } });
    });

    it("that is interrupted leaves nothing, and can be sent again", async () => {
      const { upload_url, file_url } = await initiate();
      const { hostname, port, pathname, search } = new URL(upload_url);
      const ended = new Promise<void>((done) => {
        const socket = connect(Number(port), hostname, () => {
          socket.write(
            `PUT ${pathname}${search} HTTP/1.1\r\nhost: ${hostname}\r\ncontent-length: 100000\r\n\r\n` +
              "x".repeat(50_000),
            () => socket.destroy(),
          );
        });
        socket.on("close", () => done());
        socket.on("error", () => {});
      });
      await ended;
      expect((await fetch(file_url)).status).toBe(404);
      // The gateway may notice the two in either order; it answers "try again" until it abandons the first.
      await expect
        .poll(async () => (await fetch(upload_url, { method: "PUT", body: "whole" })).status)
        .toBe(200);
      expect(await (await fetch(file_url)).text()).toBe("whole");
    });

    it.each(["../../etc/passwd", "a\u0000b.txt", "..", "/", "C:\\x\\y.png", "x".repeat(5_000)])(
      "named %j stays in its place",
      async (name) => {
        const url = new URL(await upload("x", name));
        expect(url.pathname).toMatch(/^\/files\/[0-9a-f]{32}\/[\w.-]{1,110}$/);
        expect((await fetch(url)).status).toBe(200);
      },
    );

    it("needs its own address: a forged, another one's and an expired one are refused", async () => {
      const [a, b] = [await initiate(), await initiate()];
      const swapped = new URL(a.upload_url);
      swapped.search = new URL(b.upload_url).search;
      const forged = new URL(a.upload_url);
      forged.searchParams.set("upload", `${forged.searchParams.get("upload")?.slice(0, -2)}AA`);
      const longer = new URL(a.upload_url);
      longer.searchParams.set(
        "upload",
        (longer.searchParams.get("upload") ?? "").replace(/^\d+/, "9999999999"),
      );
      /** Signs as the gateway does, with another expiry. */
      const signatures = createSignatures({ secret: await test.secret("uploads"), clock: systemClock });
      const fileId = new URL(a.file_url).pathname.split("/")[2] ?? "";
      const until = (inMs: number): string => a.file_url + signatures.uploadQuery(fileId, Date.now() + inMs);
      for (const url of [swapped, forged, longer, a.file_url, until(-1_000)])
        expect((await fetch(url, { method: "PUT", body: "x" })).status, String(url)).toBe(403);
      expect((await fetch(until(60_000), { method: "PUT", body: "x" })).status).toBe(200);
      expect(
        (await fetch(`${test.platform.url}/rest/storage/upload/initiate`, { method: "POST", body: "{}" }))
          .status,
      ).toBe(401);
    });

    it("is refused with the faults of its announcement", async () => {
      for (const body of [
        [],
        { file_name: 3 },
        { content_type: "no type" },
        { content_type: "text/plain\r\nx: y" },
      ])
        await expect(json("/rest/storage/upload/initiate", body)).rejects.toMatchObject({ status: 422 });
      await expect(initiate("a", { "x-fal-object-lifecycle": "{" })).rejects.toMatchObject({ status: 422 });
    });
  });

  describe("reading", () => {
    it("serves ranges, HEAD and conditional requests", async () => {
      const url = await upload("0123456789");
      const range = async (value: string) => {
        const got = await fetch(url, { headers: { range: value } });
        return [got.status, await got.text(), got.headers.get("content-range")];
      };
      expect(await range("bytes=2-4")).toEqual([206, "234", "bytes 2-4/10"]);
      expect(await range("bytes=-3")).toEqual([206, "789", "bytes 7-9/10"]);
      expect(await range("bytes=8-")).toEqual([206, "89", "bytes 8-9/10"]);
      expect((await range("bytes=10-"))[0]).toBe(416);
      const head = await fetch(url, { method: "HEAD" });
      expect([head.status, head.headers.get("content-length")]).toEqual([200, "10"]);
      const etag = head.headers.get("etag") ?? "";
      expect((await fetch(url, { headers: { "if-none-match": etag } })).status).toBe(304);
      const page = await fetch(url, { headers: { origin: "https://app.example.com" } });
      expect(page.headers.get("access-control-allow-origin")).toBe("*");
    });

    it.each(["/files/ab/%00.png", `/files/${"a".repeat(32)}/none.txt`])(
      "answers 404 for %s",
      async (path) => {
        const { hostname, port } = new URL(test.platform.url);
        const status = await new Promise<string>((done, fail) => {
          const socket = connect(Number(port), hostname, () =>
            socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`),
          );
          let text = "";
          socket.on("data", (chunk) => {
            text += chunk;
          });
          socket.on("close", () => done(text.split(" ")[1] ?? ""));
          socket.on("error", fail);
        });
        expect(status).toBe("404");
      },
    );

    it("applies an access list: forbid, hide, a rule for one user, and a signed address", async () => {
      const lifecycle = (acl: object) => ({ "x-fal-object-lifecycle": JSON.stringify({ initial_acl: acl }) });
      const forbidden = await upload("secret", "f.txt", lifecycle({ default: "forbid" }));
      const hidden = await upload("secret", "h.txt", lifecycle({ default: "hide" }));
      expect([(await as(undefined, forbidden)).status, (await as(other, forbidden)).status]).toEqual([
        403, 403,
      ]);
      expect([(await as(undefined, hidden)).status, (await as(other, hidden)).status]).toEqual([404, 404]);
      expect(await (await as(test.platform.key, hidden)).text()).toBe("secret");
      const sign = (key: string | undefined, duration: unknown) =>
        as(key, `${hidden}/sign`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ duration, scope: ["read"] }),
        });
      const signed = (await (await sign(test.platform.key, 60)).text()).replaceAll('"', "");
      expect(await (await fetch(signed)).text()).toBe("secret");
      expect((await fetch(signed.replace(/.$/, (last) => (last === "A" ? "B" : "A")))).status).toBe(404);
      expect([
        (await sign(undefined, 60)).status,
        (await sign(other, 60)).status,
        (await sign(test.platform.key, -1)).status,
      ]).toEqual([401, 404, 422]);
      // A run reads only files that its own caller may read.
      const answer = await as(other, `${test.platform.url}/${STUB}`, {
        method: "POST",
        body: JSON.stringify({ file_url: hidden }),
      });
      expect(answer.status).toBe(422);
      expect(await answer.json()).toMatchObject({
        detail: [{ type: "file_download_error", loc: ["body", "file_url"] }],
      });
    });

    it("answers 404 after the file has expired, and sweeps its bytes", async () => {
      const url = await upload("brief", "b.txt", {
        "x-fal-object-lifecycle": '{"expiration_duration_seconds":1}',
      });
      await expect.poll(async () => (await fetch(url)).status, { interval: 200 }).toBe(404);
    });
  });

  describe("a produced file", () => {
    it("has the lifecycle that its caller prefers", async () => {
      const preference = {
        "x-fal-object-lifecycle-preference":
          '{"expiration_duration_seconds":2,"initial_acl":{"default":"hide"}}',
      };
      const { file } = await json<{ file: { url: string } }>(
        `/${STUB}`,
        { artifact_bytes: 1000, seed: 1 },
        preference,
      );
      expect((await as(undefined, file.url)).status).toBe(404);
      expect((await as(test.platform.key, file.url)).status).toBe(200);
      await expect
        .poll(async () => (await as(test.platform.key, file.url)).status, { interval: 200 })
        .toBe(404);
      const plain = await json<{ file: { url: string } }>(`/${STUB}`, { artifact_bytes: 1000, seed: 1 });
      expect((await fetch(plain.file.url)).status).toBe(200);
    });

    it("that is public gets its own address as the signed one, with a key", async () => {
      const { file } = await json<{ file: { url: string } }>(`/${STUB}`, { artifact_bytes: 1000, seed: 2 });
      const sign = (key: string | undefined, url: string, duration = 60) =>
        as(key, `${url}/sign`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ duration, scope: ["read"] }),
        });
      const signed = await sign(test.platform.key, file.url);
      expect([signed.status, await signed.text()]).toEqual([200, file.url]);
      const none = file.url.replace(/[0-9a-f]{4}\.bin$/, "0000.bin");
      const refused = [
        sign(undefined, file.url),
        sign(test.platform.key, file.url, -1),
        sign(test.platform.key, none),
      ];
      expect((await Promise.all(refused)).map(({ status }) => status)).toEqual([401, 422, 404]);
    });
  });

  describe("an input's address", () => {
    const run = (file_url: string) =>
      test.call(`/${STUB}`, { method: "POST", body: JSON.stringify({ file_url }) });

    it("may be a data URI, or an address of this server by any of its names", async () => {
      expect(await (await run("data:text/plain;base64,aGVsbG8=")).json()).toMatchObject({
        input_file: { bytes: 5, content_type: "text/plain" },
      });
      const { pathname } = new URL(await upload("ours"));
      for (const host of ["https://v3.fal.media", "http://localhost:1", test.platform.url])
        expect(await (await run(host + pathname)).json()).toMatchObject({ input_file: { bytes: 4 } });
    });

    it.each([
      "http://127.0.0.1:1/x",
      "http://169.254.169.254/latest/meta-data",
      "http://[::1]/",
      "http://0.0.0.0/",
      "http://2130706433/",
      "http://[::ffff:127.0.0.1]/",
      "ftp://example.com/x",
      "file:///etc/passwd",
      "data:text/plain;base64,%%%",
    ])("fails %s as the caller's fault, with one attempt", async (url) => {
      const answer = await run(url);
      expect(answer.status).toBe(422);
      expect(await answer.json()).toMatchObject({
        detail: [{ loc: ["body", "file_url"], type: "file_download_error" }],
      });
    });
  });
});
