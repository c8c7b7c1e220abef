/** Sync runs and streams while parts of the platform are killed, and with slow readers. */
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Cluster, startCluster } from "./cluster.ts";

const STUB = "tempera/stub";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster(STUB);
});
afterAll(() => cluster[Symbol.asyncDispose]());

const post = (path: string, input: object, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${cluster.url}${path}`, {
    method: "POST",
    headers: { authorization: `Key ${cluster.key}`, "content-type": "application/json", ...headers },
    body: JSON.stringify(input),
  });

interface StreamEvent {
  id: string;
  // biome-ignore lint/suspicious/noExplicitAny: each test knows what it reads
  data: any;
}

/** Reads a stream's events into `events` until it ends or fails. */
async function read(
  response: Response,
  events: StreamEvent[],
  enough: (events: StreamEvent[]) => boolean = () => false,
): Promise<void> {
  let text = "";
  const chunks = (response.body ?? new Blob([]).stream()).pipeThrough(new TextDecoderStream());
  for await (const chunk of chunks as unknown as AsyncIterable<string>) {
    text += chunk;
    const blocks = text.split("\n\n");
    text = blocks.pop() ?? "";
    for (const block of blocks) {
      const [, id, data] = /^id: (.*)\ndata: (.*)$/.exec(block) ?? [];
      if (id !== undefined) events.push({ id, data: JSON.parse(data ?? "null") });
    }
    if (enough(events)) return;
  }
}

/** Resolves when a request runs. */
async function started(): Promise<void> {
  await expect.poll(async () => (await cluster.running()).length).toBeGreaterThan(0);
}

describe("a stream", () => {
  it("resumes at the restarted gateway, with each step once and one job", async () => {
    const events: StreamEvent[] = [];
    const response = await post(`/${STUB}/stream`, { delay_ms: 12_000, steps: 24 });
    const broken = read(response, events).catch((error: Error) => error);
    await expect.poll(() => events.length).toBeGreaterThan(2);
    await cluster.kill("gateway");
    expect(await broken).toBeInstanceOf(Error);
    await cluster.restart("gateway");
    const resumed = await post(`/${STUB}/stream`, {}, { "last-event-id": events.at(-1)?.id ?? "" });
    expect(resumed.headers.get("x-fal-request-id")).toBe(response.headers.get("x-fal-request-id"));
    await read(resumed, events);
    expect(events.flatMap(({ data }) => (data.type === "progress" ? [data.step] : []))).toEqual(
      Array.from({ length: 24 }, (_, i) => i + 1),
    );
    expect(events.at(-1)?.data).toMatchObject({ attempt: 1 });
  });

  it("does not delay other callers when it is read slowly", async () => {
    const { hostname, port } = new URL(cluster.url);
    // Its progress comes faster than it is read, and it never ends.
    const body = JSON.stringify({ delay_ms: 3_000, steps: 1_000, fail: "hang" });
    const slow = connect(Number(port), hostname);
    slow.pause();
    slow.write(
      [
        `POST /${STUB}/stream HTTP/1.1`,
        "host: x",
        `authorization: Key ${cluster.key}`,
        "content-type: application/json",
        `content-length: ${body.length}`,
        "",
        body,
      ].join("\r\n"),
    );
    await started();
    const [slowId = ""] = await cluster.running();
    try {
      for (let i = 0; i < 20; i++) expect((await post(`/${STUB}`, { prompt: `${i}` })).status).toBe(200);
      expect(await cluster.running()).toContain(slowId);
    } finally {
      slow.destroy();
      await cluster.client.cancel(STUB, slowId);
      await expect.poll(() => cluster.running()).toEqual([]);
    }
  });
});

describe("a sync run", () => {
  it("returns its output although the event log is killed", async () => {
    const pending = post(`/${STUB}`, { delay_ms: 3_000, steps: 30, prompt: "kept" });
    await started();
    await cluster.kill("redis");
    try {
      const response = await pending;
      expect(response.status).toBe(200);
      expect(await response.json()).toMatchObject({ echo: "kept" });
    } finally {
      await cluster.restart("redis");
    }
  });

  it("ends with a request error and no second attempt when its GPU worker is killed", async () => {
    const pending = post(`/${STUB}`, { delay_ms: 60_000, steps: 600 });
    await started();
    await cluster.kill("gpu-worker");
    try {
      const response = await pending;
      expect(response.status).toBe(503);
      expect(await response.json()).toMatchObject({ error_type: "runner_disconnected" });
      expect(response.headers.get("x-fal-needs-retry")).toBe("1");
    } finally {
      await cluster.restart("gpu-worker");
    }
  });
});
