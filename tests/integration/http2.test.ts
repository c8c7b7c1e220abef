/** HTTP/2 on the TLS port: the same answers as over HTTP/1.1, and the clients that choose it. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type ClientHttp2Session, connect, type IncomingHttpHeaders } from "node:http2";
import { request as httpsRequest } from "node:https";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { createFalClient } from "@fal-ai/client";
import { Agent, fetch as fetchWith } from "undici";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { freePort } from "../../src/dev/services/port.ts";
import { inBrowser } from "../conformance/fal/browser.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const STUB = "tempera/stub";

let test: TestPlatform;
let port: number;
let ca: Buffer;
let session: ClientHttp2Session;
beforeAll(async () => {
  test = await startTestPlatform({ TEMPERA_TLS: "1", TEMPERA_TLS_PORT: String(await freePort()) });
  port = Number(new URL(test.platform.tls?.url ?? "").port);
  ca = readFileSync(test.platform.tls?.caFile ?? "");
  session = connect(`https://localhost:${port}`, { ca });
});
afterAll(async () => {
  session.destroy();
  await test[Symbol.asyncDispose]();
});

interface Call {
  method?: string;
  path: string;
  headers?: Record<string, string>;
  body?: string | Buffer;
  /** The name that the caller uses; without it `localhost`. */
  host?: string;
  /** Leaves the key out. */
  anonymous?: boolean;
}

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

const headersOf = ({ headers = {}, anonymous }: Call): Record<string, string> => ({
  ...(!anonymous && { authorization: `Key ${test.platform.key}` }),
  ...headers,
});

