/** Sync runs and streams while parts of the platform die, and with callers who hardly read. */
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

interface Told {
  id: string;
  // biome-ignore lint/suspicious/noExplicitAny: each test knows what it reads
  data: any;
}

/** Reads a stream's events into `told` until it ends or breaks. */
async function read(
  response: Response,
  told: Told[],
  enough: (told: Told[]) => boolean = () => false,
): Promise<void> {
  let text = "";
  const chunks = (response.body ?? new Blob([]).stream()).pipeThrough(new TextDecoderStream());
  for await (const chunk of chunks as unknown as AsyncIterable<string>) {
    text += chunk;
    const blocks = text.split("\n\n");
    text = blocks.pop() ?? "";
    for (const block of blocks) {
      const [, id, data] = /^id: (.*)\ndata: (.*)$/.exec(block) ?? [];
      if (id !== undefined) told.push({ id, data: JSON.parse(data ?? "null") });
    }
    if (enough(told)) return;
  }
}

describe("a stream", () => {
  it("goes on at the restarted gateway: each step once, one job", async () => {
    const told: Told[] = [];
    const answer = await post(`/${STUB}/stream`, { delay_ms: 12_000, steps: 24 });
    const broken = read(answer, told).catch((error: Error) => error);
    await expect.poll(() => told.length, { timeout: 30_000 }).toBeGreaterThan(2);
    await cluster.kill("gateway");
    expect(await broken).toBeInstanceOf(Error);
    await cluster.restart("gateway");
    const resumed = await post(`/${STUB}/stream`, {}, { "last-event-id": told.at(-1)?.id ?? "" });
    expect(resumed.headers.get("x-fal-request-id")).toBe(answer.headers.get("x-fal-request-id"));
    await read(resumed, told);
    expect(told.flatMap(({ data }) => (data.type === "progress" ? [data.step] : []))).toEqual(
      Array.from({ length: 24 }, (_, i) => i + 1),
    );
    expect(told.at(-1)?.data).toMatchObject({ attempt: 1 });
  });

  it("read at a byte now and then, keeps nobody else waiting", async () => {
    const { hostname, port } = new URL(cluster.url);
    const body = JSON.stringify({ delay_ms: 3_000, steps: 1_000, payload: "x".repeat(20_000) });
    const slow = connect(Number(port), hostname);
    slow.pause();
    slow.write(
      `POST /${STUB}/stream HTTP/1.1\r\nhost: x\r\nauthorization: Key ${cluster.key}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    try {
      const startedAtMs = performance.now();
      for (let i = 0; i < 20; i++) expect((await post(`/${STUB}`, { prompt: `${i}` })).status).toBe(200);
      expect(performance.now() - startedAtMs).toBeLessThan(10_000);
    } finally {
      slow.destroy();
    }
  });
});

describe("a sync run", () => {
  it("is answered although the event log dies under it", async () => {
    const answer = post(`/${STUB}`, { delay_ms: 3_000, steps: 30, prompt: "kept" });
    await started();
    await cluster.kill("redis");
    try {
      const response = await answer;
      expect(response.status).toBe(200);
      expect(await response.json()).toMatchObject({ echo: "kept" });
    } finally {
      await cluster.restart("redis");
    }
  });

  it("ends with a request error when its GPU worker dies: no second attempt", async () => {
    const answer = post(`/${STUB}`, { delay_ms: 60_000, steps: 600 });
    await started();
    await cluster.kill("gpu-worker");
    try {
      const response = await answer;
      expect(response.status).toBe(503);
      expect(await response.json()).toMatchObject({ error_type: "runner_disconnected" });
      expect(response.headers.get("x-fal-needs-retry")).toBe("1");
    } finally {
      await cluster.restart("gpu-worker");
    }
  });

  /** Resolves when some request runs. */
  async function started(): Promise<void> {
    await expect.poll(async () => (await cluster.running()).length, { timeout: 30_000 }).toBeGreaterThan(0);
  }
});
