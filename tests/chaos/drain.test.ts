/** A GPU worker that is shut down while another one serves the same model. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Cluster, startCluster } from "./cluster.ts";

const STUB = "tempera/stub";
const JOBS = 16;

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster(STUB, {
    TEMPERA_GRACE_SECONDS: "1.5",
    TEMPERA_WORKER_NAME: "first",
  });
});
afterAll(() => cluster[Symbol.asyncDispose]());

interface Result {
  attempt: number;
  seed: number;
}

/** The input of a job whose first attempt runs until its worker stops it, and whose second ends at once. */
const UNTIL_STOPPED = { fail: "hang", fail_attempts: 1 };

const submit = async (seed: number, input: object, headers: Record<string, string> = {}): Promise<string> =>
  (await cluster.client.submit(STUB, { seed, ...input }, headers)).request_id;
const submitAll = (input: object): Promise<string[]> =>
  Promise.all(Array.from({ length: JOBS }, (_, i) => submit(i, input)));

/** Follows a request to its end. Returns its output, and how often it started. */
async function ended(id: string): Promise<Result & { starts: number }> {
  let starts = 0;
  let before = "";
  for await (const { status, error } of cluster.client.follow(STUB, id)) {
    expect(error).toBeUndefined();
    if (status === "IN_PROGRESS" && before !== status) starts++;
    before = status;
  }
  return { ...((await cluster.client.result(STUB, id)) as Result), starts };
}

const allRunning = async (ids: string[]): Promise<void> => {
  for (const id of ids)
    for await (const { status } of cluster.client.follow(STUB, id)) if (status === "IN_PROGRESS") break;
};

const workers = async (): Promise<string[]> => {
  const { engines } = await cluster.client.admin<{ engines: { worker: string }[] }>("GET", "/v1/engines");
  return engines.map(({ worker }) => worker).sort();
};

describe("SIGTERM to one of two GPU workers in the middle of running jobs", () => {
  it("hands long jobs over; they end elsewhere without a heartbeat timeout", async () => {
    const leaving = cluster.child("gpu-worker");
    const ids = await submitAll(UNTIL_STOPPED);
    await allRunning(ids); // all on the only worker
    const second = await cluster.addGpuWorker({
      TEMPERA_WORKER_NAME: "second",
      TEMPERA_GRACE_SECONDS: "600",
    });
    expect(await workers()).toEqual(["first", "second"]);

    const exited = cluster.end(leaving, "SIGTERM");
    const late = await submit(99, {});
    const finals = Promise.all([...ids, late].map(ended));
    expect(await exited).toBe(0);
    expect(await workers()).toEqual(["second"]);

    const results = await finals;
    expect(results.map(({ seed }) => seed)).toEqual([...Array(JOBS).keys(), 99]);
    // The second attempt of each was the last: none ran into a timeout, and none was started a third time.
    expect(results.map(({ attempt }) => attempt)).toEqual([...Array(JOBS).fill(2), 1]);
    for (const id of ids) {
      const { logs } = await cluster.client.status(STUB, id);
      const handed = logs?.filter(({ message }) =>
        /^Attempt 1 failed: The GPU worker (was shut down|is shutting down)/.test(message),
      );
      expect(handed).toHaveLength(1);
      await expect.poll(async () => (await cluster.requests.find(id))?.outcome?.ok).toBe(true);
    }
    expect(await cluster.requests.deadLetters(100)).toEqual([]);

    // Jobs that are shorter than the grace end on their worker.
    const short = await submitAll({ delay_ms: 2_000, steps: 10 });
    await allRunning(short);
    expect(await cluster.end(second, "SIGTERM")).toBe(0);
    expect((await Promise.all(short.map(ended))).map(({ attempt }) => attempt)).toEqual(Array(JOBS).fill(1));
    expect(await workers()).toEqual([]);
  });

  it("ends at once at a second signal, and its jobs follow after the heartbeat timeout", async () => {
    const patient = await cluster.addGpuWorker({
      TEMPERA_WORKER_NAME: "patient",
      TEMPERA_GRACE_SECONDS: "600",
    });
    const id = await submit(7, UNTIL_STOPPED);
    await allRunning([id]);
    const exited = cluster.end(patient, "SIGTERM");
    // A signal soon after the first counts as the same Ctrl-C, which can be delivered twice.
    const again = setInterval(() => patient.kill("SIGTERM"), 100);
    expect(await exited).toBe(130);
    clearInterval(again);
    const third = await cluster.addGpuWorker({ TEMPERA_WORKER_NAME: "third" });
    expect(await ended(id)).toMatchObject({ seed: 7, attempt: 2 });
    expect(await cluster.end(third, "SIGTERM")).toBe(0);
  });
});

