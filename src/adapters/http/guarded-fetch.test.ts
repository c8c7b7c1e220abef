/**
 * HTTP to addresses that callers name: refusals, bounds, and names whose address changes between requests.
 */
import { createServer, type RequestListener, type Server } from "node:http";
import { buffer, text } from "node:stream/consumers";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from "node:zlib";
import { afterEach, describe, expect, it } from "vitest";
import { parseAllowedPrivate } from "../../core/operations/address-policy.ts";
import { createGuardedFetch } from "./guarded-fetch.ts";
import type { Resolve } from "./resolve.ts";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;
const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});
/** Listens on one address of this machine. Resolves with the port. */
const serve = (host: string, answer: RequestListener, port = 0): Promise<number> =>
  new Promise((open) => {
    const server = createServer(answer);
    servers.push(server);
    server.listen(port, host, () => open((server.address() as { port: number }).port));
  });
const guard = (resolve: Resolve) =>
  createGuardedFetch({ allowed: parseAllowedPrivate("127.0.0.2"), resolve });
const post = (http: ReturnType<typeof guard>, url: string, timeoutMs = 5_000) =>
  http.post({ url, headers: {}, bytes: 2, body: Buffer.from("{}"), timeoutMs });
const download = (http: ReturnType<typeof guard>, url: string, bytesMax = 1_000) =>
  http.download(url, { bytesMax, timeoutMs: 5_000, signal: new AbortController().signal });

describe("a name", () => {
  it("that resolves to another address the second time is checked each time", async () => {
    let reached = 0;
    const port = await serve("127.0.0.1", (_, response) => {
      reached++;
      response.end();
    });
    await serve("127.0.0.2", (_, response) => response.writeHead(204).end(), port);
    const answers = [["127.0.0.2"], ["127.0.0.1"]];
    const http = guard(async () => answers.shift() ?? ["127.0.0.1"]);
    const url = `http://rebinding.example:${port}/`;
    expect(await post(http, url)).toMatchObject({ status: 204 });
    expect(await post(http, url)).toEqual({ error: expect.stringContaining("not public") });
    expect(reached).toBe(0);
  });

  it("is connected to at the address that was checked, not at its other addresses", async () => {
    let reached = 0;
    const port = await serve("127.0.0.1", (_, response) => {
      reached++;
      response.end();
    });
    await serve("127.0.0.2", (_, response) => response.writeHead(204).end(), port);
    expect(
      await post(
        guard(async () => ["127.0.0.1", "127.0.0.2"]),
        `http://both.example:${port}/`,
      ),
    ).toMatchObject({ status: 204 });
    expect(reached).toBe(0);
  });

  it("that cannot be found is reported as such", async () => {
    const nowhere = guard(() => Promise.reject(new Error("the name nowhere.example cannot be found")));
    expect(await post(nowhere, "http://nowhere.example/")).toEqual({
      error: expect.stringContaining("cannot be found"),
    });
  });
});

describe("a redirect", () => {
  it("to what is not public is refused for a download, and never followed by a delivery", async () => {
    let reached = 0;
    const inner = await serve("127.0.0.1", (_, response) => {
      reached++;
      response.end("secret");
    });
    const port = await serve("127.0.0.2", (_, response) =>
      response.writeHead(302, { location: `http://127.0.0.1:${inner}/` }).end(),
    );
    const http = guard(async (name) => [name]);
    await expect(download(http, `http://127.0.0.2:${port}/`)).rejects.toMatchObject({
      code: "file_download_error",
    });
    expect(await post(http, `http://127.0.0.2:${port}/`)).toMatchObject({ status: 302 });
    expect(reached).toBe(0);
  });

  it("in a circle ends with an error", async () => {
    const port = await serve("127.0.0.2", (_, response) => response.writeHead(302, { location: "/" }).end());
    await expect(
      download(
        guard(async (name) => [name]),
        `http://127.0.0.2:${port}/`,
      ),
    ).rejects.toMatchObject({ code: "file_download_error" });
  });
});

