/** Runs the suite as a part of `npm test`: its own server, every case, each reported by its number. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CASES, CASES_BY_NUMBER } from "./cases/index.ts";
import type { OwnServer } from "./context.ts";
import { coverageText } from "./coverage.ts";
import { startForwarder } from "./forwarder.ts";
import { startOwnServer } from "./own-server.ts";
import type { SocketFault } from "./relay-sockets.ts";
import { casesOf, type Judged, judgeAll, openSession } from "./runner.ts";

let server: OwnServer;
beforeAll(async () => {
  server = await startOwnServer((line) => process.stderr.write(`${line}\n`));
});
afterAll(() => server?.stop());

it("has every case of the contract once, and lists them in COVERAGE.md", () => {
  expect(CASES_BY_NUMBER.map(({ number }) => number)).toEqual(Array.from({ length: CASES }, (_, i) => i + 1));
  expect(readFileSync(join(import.meta.dirname, "COVERAGE.md"), "utf8")).toBe(coverageText());
});

describe("this server", () => {
  const judged = new Map<number, Judged>();
  beforeAll(async () => {
    await using session = await openSession(server.target, { server });
    await judgeAll(session, [...CASES_BY_NUMBER], (each) => judged.set(each.number, each));
  });

  it.each(
    CASES_BY_NUMBER.filter(({ why }) => why === undefined).map(
      ({ number, title }) => [number, title] as const,
    ),
  )("case %i: %s", (number) => {
    // All requirements of cases are met here: a case that gives no reason and still does not apply has tested
    // nothing.
    const { outcome, why } = judged.get(number) ?? {};
    expect(outcome, why).toBe("passed");
  });
});

describe("a broken server fails", () => {
  /** Breaks JSON responses in the forwarder; each fault names a case that must detect it. */
  const json = (spoil: (body: Record<string, unknown>) => void) => (body: Buffer) => {
    if (!body.toString().startsWith("{")) return body;
    const value = JSON.parse(body.toString());
    spoil(value);
    return Buffer.from(JSON.stringify(value));
  };
  const faults: [
    string,
    number,
    (body: Buffer, headers: Record<string, unknown>, path: string) => Buffer | { status: number },
  ][] = [
    ["a submit without cancel_url", 20, json((body) => delete body.cancel_url)],
    [
      "a position that is text",
      20,
      json((body) => "queue_position" in body && Object.assign(body, { queue_position: "0" })),
    ],
    [
      "a result in an envelope",
      62,
      json((body) => "echo" in body && Object.assign(body, { echo: { data: body.echo } })),
    ],
    [
      "responses without a request id",
      83,
      (body, headers) => {
        delete headers["x-fal-request-id"];
        return body;
      },
    ],
    ["CRLF in streams", 93, (body) => Buffer.from(body.toString().replaceAll("\n", "\r\n"))],
    [
      "[DONE] at the end of streams",
      93,
      (body) => Buffer.from(body.toString().replace(/$/, "data: [DONE]\n\n")),
    ],
    [
      "characters that are not escaped",
      94,
      (body) => Buffer.from(body.toString().replaceAll("\\u00e9", "é")),
    ],
    [
      "200 for a request that waits",
      39,
      (body, _headers, path) => (path.endsWith("/status") ? { status: 200 } : body),
    ],
    ["404 as 500", 48, () => ({ status: 500 })],
    [
      "a workflow's output under another name",
      166,
      (body) => Buffer.from(body.toString().replace('"type":"output"', '"type":"result"')),
    ],
    [
      "definitions whose faults are reported as success",
      171,
      (body) => (body.toString().includes('"detail"') ? { status: 201 } : body),
    ],
    [
      "files of another type",
      119,
      (body, headers) => {
        if (headers["content-type"] === "text/plain") headers["content-type"] = "text/html";
        return body;
      },
    ],
  ];

  it.each(faults)("%s: case %i", async (_what, number, spoil) => {
    const between = await startForwarder(server.target.url, {
      change: ({ status, headers, body }, { path }) => {
        const spoiled = body.length === 0 ? body : spoil(body, headers, path.split("?")[0] ?? "");
        return Buffer.isBuffer(spoiled)
          ? { status, headers, body: spoiled }
          : { status: spoiled.status, headers, body };
      },
    });
    try {
      await using session = await openSession({ ...server.target, url: between.url });
      const [each] = casesOf(String(number));
      expect((await session.judge(each as NonNullable<typeof each>)).outcome).toBe("failed");
    } finally {
      await between.close();
    }
  });

  const silent = (message: string | Buffer) => (message.includes("Unauthorized") ? undefined : message);
  const socketFaults: [string, number, SocketFault][] = [
    ["a close without a code that is echoed unchanged", 115, { echoesCloses: true }],
    ["an expired token that is refused without a message", 112, { change: silent }],
    ["a foreign token that is refused without a message", 113, { change: silent }],
    [
      "a refusal in other words",
      113,
      { change: (message) => (message.includes("Unauthorized") ? '{"status":"error"}' : message) },
    ],
    ["refusals closed with 1008", 113, { closeCode: (code) => (code === 1000 ? 1008 : code) }],
  ];

  it.each(socketFaults)("%s: case %i", async (_what, number, fault) => {
    // Without the fault, the case passes through the same forwarder: so only the fault makes it fail.
    for (const [sockets, expected] of [
      [{}, "passed"],
      [fault, "failed"],
    ] as const) {
      const between = await startForwarder(server.target.url, { sockets });
      try {
        await using session = await openSession({ ...server.target, url: between.url });
        const [each] = casesOf(String(number));
        const { outcome, why } = await session.judge(each as NonNullable<typeof each>);
        expect(outcome, why).toBe(expected);
      } finally {
        await between.close();
      }
    }
  });
});