describe("SIGTERM to one GPU worker after another, more often than a job has attempts", () => {
  it("uses up no attempt, unless the caller allows one only, and continues each job", async () => {
    const start = (n: number) =>
      cluster.addGpuWorker({ TEMPERA_WORKER_NAME: `worker-${n}`, TEMPERA_GRACE_SECONDS: "0.2" });
    let serving = await start(0);
    const id = await submit(11, { delay_ms: 600_000, steps: 600 });
    const once = await submit(12, { delay_ms: 600_000, steps: 600 }, { "x-fal-no-retry": "1" });
    await allRunning([id, once]);
    const handOvers = 5; // as many attempts as the stub's policy allows
    let step = 0;
    for (let i = 1; i <= handOvers; i++) {
      const next = await start(i);
      expect(await cluster.end(serving, "SIGTERM")).toBe(0);
      serving = next;
      await expect
        .poll(
          async () =>
            (await cluster.client.status(STUB, id)).logs?.filter(({ message }) =>
              message.startsWith("Attempt "),
            ).length,
        )
        .toBe(i);
      const before = step;
      await expect
        .poll(async () => {
          step = (await cluster.client.status(STUB, id)).progress?.step ?? 0;
          return step;
        })
        .toBeGreaterThan(before);
    }
    await cluster.client.cancel(STUB, id);
    await expect
      .poll(async () => (await cluster.requests.find(id))?.outcome)
      .toMatchObject({ error: { code: "client_cancelled" } });
    await expect
      .poll(async () => (await cluster.requests.find(once))?.outcome)
      .toMatchObject({ ok: false, error: { code: "runner_disconnected" } });
    await expect
      .poll(() => cluster.requests.deadLetters(100))
      .toMatchObject([{ requestId: once, attempts: 1 }]);
  });
});

describe("a GPU worker that cannot serve", () => {
  it("exits with one line when no model fits its budget, and when its device does not exist", async () => {
    const refusal = (env: Record<string, string>): Promise<string> =>
      cluster.addGpuWorker({ TEMPERA_LOG_FORMAT: "text", ...env }).then(
        () => "started",
        (error: Error) => error.message,
      );
    const noModelFits = await refusal({ TEMPERA_WORKER_MEMORY_MIB: "10" });
    expect(noModelFits).toMatch(
      new RegExp(
        /\ntempera: tempera\/stub 1\.0\.0 needs 80 MiB and this GPU worker has 10 MiB for /.source +
          /engines: serve it on a larger device, or raise TEMPERA_WORKER_MEMORY_MIB\.\n$/.source,
      ),
    );
    const noSuchDevice = await refusal({ TEMPERA_WORKER_DEVICE: "cuda:99" });
    expect(noSuchDevice).toMatch(
      new RegExp(
        /tempera: The memory of cuda:99 cannot be determined \(.*\); /.source +
          /set TEMPERA_WORKER_MEMORY_MIB, or TEMPERA_WORKER_DEVICE=cpu where there is no such GPU\.\n$/
            .source,
      ),
    );
  });
});
