/**
 * HTTP to addresses that callers name: refusals, bounds, and names whose address changes between requests.
 */
import { createServer, type RequestListener, type Server } from "node:http";
import { text } from "node:stream/consumers";
import { afterEach, describe, expect, it } from "vitest";
import { parseAllowedPrivate } from "../../core/operations/address-policy.ts";
import { createGuardedFetch } from "./guarded-fetch.ts";
import type { Resolve } from "./resolve.ts";

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

  it("that never comes ends at the timeout", async () => {
    const port = await serve("127.0.0.2", () => {});
    const startedAtMs = performance.now();
    expect(
      await post(
        guard(async (name) => [name]),
        `http://127.0.0.2:${port}/`,
        300,
      ),
    ).toEqual({ error: expect.stringContaining("0.3 s") });
    expect(performance.now() - startedAtMs).toBeLessThan(3_000);
  });
});
