/** Plays one job as its client: submits it, follows it, reads its result, and reads it again later. */

import { sleep } from "../../../src/core/concurrency/sleep.ts";
import type { JsonObject } from "../../../src/core/json/json.ts";
import { hash, type Ledger } from "../checker/ledger.ts";
import type { Random } from "../random.ts";
import type { Client } from "./client.ts";
import type { JobPlan } from "./plan.ts";
import type { Receiver } from "./receiver.ts";

export interface Stage {
  client: Client;
  receiver: Receiver;
  ledger: Ledger;
  random: Random;
  gateways: readonly string[];
  /** Ends waiting: the run is over. */
  over: AbortSignal;
}

const GATEWAYS = 2;
/** Pauses of a client whose tries failed at both gateways, in milliseconds. */
const PAUSES_MS = [0, 200, 500, 1_000, 2_000];
/** Times after the end at which an ended request is read again, in milliseconds. */
const READ_AGAIN_MS = [400, 1_500, 4_000, 10_000, 20_000];

const other = (gateway: number): number => (gateway + 1) % GATEWAYS;

/** Plays a job. Resolves once its end and its last readings are in the ledger, or the run is over. */
export async function playJob(stage: Stage, job: JobPlan): Promise<void> {
  const tries = { count: 0 };
  const first = stage.random.integer(0, GATEWAYS - 1);
  const clients = job.isTwin ? [first, other(first)] : [first];
  const ids = await Promise.all(clients.map((gateway) => submitUntilAccepted(stage, job, gateway, tries)));
  const accepted = [...new Set(ids)].filter((id) => id !== undefined);
  await Promise.all(accepted.map((id) => followToEnd(stage, job, id)));
}

/**
 * Submits at one gateway after the other until the job is accepted. A refusal that says that the call is
 * wrong ends it.
 */
async function submitUntilAccepted(
  { client, receiver, over }: Stage,
  job: JobPlan,
  firstGateway: number,
  tries: { count: number },
): Promise<string | undefined> {
  const { number, endpoint, input, key, hasWebhook, fileField } = job;
  let gateway = firstGateway;
  for (let failures = 0; !over.aborted; failures++) {
    const tryNumber = tries.count++;
    const { status, requestId } = await client.submit({
      ...{ job: number, tryNumber, isFirst: failures === 0, gateway, endpoint },
      input: fileField ? { ...input, [fileField]: receiver.fileUrl(number) } : input,
      ...(key !== undefined && { key }),
      // Under a key all calls are one request, which names one webhook.
      ...(hasWebhook && { webhook: receiver.webhookUrl(number, key === undefined ? tryNumber : 0) }),
    });
    if (status === 200) return requestId;
    if (status !== undefined && status < 500 && status !== 429) return undefined;
    gateway = other(gateway);
    await pause(PAUSES_MS[Math.min(Math.floor(failures / 2), PAUSES_MS.length - 1)] ?? 0, over);
  }
  return undefined;
}

async function followToEnd(stage: Stage, job: JobPlan, requestId: string): Promise<void> {
  const { over, client } = stage;
  const { cancelAfterMs, endpoint } = job;
  const cancelling =
    cancelAfterMs === undefined ? undefined : cancelLater(stage, job, requestId, cancelAfterMs);
  const hasEnded = await (job.follows === "stream"
    ? followStream(stage, job, requestId)
    : poll(stage, job, requestId));
  await cancelling;
  if (!hasEnded) return;
  // A client that polls until COMPLETED reads the result next, from any gateway.
  const [{ body }] = await Promise.all([
    client.result(0, endpoint, requestId),
    client.result(1, endpoint, requestId),
    client.status(stage.random.integer(0, 1), endpoint, requestId),
  ]);
  const image = job.pair && readImage(stage, job, body, requestId);
  const endedMs = performance.now();
  for (const afterMs of READ_AGAIN_MS) {
    await pause(endedMs + afterMs - performance.now(), over);
    if (over.aborted) break;
    const gateway = stage.random.integer(0, 1);
    await Promise.all([
      client.status(other(gateway), endpoint, requestId),
      client.result(gateway, endpoint, requestId),
    ]);
  }
  await image;
}

/** Polls both gateways in turn. Resolves with true once one has said that the request has ended. */
async function poll({ client, random, over }: Stage, job: JobPlan, requestId: string): Promise<boolean> {
  while (!over.aborted) {
    const { seen } = await client.status(random.integer(0, 1), job.endpoint, requestId);
    if (seen === "ended") return true;
    await pause(random.integer(120, 600), over);
  }
  return false;
}

/** Follows the stream, at the other gateway after each break. */
async function followStream({ client, random, over }: Stage, job: JobPlan, requestId: string) {
  const last: { id?: string } = {};
  for (let gateway = random.integer(0, 1); !over.aborted; gateway = other(gateway)) {
    if (await client.stream(gateway, job.endpoint, requestId, last)) return true;
    await pause(150, over);
  }
  return false;
}

/** Cancels a request after a while. A cancel that was not answered is sent to the other gateway. */
async function cancelLater(
  { client, random, ledger, over }: Stage,
  { endpoint }: JobPlan,
  requestId: string,
  afterMs: number,
): Promise<void> {
  await pause(afterMs, over);
  for (let gateway = random.integer(0, 1); !over.aborted; gateway = other(gateway)) {
    const status = await client.cancel(gateway, endpoint, requestId);
    if (status === 202) ledger.cancelled.add(requestId);
    if (status !== undefined && status < 500) return;
    await pause(300, over);
  }
}

/** Reads the file that an image job made, until a gateway has sent it. */
async function readImage(
  { client, gateways, ledger, over }: Stage,
  { number, pair = "", endpoint }: JobPlan,
  body: JsonObject | undefined,
  requestId: string,
): Promise<void> {
  for (let round = 0, output = body; !over.aborted; round++) {
    const url = (output?.images as { url?: string }[] | undefined)?.[0]?.url;
    if (url !== undefined) {
      const path = new URL(url).pathname;
      const bytes = await fetch(`${gateways[round % GATEWAYS]}${path}`, {
        signal: AbortSignal.timeout(10_000),
      })
        .then(async (answer) => (answer.ok ? new Uint8Array(await answer.arrayBuffer()) : undefined))
        .catch(() => undefined);
      if (bytes) return void ledger.images.push({ job: number, pair, digest: hash(bytes) });
    }
    await pause(300, over);
    if (url === undefined) output = (await client.result(round % GATEWAYS, endpoint, requestId)).body;
  }
}

/** Waits; the end of the run ends the wait. */
async function pause(ms: number, over: AbortSignal): Promise<void> {
  if (ms > 0) await sleep(ms, over).catch(() => {});
}
