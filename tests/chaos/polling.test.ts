/** Two GPU workers with memory for one model each, and three models. */
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Cluster, startCluster } from "./cluster.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const A = "test/a";
const B = "test/b";
/** Runs several requests at once, so that it is never idle between two of them. */
const MANY = "test/many";

interface EngineView {
  endpoint_id: string;
  worker: string;
  state: string;
  polled: boolean;
  running: number;
}

let cluster: Cluster;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-polling-"));
  const stub = "tempera/stub/1.0.0";
  const manifest = await readFile(join(PROJECT, "models", stub, "model.yaml"), "utf8");
  const schemas = join(folder, "schemas");
  await cp(join(PROJECT, "schemas"), schemas, {
    recursive: true,
    filter: (path) => !path.includes("/models/"),
  });
  for (const endpoint of [A, B, MANY]) {
    const own = manifest
      .replace(/^endpoint: .*/m, `endpoint: ${endpoint}`)
      .replace(/^slots: .*/m, `slots: ${endpoint === MANY ? 3 : 1}`)
      .replace(/^memoryMiB: .*/m, "memoryMiB: 400")
      .replace(/^pinned: .*/m, "pinned: false");
    await mkdir(join(folder, "models", endpoint, "1.0.0"), { recursive: true });
    await writeFile(join(folder, "models", endpoint, "1.0.0", "model.yaml"), own);
    await cp(join(PROJECT, "schemas/models", stub), join(schemas, "models", endpoint, "1.0.0"), {
      recursive: true,
    });
  }
  cluster = await startCluster(`${A},${B},${MANY}`, {
    TEMPERA_MODELS: join(folder, "models"),
    TEMPERA_SCHEMAS: schemas,
    TEMPERA_WORKER_MEMORY_MIB: "600",
    TEMPERA_WORKER_NAME: "first",
  });
  await cluster.addGpuWorker({ TEMPERA_WORKER_NAME: "second" });
});
afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const submit = async (endpoint: string, delayMs: number): Promise<string> =>
  (await cluster.client.submit(endpoint, { delay_ms: delayMs, steps: 5 })).request_id;
const statusOf = async (endpoint: string, id: string): Promise<string> =>
  (await cluster.client.status(endpoint, id)).status;
const reached = async (endpoint: string, id: string, expected: string): Promise<void> => {
  for await (const { status, error } of cluster.client.follow(endpoint, id)) {
    expect(error).toBeUndefined();
    if (status === expected) return;
  }
};
const engines = async (): Promise<EngineView[]> =>
  (await cluster.client.admin<{ engines: EngineView[] }>("GET", "/v1/engines")).engines;
const runningAt = async (endpoint: string): Promise<string[]> =>
  (await engines())
    .filter(({ endpoint_id, running }) => endpoint_id === endpoint && running > 0)
    .map(({ worker }) => worker);

describe("a GPU worker with memory for one of several models", () => {
  it("leaves the second model to the idle worker, however long the first one runs", async () => {
    expect((await engines()).filter(({ polled }) => polled)).toHaveLength(2);
    const long = await submit(A, 600_000);
    await reached(A, long, "IN_PROGRESS");
    const other = await submit(B, 600_000);
    await reached(B, other, "IN_PROGRESS");
    await expect.poll(async () => (await runningAt(B)).length).toBe(1);
    expect(await runningAt(B)).not.toEqual(await runningAt(A));
    await cluster.client.cancel(B, other);
    await reached(B, other, "COMPLETED").catch(() => {});

    // And back: the idle worker changes its model once more, and the busy one keeps its own.
    const again = await submit(A, 100);
    await reached(A, again, "COMPLETED");
    expect(await statusOf(A, long)).toBe("IN_PROGRESS");
    await cluster.client.cancel(A, long);
    await reached(A, long, "COMPLETED").catch(() => {});
  });

  it("serves another model in the middle of a stream of requests for one", async () => {
    const many: string[] = [];
    // Not all at once: a busy machine would not start so many workflows within a call's deadline.
    while (many.length < 500)
      many.push(...(await Promise.all(Array.from({ length: 20 }, () => submit(MANY, 1_000)))));
    await reached(MANY, many[0] as string, "COMPLETED");
    const other = await submit(B, 100);
    await reached(B, other, "COMPLETED");
    const statuses = await Promise.all(many.map((id) => statusOf(MANY, id)));
    const waiting = many.filter((_, i) => statuses[i] === "IN_QUEUE");
    expect(waiting.length).toBeGreaterThan(0);
    // The stream goes on afterwards, however long it still is.
    const [next = "", ...rest] = waiting;
    await Promise.all(rest.map((id) => cluster.client.cancel(MANY, id).catch(() => {})));
    await reached(MANY, next, "COMPLETED");
  });
});