describe("a response", () => {
  it("is streamed with its content type", async () => {
    const port = await serve("127.0.0.2", (_, response) =>
      response.writeHead(200, { "content-type": "image/png" }).end("an image"),
    );
    const { contentType, body } = await download(
      guard(async (name) => [name]),
      `http://127.0.0.2:${port}/`,
    );
    expect([contentType, await text(body)]).toEqual(["image/png", "an image"]);
  });

  it.each([
    ["announced", { "content-length": "5000" }],
    ["not announced", {}],
  ])("larger than allowed is file_too_large, %s", async (_how, headers) => {
    const port = await serve("127.0.0.2", (_, response) =>
      response.writeHead(200, headers).end("x".repeat(5_000)),
    );
    const reading = download(
      guard(async (name) => [name]),
      `http://127.0.0.2:${port}/`,
    ).then(({ body }) => text(body));
    await expect(reading).rejects.toMatchObject({ code: "file_too_large" });
  });

  it("has an entity tag, and is not sent again to a caller who keeps that one", async () => {
    const port = await serve("127.0.0.2", (request, response) => {
      if (request.headers["if-none-match"] === '"1"') response.writeHead(304).end();
      else response.writeHead(200, { etag: '"1"' }).end("weights");
    });
    const http = guard(async (name) => [name]);
    const url = `http://127.0.0.2:${port}/`;
    const limits = { bytesMax: 1_000, timeoutMs: 5_000, signal: new AbortController().signal };
    const first = await http.download(url, limits);
    const entity = { etag: '"1"', from: url };
    expect([first.entity, await text(first.body)]).toEqual([entity, "weights"]);
    const again = { ...limits, ifNoneMatch: entity };
    expect(await http.download(`${url}?signature=2`, again)).toMatchObject({ isUnchanged: true });
    // The same tag of another host, to which the address leads now, names another file.
    const moved = await serve("127.0.0.2", (_, response) => response.writeHead(302, { location: url }).end());
    const from = `http://127.0.0.2:${moved}/`;
    const elsewhere = await http.download(from, { ...limits, ifNoneMatch: { etag: '"1"', from } });
    expect(await text(elsewhere.body)).toBe("weights");
    // Nobody who keeps nothing is told so.
    const unasked = await serve("127.0.0.2", (_, response) => response.writeHead(304).end());
    await expect(download(http, `http://127.0.0.2:${unasked}/`)).rejects.toThrow("answers 304");
  });

  it("that never ends is returned as far as it came, also when garbage was collected meanwhile", async () => {
    const port = await serve("127.0.0.2", (_, response) => void response.writeHead(200).write("so far"));
    const collecting = setInterval(collectGarbage, 20);
    const answer = await post(
      guard(async () => ["127.0.0.2"]),
      `http://127.0.0.2:${port}/`,
      3_600_000,
    );
    clearInterval(collecting);
    expect(answer).toEqual({ status: 200, answer: "so far" });
  });

  it("that never comes ends at the timeout", async () => {
    const port = await serve("127.0.0.2", () => {});
    expect(
      await post(
        guard(async (name) => [name]),
        `http://127.0.0.2:${port}/`,
        300,
      ),
    ).toEqual({ error: expect.stringContaining("0.3 s") });
  });
});

