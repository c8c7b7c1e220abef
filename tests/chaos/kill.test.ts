import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Outcome } from "../../src/core/requests/request.ts";
import { type Cluster, type Part, startCluster } from "./cluster.ts";

const STUB = "tempera/stub";
const JOBS = 20;
const seeds = Array.from({ length: JOBS }, (_, i) => 1000 + i);

/** The part of an output that is the same in all runs of a request. */
interface Result {
  seed: number;
  file: { url: string };
}

let cluster: Cluster;
let expected: Map<number, string>;
beforeAll(async () => {
  cluster = await startCluster(STUB);
  expected = await filesOf(await submitAll(0));
});
afterAll(() => cluster[Symbol.asyncDispose]());

const submitAll = (delayMs: number): Promise<string[]> =>
  Promise.all(
    seeds.map(
      async (seed) =>
        (
          await cluster.client.submit(STUB, {
            seed,
            delay_ms: delayMs,
            steps: delayMs / 100,
            artifact_bytes: 5_000,
          })
        ).request_id,
    ),
  );

/** Follows all requests to their end, whatever fails in between. Returns the files by seed. */
async function filesOf(ids: string[]): Promise<Map<number, string>> {
  const files = new Map<number, string>();
  await Promise.all(
    ids.map(async (id) => {
      await ended(id);
      const { seed, file } = (await cluster.client.result(STUB, id)) as Result;
      files.set(seed, file.url);
    }),
  );
  return files;
}

/** Polls as the Python client does, and tolerates an unavailable gateway. */
async function ended(id: string): Promise<void> {
  for (;;) {
    const status = await cluster.client.status(STUB, id).catch(() => undefined);
    if (status?.status === "COMPLETED") return;
    await new Promise((next) => setTimeout(next, 100));
  }
}

/** Removes the hosts of addresses: callers get files at the address that they called. */
const withoutHosts = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value).replaceAll(/http:\/\/[\w.]+:\d+/g, ""));

const allRunning = async (ids: string[]): Promise<void> => {
  await Promise.all(
    ids.map(async (id) => {
      for await (const { status } of cluster.client.follow(STUB, id)) if (status === "IN_PROGRESS") return;
    }),
  );
};

describe.each<Part | "engine">([
  "engine",
  "gpu-worker",
  "gateway",
  "orchestrator",
  "temporal",
  "postgres",
  "redis",
])("kill -9 of %s in the middle of 20 running jobs", (part) => {
  it("lets all 20 end, each with one outcome and the same files as without the failure", async () => {
    const ids = await submitAll(2_000);
    await allRunning(ids);
    if (part === "engine") {
      const [engine] = await cluster.engines();
      expect(engine).toBeDefined();
      process.kill(engine as number, "SIGKILL");
    } else {
      await cluster.kill(part);
      await cluster.restart(part);
    }
    expect(await filesOf(ids)).toEqual(expected);

    // One outcome each: PostgreSQL has the one that callers received.
    for (const id of ids) {
      await expect.poll(async () => (await cluster.requests.find(id))?.outcome?.ok).toBe(true);
      const outcome = (await cluster.requests.find(id))?.outcome as Outcome;
      const result = await cluster.client.result(STUB, id);
      expect(withoutHosts(outcome)).toMatchObject({ ok: true, output: { inline: withoutHosts(result) } });
    }
    expect(await cluster.requests.deadLetters(100)).toEqual([]);
  });
});

describe("submits while a service is unavailable", () => {
  it("are refused with 503 without Temporal; ended requests can still be read", async () => {
    const [id] = await submitAll(0);
    await ended(id as string);
    await cluster.kill("temporal");
    const refused = await cluster.client.submit(STUB, {}).catch((error) => error);
    expect(refused).toMatchObject({ status: 503 });
    expect(await cluster.client.result(STUB, id as string)).toMatchObject({ seed: seeds[0] });
    await cluster.restart("temporal");
    await expect
      .poll(() =>
        cluster.client.submit(STUB, {}).then(
          ({ status }) => status,
          () => "refused",
        ),
      )
      .toBe("IN_QUEUE");
  });

  it.each(["redis", "postgres"] as const)(
    "are accepted without %s; jobs run and results can be read",
    async (part) => {
      await cluster.kill(part);
      const { request_id: id } = await cluster.client.submit(STUB, { seed: 5 });
      // Without PostgreSQL, Temporal has the outcome before a caller is told.
      await ended(id);
      await cluster.restart(part);
      await ended(id);
      expect(await cluster.client.result(STUB, id)).toMatchObject({ seed: 5 });
      await expect.poll(async () => (await cluster.requests.find(id))?.outcome?.ok).toBe(true);
    },
  );
});
