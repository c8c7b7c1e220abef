/** Nodes of pipelines take the concurrency slots of their owner, as requests do. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createConcurrencySlotStore } from "../../src/adapters/postgres/owners/concurrency-slot-store.ts";
import { createJobs } from "../../src/adapters/temporal/jobs.ts";
import { releaseLostSlots } from "../../src/maintenance/repair-concurrency-slots.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";
import { newTestOwner, type TestOwner } from "./test-owner.ts";

const STUB = "tempera/stub";
const PIPELINE = "tempera/stub-pipeline";
const LONG = { delay_ms: 60_000, steps: 600 };
let test: TestPlatform;
beforeAll(async () => {
  test = await startTestPlatform();
});
afterAll(() => test[Symbol.asyncDispose]());

async function owner(inProgress: number): Promise<TestOwner> {
  const made = await newTestOwner(test);
  await test.sql`
    INSERT INTO owners (owner_id, allowance)
    VALUES (${made.ownerId}, ${JSON.stringify({ inProgress })}::text::jsonb)`;
  return made;
}

const call = (path: string, { headers }: TestOwner, body: object) =>
  fetch(`${test.platform.url}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
async function submit(by: TestOwner, input: object, endpoint = PIPELINE): Promise<string> {
  const answer = await call(`/queue/${endpoint}`, by, input);
  expect(answer.status).toBe(200);
  return ((await answer.json()) as { request_id: string }).request_id;
}
const cancel = ({ headers }: TestOwner, id: string, endpoint = PIPELINE) =>
  fetch(`${test.platform.url}/queue/${endpoint}/requests/${id}/cancel`, { method: "PUT", headers });

/** The slots of an owner: those in use, and the requests and nodes that wait for one. */
async function slotsOf({ ownerId }: TestOwner): Promise<{ used: number; waiting: number }> {
  const [row] = await test.sql<[{ used: number; waiting: number }]>`
    SELECT count(taken_at)::int AS used, (count(*) - count(taken_at))::int AS waiting
    FROM places WHERE owner_id = ${ownerId}`;
  return row;
}

/** The nodes of a pipeline that have gone to the GPU queue and not come back. */
async function nodesAtWork(id: string): Promise<string[]> {
  const { raw } = await test.temporal.workflow.getHandle(id).describe();
  return (raw.pendingActivities ?? []).flatMap(({ activityType, activityId }) =>
    activityType?.name === "infer" ? [activityId ?? ""] : [],
  );
}

/** The largest number of an owner's model calls that ran at once, of all that have ended. */
async function mostAtOnce({ ownerId }: TestOwner): Promise<{ calls: number; most: number }> {
  const rows = await test.sql<{ started_at: Date; ended_at: Date }[]>`
    SELECT started_at, ended_at FROM requests
    WHERE owner_id = ${ownerId} AND endpoint = ${STUB} AND started_at IS NOT NULL`;
  const changes = rows.flatMap(({ started_at, ended_at }) => [
    { atMs: started_at.getTime(), by: 1 },
    { atMs: ended_at.getTime(), by: -1 },
  ]);
  changes.sort((a, b) => a.atMs - b.atMs || a.by - b.by);
  let [now, most] = [0, 0];
  for (const { by } of changes) {
    now += by;
    most = Math.max(most, now);
  }
  return { calls: rows.length, most };
}