async function gather(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function overHttp1(call: Call): Promise<Answer> {
  const { method = "GET", path, body, host = "localhost" } = call;
  const headers: Record<string, string | number> = { host: `${host}:${port}`, ...headersOf(call) };
  if (body !== undefined) headers["content-length"] = Buffer.byteLength(body);
  const request = httpsRequest({
    host: "127.0.0.1",
    servername: host,
    port,
    ca,
    agent: false,
    method,
    path,
    headers,
  });
  request.end(body);
  const [response] = await once(request, "response");
  return { status: response.statusCode, headers: response.headers, body: await gather(response) };
}

async function overHttp2(call: Call): Promise<Answer> {
  const { method = "GET", path, body, host = "localhost" } = call;
  const stream = session.request({
    ":method": method,
    ":path": path,
    ":authority": `${host}:${port}`,
    ...headersOf(call),
    ...(body !== undefined && { "content-length": Buffer.byteLength(body) }),
  });
  stream.end(body);
  const [headers] = await once(stream, "response");
  return { status: headers[":status"], headers, body: await gather(stream) };
}

const json = { "content-type": "application/json" };
const submit = async (): Promise<string> => {
  const { body } = await overHttp1({ method: "POST", path: `/queue/${STUB}`, headers: json, body: "{}" });
  return JSON.parse(body.toString()).request_id;
};

/** Headers that only HTTP/1.1 has, and those that differ with each answer. */
const OWN = new Set([
  ...["connection", "keep-alive", "transfer-encoding", ":status"],
  ...["date", "x-fal-request-id", "server-timing"],
]);
const SEEDED = '{"seed":7}';
const ID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;

/** Leaves out of an answer all that differs between two equal calls. */
function comparable({ status, headers, body }: Answer): object {
  const kept = Object.entries(headers)
    .filter(([name]) => !OWN.has(name) && !(name === "content-length" && body.length > 0))
    .map(([name, value]) => [name, String(value).replace(ID, "id")]);
  const text = body
    .toString("latin1")
    .replace(ID, "id")
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "time")
    .replace(/"(inference_time|queue_position)":[\d.]+/g, '"$1":0')
    .replace(/^id: .*$/gm, "id")
    .replace(/files\/[^"?]+/g, "file");
  return { status, headers: Object.fromEntries(kept), body: text };
}

describe("an answer is the same over HTTP/1.1 and HTTP/2", () => {
  let requestId: string;
  let file: string;
  beforeAll(async () => {
    requestId = await submit();
    await overHttp1({ path: `/queue/${STUB}/requests/${requestId}/status/stream` });
    const uploaded = await overHttp1({
      method: "POST",
      path: "/files/upload",
      headers: { "content-type": "image/png", "x-fal-file-name": "a.png" },
      body: Buffer.alloc(100_000, "x"),
    });
    file = new URL(JSON.parse(uploaded.body.toString()).access_url).pathname;
  });

  const CALLS: [string, number, () => Call][] = [
    ["a health check", 200, () => ({ path: "/health/live", anonymous: true })],
    ["a submit", 200, () => ({ method: "POST", path: `/queue/${STUB}`, headers: json, body: "{}" })],
    [
      "a submit in gzip",
      200,
      () => ({
        method: "POST",
        path: `/queue/${STUB}`,
        headers: { ...json, "content-encoding": "gzip" },
        body: gzipSync("{}"),
      }),
    ],
    [
      "a submit that does not fit the model",
      422,
      () => ({ method: "POST", path: `/queue/${STUB}`, headers: json, body: '{"steps":"many"}' }),
    ],
    ["a submit that is no JSON", 400, () => ({ method: "POST", path: `/queue/${STUB}`, body: "{" })],
    [
      "a submit that is too large",
      413,
      () => ({ method: "POST", path: `/queue/${STUB}`, body: Buffer.alloc(40_000_000, " ") }),
    ],
    [
      "a submit without a key",
      401,
      () => ({ method: "POST", path: `/queue/${STUB}`, body: "{}", anonymous: true }),
    ],
    ["a submit to nobody", 404, () => ({ method: "POST", path: "/queue/no/body", body: "{}" })],
    ["a status", 200, () => ({ path: `/queue/${STUB}/requests/${requestId}/status?logs=1` })],
    ["a HEAD of it", 200, () => ({ method: "HEAD", path: `/queue/${STUB}/requests/${requestId}/status` })],
    ["a status stream", 200, () => ({ path: `/queue/${STUB}/requests/${requestId}/status/stream` })],
    [
      "a HEAD of it",
      200,
      () => ({ method: "HEAD", path: `/queue/${STUB}/requests/${requestId}/status/stream` }),
    ],
    ["a result", 200, () => ({ path: `/queue/${STUB}/requests/${requestId}` })],
    ["a cancel", 400, () => ({ method: "PUT", path: `/queue/${STUB}/requests/${requestId}/cancel` })],
    ["an unknown request", 404, () => ({ path: `/queue/${STUB}/requests/${STUB.length}/status` })],
    ["a wrong method", 405, () => ({ method: "DELETE", path: `/queue/${STUB}/requests/${requestId}` })],
    ["a run", 200, () => ({ method: "POST", path: `/run/${STUB}`, headers: json, body: SEEDED })],
    ["a stream", 200, () => ({ method: "POST", path: `/run/${STUB}/stream`, headers: json, body: SEEDED })],
    ["fal's host", 200, () => ({ path: `/${STUB}/requests/${requestId}/status`, host: "queue.fal.run" })],
    [
      "the proxy form",
      200,
      () => ({
        path: "/api/fal/proxy",
        headers: { "x-fal-target-url": `https://queue.fal.run/${STUB}/requests/${requestId}/status` },
      }),
    ],
    [
      "an upload",
      200,
      () => ({
        method: "POST",
        path: "/files/upload",
        headers: { "content-type": "image/png" },
        body: "png",
      }),
    ],
    ["a file", 200, () => ({ path: file })],
    ["a HEAD of it", 200, () => ({ method: "HEAD", path: file })],
    ["a part of it", 206, () => ({ path: file, headers: { range: "bytes=10-19" } })],
    ["a part beyond its end", 416, () => ({ path: file, headers: { range: "bytes=200000-" } })],
    [
      "a preflight",
      204,
      () => ({
        method: "OPTIONS",
        path: `/queue/${STUB}`,
        headers: { origin: "https://page.example", "access-control-request-method": "POST" },
        anonymous: true,
      }),
    ],
    ["a WebSocket's address", 426, () => ({ path: "/ws/x" })],
  ];

  it.each(CALLS)("for %s: %i", async (_, status, call) => {
    const [first, second] = [await overHttp1(call()), await overHttp2(call())];
    expect(comparable(second)).toEqual(comparable(first));
    expect(second.status).toBe(status);
    if (second.body.length > 0 && second.headers["content-length"] !== undefined)
      expect(Number(second.headers["content-length"])).toBe(second.body.length);
    expect(second.headers["x-fal-request-id"] !== undefined).toBe(
      first.headers["x-fal-request-id"] !== undefined,
    );
  });
});

describe("a client of HTTP/2", () => {
  it("can call while seven status streams are open on its one connection", async () => {
    const streams = await Promise.all(
      Array.from({ length: 7 }, async () => {
        const body = JSON.stringify({ delay_ms: 60_000, steps: 600 });
        const { body: text } = await overHttp2({
          method: "POST",
          path: `/queue/${STUB}`,
          headers: json,
          body,
        });
        const { request_id } = JSON.parse(text.toString());
        const path = `/queue/${STUB}/requests/${request_id}`;
        const stream = session.request({ ":path": `${path}/status/stream`, ...headersOf({ path }) });
        await once(stream, "data");
        return { stream, path };
      }),
    );
    for (const { path } of streams) {
      const { body } = await overHttp2({ path: `${path}/status` });
      expect(["IN_QUEUE", "IN_PROGRESS"]).toContain(JSON.parse(body.toString()).status);
    }
    for (const { stream, path } of streams) {
      const left = once(stream.resume(), "end");
      expect((await overHttp2({ method: "PUT", path: `${path}/cancel` })).status).toBe(202);
      await left;
    }
  });

  it("is fal's own, through undici", async () => {
    const dispatcher = new Agent({ allowH2: true, connect: { ca } });
    let connections = 0;
    dispatcher.on("connect", () => {
      connections += 1;
    });
    const fal = createFalClient({
      credentials: test.platform.key,
      fetch: ((url: string, init: RequestInit) =>
        fetchWith(url.replace("https://queue.fal.run", `https://localhost:${port}/queue`), {
          ...init,
          dispatcher,
        } as never)) as unknown as typeof fetch,
    });
    const { data } = await fal.subscribe(STUB, { input: { prompt: "over h2" }, mode: "streaming" });
    expect(data).toMatchObject({ echo: "over h2" });
    const error = await fal.subscribe(STUB, { input: { steps: "many" } as never }).catch((reason) => reason);
    expect([error.status, error.body.detail[0].loc]).toEqual([422, ["body", "steps"]]);
    expect(connections).toBe(1);
    await dispatcher.close();
  });

  it("is a browser, whose page opens seven streams and calls", async () => {
    const urls: string[] = [];
    for (let n = 0; n < 7; n += 1) {
      const body = JSON.stringify({ delay_ms: 60_000, steps: 600 });
      const { body: text } = await overHttp2({ method: "POST", path: `/queue/${STUB}`, headers: json, body });
      urls.push(`https://localhost:${port}/queue/${STUB}/requests/${JSON.parse(text.toString()).request_id}`);
    }
    const seen = await inBrowser(
      async ({ urls, headers }) => {
        const first = async (url: string): Promise<string> => {
          const answer = await fetch(`${url}/status/stream`, { headers });
          const chunk = await answer.body?.getReader().read();
          return new TextDecoder().decode(chunk?.value).slice(0, 5);
        };
        const events = await Promise.all(urls.map(first));
        const cancels = urls.map(
          async (url) => (await fetch(`${url}/cancel`, { method: "PUT", headers })).status,
        );
        return { events, cancels: await Promise.all(cancels) };
      },
      { urls, headers: headersOf({ path: "" }) },
      ["--ignore-certificate-errors"],
    );
    expect(seen).toEqual({
      events: Array(7).fill(expect.stringMatching(/^(data|id): ?/)),
      cancels: Array(7).fill(202),
    });
  });

  it("is curl", async () => {
    const { stdout } = await promisify(execFile)("curl", [
      ...["-s", "--http2", "--cacert", test.platform.tls?.caFile ?? "", "-w", " %{http_version}"],
      `https://localhost:${port}/health/live`,
    ]);
    expect(stdout).toBe('{"status":"live"} 2');
  });
});
