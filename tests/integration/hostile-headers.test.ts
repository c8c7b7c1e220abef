/**
 * Request heads that no client sends: forged, broken and huge ones. Each is refused, and the next call is
 * served.
 */
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

let test: TestPlatform;
beforeAll(async () => {
  test = await startTestPlatform({ TEMPERA_WORKER_MODELS: "tempera/stub" });
});
afterAll(() => test[Symbol.asyncDispose]());

/** Sends bytes unchanged; resolves with all that came back once the connection is closed. */
const send = (base: string, text: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const { hostname, port } = new URL(base);
    const socket = connect(Number(port), hostname, () => socket.write(Buffer.from(text, "latin1")));
    let answer = "";
    socket.on("data", (bytes) => {
      answer += bytes.toString("latin1");
    });
    socket.on("error", (error: NodeJS.ErrnoException) =>
      error.code === "ECONNRESET" || error.code === "EPIPE" ? resolve(answer) : reject(error),
    );
    socket.on("close", () => resolve(answer));
  });
const statusOf = (answer: string): number => Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1]);
const headOf = (answer: string): string => answer.split("\r\n\r\n")[0] ?? "";
const END = "Host: x\r\nConnection: close\r\n";
const bases = (): [string, string][] => [
  ["gateway", test.platform.url],
  ["admin", test.platform.adminUrl],
];
const serves = async (): Promise<void> => {
  expect((await test.call("/health/live")).status).toBe(200);
  expect((await fetch(`${test.platform.adminUrl}/health/live`)).status).toBe(200);
};

it("never turns a line break in a value into a header of an answer", async () => {
  const broken = "a%0d%0ax-injected:%20yes";
  const raw = "a\rx-injected: yes";
  const auth = `Authorization: Key ${test.platform.key}\r\n`;
  for (const [name, base] of bases()) {
    for (const text of [
      `GET /queue/${broken} HTTP/1.1\r\n${END}${auth}\r\n`,
      `GET /v1/keys/${broken} HTTP/1.1\r\n${END}${auth}\r\n`,
      `GET /files/${broken}?x=${broken} HTTP/1.1\r\n${END}${auth}\r\n`,
      `POST /queue/tempera/stub?fal_webhook=http://x/${broken} HTTP/1.1\r\n${END}${auth}` +
        `X-Fal-Request-Timeout: ${broken}\r\nContent-Length: 2\r\n\r\n{}`,
      `OPTIONS /v1/tempera/codec/decode HTTP/1.1\r\n${END}Origin: ${broken}\r\n` +
        `Access-Control-Request-Headers: ${broken}\r\n\r\n`,
      `GET /health/live HTTP/1.1\r\n${END}X-Mine: ${raw}\r\n\r\n`,
      `GET /health/live HTTP/1.1\r\n${END}Origin: ${raw}\r\n\r\n`,
    ]) {
      const answer = await send(base, text);
      expect([name, text, statusOf(answer) < 500]).toEqual([name, text, true]);
      expect(headOf(answer).toLowerCase()).not.toMatch(/^x-injected/m);
    }
  }
  await serves();
});

describe("a huge head", () => {
  it("with a huge value, many values or a huge name is a 431, and other calls are served", async () => {
    for (const [, base] of bases())
      for (const huge of [
        `Authorization: Key ${"k".repeat(1_000_000)}\r\n`,
        Array.from({ length: 5_000 }, (_, n) => `X-H${n}: ${"v".repeat(20)}\r\n`).join(""),
        `${"n".repeat(100_000)}: v\r\n`,
        `Cookie: ${"c=1; ".repeat(20_000)}\r\n`,
      ]) {
        const answer = await send(base, `GET /health/live HTTP/1.1\r\n${END}${huge}\r\n`);
        // Node may cut the connection before its answer is read.
        expect([431, Number.NaN]).toContain(statusOf(answer));
      }
    await serves();
  });

  it("that just fits is read, and its key refused", async () => {
    for (const [, base] of bases()) {
      const path = base === test.platform.url ? "/queue/tempera/stub/requests/x/status" : "/v1/keys";
      const answer = await send(
        base,
        `GET ${path} HTTP/1.1\r\n${END}Authorization: Key ${"k".repeat(14_000)}\r\n\r\n`,
      );
      expect(statusOf(answer)).toBe(401);
      expect(answer.length).toBeLessThan(2_000);
    }
  });
});

it("refuses two lengths, a length beside chunks, and a broken head before a body is read", async () => {
  for (const [, base] of bases())
    for (const head of [
      "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
      "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" +
        "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
      "Content-Length: -1\r\n\r\n",
      "Content-Length: 1e3\r\n\r\n",
      " folded: yes\r\n\r\n",
      "No colon here\r\n\r\n",
    ]) {
      const answer = await send(base, `POST /queue/tempera/stub HTTP/1.1\r\nHost: x\r\n${head}`);
      expect([head, statusOf(answer)]).toEqual([head, 400]);
      expect(answer.match(/HTTP\/1\.1/g)).toHaveLength(1);
    }
  await serves();
});
