/**
 * A produced file larger than memory, from the engine to the caller, and the memory that each process needs.
 */
import { createHash, randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { seededBytes } from "../../src/gpu-workers/engines/stub/stub-runner.ts";
import { type Cluster, startCluster } from "./cluster.ts";

const STUB = "tempera/stub";
const GIB = 1024 ** 3;
const BYTES = 2 * GIB;
const EXTRA_MIB_MAX = 150;
const ROLES = ["gateway", "gpu-worker"] as const;

interface Produced {
  file: { url: string; file_size: number };
}

describe.each(["files", "S3"] as const)("a file of 2 GiB, stored in %s", (store) => {
  let cluster: Cluster;
  beforeAll(async () => {
    const s3 = {
      S3_ENDPOINT: process.env.TEST_S3_ENDPOINT ?? "",
      S3_ACCESS_KEY: process.env.TEST_S3_ACCESS_KEY ?? "",
      S3_SECRET_KEY: process.env.TEST_S3_SECRET_KEY ?? "",
      S3_BUCKET: `large-${randomUUID()}`,
    };
    if (store === "S3") expect(s3.S3_ENDPOINT).not.toBe("");
    cluster = await startCluster(STUB, store === "S3" ? s3 : {});
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  const residentMib = async (pid: number): Promise<number> => {
    // A measurement under way when the test has ended may find no process.
    const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "VmRSS: 0 kB");
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
  };
  const produce = async (seed: number, bytes: number): Promise<string> => {
    const { request_id } = await cluster.client.submit(STUB, { seed, artifact_bytes: bytes });
    for await (const { error } of cluster.client.follow(STUB, request_id)) expect(error).toBeUndefined();
    const { file } = (await cluster.client.result(STUB, request_id)) as Produced;
    expect(file.file_size).toBe(bytes);
    return file.url;
  };
  const digestOfOutput = async (): Promise<string> => {
    const hash = createHash("sha256");
    for await (const chunk of seededBytes(2, BYTES).read()) hash.update(chunk);
    return hash.digest("hex");
  };
  const read = async (
    url: string,
    range?: string,
  ): Promise<{ status: number; bytes: number; sha256: string; first: Buffer }> => {
    const response = await fetch(url, { headers: range === undefined ? {} : { range } });
    const hash = createHash("sha256");
    let bytes = 0;
    let first: Buffer | undefined;
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      first ??= Buffer.from(chunk.subarray(0, 64));
      hash.update(chunk);
      bytes += chunk.length;
    }
    return { status: response.status, bytes, sha256: hash.digest("hex"), first: first ?? Buffer.alloc(0) };
  };

  it(`adds less than ${EXTRA_MIB_MAX} MiB to each process, and every range of it is served`, async () => {
    // The first request and the first download make a process grow once, whatever their size.
    await read(await produce(1, 1024));
    const [engine] = await cluster.engines();
    const pids = new Map<string, number>([
      ...ROLES.map((role) => [role, cluster.pid(role)] as const),
      ["engine", engine ?? 0],
    ]);
    const before = new Map<string, number>();
    const most = new Map<string, number>();
    const measure = async (): Promise<void> => {
      for (const [name, pid] of pids) most.set(name, Math.max(most.get(name) ?? 0, await residentMib(pid)));
    };
    await measure();
    for (const [name, mib] of most) before.set(name, mib);
    const measuring = setInterval(measure, 50);
    const url = await produce(2, BYTES);
    expect(await read(url)).toMatchObject({ status: 200, bytes: BYTES, sha256: await digestOfOutput() });
    expect(await read(url, "bytes=0-99")).toMatchObject({ status: 206, bytes: 100 });
    const late = await read(url, `bytes=${BYTES - 10 * 1024 ** 2}-`);
    expect(late).toMatchObject({ status: 206, bytes: 10 * 1024 ** 2 });
    expect((await read(url, `bytes=${BYTES - 10 * 1024 ** 2}-${BYTES - 10 * 1024 ** 2 + 63}`)).first).toEqual(
      late.first,
    );
    expect((await read(url, `bytes=${BYTES}-`)).status).toBe(416);
    clearInterval(measuring);
    const extra = [...most].map(([name, mib]) => [name, Math.round(mib - (before.get(name) ?? 0))] as const);
    process.stderr.write(
      `2 GiB in ${store}: ${extra.map(([name, mib]) => `${name} +${mib} MiB`).join(", ")}\n`,
    );
    for (const [name, mib] of extra) expect(mib, name).toBeLessThan(EXTRA_MIB_MAX);
  });
});