describe("a coded response", () => {
  const open = guard(async (name) => [name]);
  const IMAGE = Buffer.from(Array.from({ length: 900 }, (_, index) => (index * 7919) % 251));
  const fetchCoded = async (coding: string, body: Buffer, bytesMax?: number) => {
    const port = await serve("127.0.0.2", (_, response) =>
      response.writeHead(200, { "content-type": "image/png", "content-encoding": coding }).end(body),
    );
    return download(open, `http://127.0.0.2:${port}/a.png`, bytesMax);
  };

  it.each([
    ["gzip", gzipSync(IMAGE)],
    ["x-gzip", gzipSync(IMAGE)],
    [" GZIP ", gzipSync(IMAGE)],
    ["deflate", deflateSync(IMAGE)],
    ["deflate", deflateRawSync(IMAGE)],
    ["br", brotliCompressSync(IMAGE)],
    ["identity", IMAGE],
    ["aws-chunked", IMAGE],
  ])("in %j is decoded", async (coding, body) => {
    const { contentType, body: received } = await fetchCoded(coding, body);
    expect([contentType, await buffer(received)]).toEqual(["image/png", IMAGE]);
  });

  it("without a body is empty", async () => {
    expect(await buffer((await fetchCoded("gzip", Buffer.alloc(0))).body)).toHaveLength(0);
  });

  it("is bounded by its decoded size, and a bomb is not unpacked beyond it", async () => {
    const bomb = gzipSync(Buffer.alloc(50_000_000));
    let read = 0;
    const reading = fetchCoded("gzip", bomb, 100_000).then(async ({ body }) => {
      for await (const chunk of body as AsyncIterable<Buffer>) read += chunk.length;
    });
    await expect(reading).rejects.toMatchObject({ code: "file_too_large" });
    expect(read).toBeLessThanOrEqual(100_000);
  });

  it.each([
    ["gzip", Buffer.from("not gzip at all")],
    ["gzip", gzipSync(IMAGE).subarray(0, 200)],
    ["br", Buffer.from([0xff, 0xff, 0xff, 0xff])],
  ])("that is not in its coding %s is an error that says so", async (coding, body) => {
    const reading = fetchCoded(coding, body).then(({ body: received }) => buffer(received));
    await expect(reading).rejects.toMatchObject({
      code: "file_download_error",
      message: expect.stringContaining(`cannot be decoded as ${coding}`),
    });
  });

  it.each(["zstd", "gzip, gzip", "compress"])("in %s is refused by name", async (coding) => {
    await expect(fetchCoded(coding, IMAGE)).rejects.toMatchObject({
      code: "file_download_error",
      message: expect.stringContaining(`content encoding ${coding}`),
    });
  });
});

describe("a host that fails for now", () => {
  const open = guard(async (name) => [name]);

  it.each([
    [408, {}, undefined],
    [429, { "retry-after": "7" }, 7_000],
    [500, {}, undefined],
    [502, { "retry-after": "soon" }, undefined],
    [503, { "retry-after": "0" }, 0],
    [503, { "retry-after": "Sun, 06 Nov 1994 08:49:47 GMT", date: "Sun, 06 Nov 1994 08:49:37 GMT" }, 10_000],
    [504, { "retry-after": "Sun, 06 Nov 1994 08:49:27 GMT", date: "Sun, 06 Nov 1994 08:49:37 GMT" }, 0],
  ])("with %i and %j may be tried again", async (status, headers, retryAfterMs) => {
    const port = await serve("127.0.0.2", (_, response) => response.writeHead(status, headers).end());
    const error = await download(open, `http://127.0.0.2:${port}/`).catch((reason) => reason);
    expect(error).toMatchObject({ code: "file_unavailable", message: expect.stringContaining(`${status}`) });
    expect(error.retryAfterMs).toBe(retryAfterMs);
  });

  it("by a reset, before or within the body, may be tried again", async () => {
    const reset = await serve("127.0.0.2", (request) => request.socket.resetAndDestroy());
    await expect(download(open, `http://127.0.0.2:${reset}/`)).rejects.toMatchObject({
      code: "file_unavailable",
    });
    const midway = await serve("127.0.0.2", (request, response) => {
      response
        .writeHead(200, { "content-length": "900" })
        .write("x".repeat(10), () => request.socket.destroy());
    });
    const reading = download(open, `http://127.0.0.2:${midway}/`).then(({ body }) => text(body));
    await expect(reading).rejects.toMatchObject({ code: "file_unavailable" });
  });

  it.each([400, 401, 403, 404, 410, 501])("is not one that answers %i", async (status) => {
    const port = await serve("127.0.0.2", (_, response) => response.writeHead(status).end());
    await expect(download(open, `http://127.0.0.2:${port}/`)).rejects.toMatchObject({
      code: "file_download_error",
    });
  });
});