describe("the nodes of a pipeline", () => {
  it("of an owner with one slot run one at a time, all 40 of them", async () => {
    const ann = await owner(1);
    const id = await submit(ann, {
      stages: [Array.from({ length: 40 }, (_, n) => ({ delay_ms: 5, seed: n }))],
    });
    expect((await test.record(id))?.outcome).toMatchObject({ ok: true });
    expect(await mostAtOnce(ann)).toEqual({ calls: 40, most: 1 });
    await expect.poll(() => slotsOf(ann)).toEqual({ used: 0, waiting: 0 });
  });

  it("of nested pipelines run one at a time too, and none waits for another for ever", async () => {
    const ann = await owner(1);
    const nested = { stages: [[{ seed: 1 }, { seed: 2 }], [{ stages: [[{ seed: 3 }, { seed: 4 }]] }]] };
    const id = await submit(ann, { stages: [[nested, nested, { seed: 5 }], [nested]] });
    expect((await test.record(id))?.outcome).toMatchObject({ ok: true });
    expect((await mostAtOnce(ann)).most).toBe(1);
    await expect.poll(() => slotsOf(ann)).toEqual({ used: 0, waiting: 0 });
  });

  it("of a direct run use the slot that the run has", async () => {
    const ann = await owner(1);
    const ran = await call(`/${PIPELINE}`, ann, { stages: [[{ seed: 1 }, { seed: 2 }]] });
    expect(ran.status).toBe(200);
    expect(await mostAtOnce(ann)).toEqual({ calls: 2, most: 1 });
  });

  it("take slots in line with the owner's requests, not with those of another owner", async () => {
    const [ann, bob] = [await owner(3), await owner(1)];
    const id = await submit(ann, { stages: [Array.from({ length: 6 }, (_, n) => ({ ...LONG, seed: n }))] });
    await expect.poll(() => slotsOf(ann)).toEqual({ used: 3, waiting: 3 });
    await expect.poll(() => nodesAtWork(id)).toHaveLength(3);
    const request = await submit(ann, {}, STUB);
    await expect.poll(() => slotsOf(ann)).toEqual({ used: 3, waiting: 4 });
    const other = await submit(bob, { stages: [[{ seed: 1 }, { seed: 2 }]] });
    expect((await test.record(other))?.outcome).toMatchObject({ ok: true });
    // The next in line is granted the slot of a node that ends.
    for (const [node] of [await nodesAtWork(id)]) await cancel(ann, node ?? "", STUB);
    expect((await test.record(id))?.outcome).toMatchObject({ ok: false });
    expect((await test.record(request))?.outcome).toMatchObject({ ok: true });
    await expect.poll(() => slotsOf(ann)).toEqual({ used: 0, waiting: 0 });
  });

  it("leave the line at a cancel, each alone and all together", async () => {
    const ann = await owner(1);
    const id = await submit(ann, { stages: [[LONG, { ...LONG, seed: 1 }, { ...LONG, seed: 2 }]] });
    await expect.poll(() => slotsOf(ann)).toEqual({ used: 1, waiting: 2 });
    await cancel(ann, id);
    expect((await test.record(id))?.outcome).toMatchObject({ error: { code: "client_cancelled" } });
    await expect.poll(() => slotsOf(ann)).toEqual({ used: 0, waiting: 0 });
  });

  it("go on when the limit is raised", async () => {
    const ann = await owner(1);
    const id = await submit(ann, { stages: [[LONG, { ...LONG, seed: 1 }, { ...LONG, seed: 2 }]] });
    await expect.poll(() => slotsOf(ann)).toEqual({ used: 1, waiting: 2 });
    await test.sql`UPDATE owners SET allowance = '{"inProgress": 3}' WHERE owner_id = ${ann.ownerId}`;
    await expect.poll(() => nodesAtWork(id)).toHaveLength(3);
    await cancel(ann, id);
    await expect.poll(() => slotsOf(ann)).toEqual({ used: 0, waiting: 0 });
  });

  it("leave no slot in use when an operator ends their pipeline", async () => {
    const ann = await owner(2);
    const id = await submit(ann, { stages: [[LONG, { ...LONG, seed: 1 }, { ...LONG, seed: 2 }]] });
    await expect.poll(() => slotsOf(ann)).toEqual({ used: 2, waiting: 1 });
    await test.temporal.workflow.getHandle(id).terminate();
    // Old enough for Temporal to be asked about them, and checked now instead of within a minute.
    await test.sql`UPDATE places SET taken_at = taken_at - interval '2 minutes'
                   WHERE owner_id = ${ann.ownerId}`;
    await releaseLostSlots({ slots: createConcurrencySlotStore(test.sql), jobs: createJobs(test.temporal) });
    await expect.poll(() => slotsOf(ann)).toEqual({ used: 0, waiting: 0 });
  });
});
