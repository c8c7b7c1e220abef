/** Processes are killed at a random moment of 30 pipelines of three nodes each. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Json } from "../../src/core/json/json.ts";
import { type Cluster, type Part, startCluster } from "./cluster.ts";

const STUB = "tempera/stub";
const PIPELINE = "tempera/stub-pipeline";
const PIPELINES = 30;
const NODES = 3;
/** Duration of a stub node: three of them leave time for a failure. */
const NODE_MS = 600;

/** The payloads of the pipelines' webhooks, by request id. */
const delivered = new Map<string, Json[]>();
const receiver = createServer((incoming, response) => {
  let text = "";
  incoming.on("data", (chunk) => {
    text += chunk;
  });
  incoming.on("end", () => {
    const { request_id: id, payload } = JSON.parse(text) as { request_id: string; payload: Json };
    delivered.set(id, [...(delivered.get(id) ?? []), payload]);
    response.end();
  });
});

let cluster: Cluster;
beforeAll(async () => {
  await new Promise<void>((open) => receiver.listen(0, "127.0.0.1", open));
  cluster = await startCluster(STUB);
});
afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
  receiver.close();
});

const submitAll = (): Promise<string[]> => {
  const hook = encodeURIComponent(`http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`);
  return Promise.all(
    Array.from({ length: PIPELINES }, async (_, i) => {
      const stages = Array.from({ length: NODES }, (_, node) => [
        { payload: `${i}/${node}`, delay_ms: NODE_MS, steps: 6 },
      ]);
      return (await cluster.client.submit(`${PIPELINE}?fal_webhook=${hook}`, { stages })).request_id;
    }),
  );
};

/** Polls as the Python client does, and tolerates an unavailable gateway. */
async function ended(endpoint: string, id: string): Promise<void> {
  for (;;) {
    const status = await cluster.client.status(endpoint, id).catch(() => undefined);
    if (status?.status === "COMPLETED") return;
    await sleep(100);
  }
}

async function killPart(part: Part | "engine"): Promise<void> {
  if (part === "engine") {
    const [engine] = await cluster.engines();
    expect(engine).toBeDefined();
    process.kill(engine as number, "SIGKILL");
    return;
  }
  await cluster.kill(part);
  await cluster.restart(part);
}

/** An attempt of a delivery that was interrupted by one of these is made again: it may arrive twice. */
const MAY_DELIVER_TWICE = new Set<Part | "engine">(["orchestrator", "temporal", "postgres"]);

describe.each<Part | "engine">([
  "engine",
  "gpu-worker",
  "gateway",
  "orchestrator",
  "temporal",
  "postgres",
  "redis",
])("kill -9 of %s", (part) => {
  it(`lets ${PIPELINES} pipelines end, each node with one outcome, and one webhook each`, async () => {
    const ids = await submitAll();
    const afterMs = Math.round(Math.random() * NODE_MS * NODES);
    await sleep(afterMs);
    await killPart(part);
    await Promise.all(ids.map((id) => ended(PIPELINE, id)));

    for (const [i, id] of ids.entries()) {
      const about = `pipeline ${i} (${id}), killed after ${afterMs} ms`;
      const { stages } = (await cluster.client.result(PIPELINE, id)) as {
        stages: { echo: string; attempt: number }[][];
      };
      expect(
        stages.flat().map(({ echo }) => echo),
        about,
      ).toEqual([`${i}/0`, `${i}/1`, `${i}/2`]);
      // The pipeline's output and the record must show the same attempt of a node: it was not run once more.
      const nodes = await cluster.requests.nodes(id);
      expect(nodes.map(({ node }) => node?.id).sort(), about).toEqual([
        "stage-1-1",
        "stage-2-1",
        "stage-3-1",
      ]);
      for (const [stage, outputs] of stages.entries()) {
        const record = nodes.find(({ node }) => node?.id === `stage-${stage + 1}-1`);
        expect(record?.outcome, about).toMatchObject({ ok: true, output: { inline: outputs[0] } });
        // A node that ended while Redis was unavailable shows its end some seconds later.
        await ended(STUB, record?.requestId ?? "");
        expect(await cluster.client.result(STUB, record?.requestId ?? ""), about).toEqual(outputs[0]);
      }
      await expect
        .poll(() => delivered.get(id)?.length ?? 0, { message: `webhook of ${about}` })
        .toBeGreaterThan(0);
      for (const payload of delivered.get(id) ?? []) expect(payload, about).toEqual({ stages });
      if (!MAY_DELIVER_TWICE.has(part)) expect(delivered.get(id), about).toHaveLength(1);
    }
    expect(
      (await cluster.requests.deadLetters(100)).filter(({ requestId }) => ids.includes(requestId)),
    ).toEqual([]);
  });
});
