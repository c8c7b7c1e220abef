/**
 * `npm run bench:strangers`: another owner's submits and status reads while one owner or address attacks,
 * beside the same calls without an attack, and memory, descriptors and disk afterwards. The attacks are those
 * of `strangers/attacks.ts`. Attackers run at the lowest priority of the machine, since real ones bring
 * processors of their own.
 */
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Agent, request } from "undici";
import { createAdminCalls } from "./admin-calls.ts";
import { type Bench, percentile, round, runBench, STUB, say } from "./harness.ts";
import { COLLECT_GARBAGE, residentKib } from "./resident-memory.ts";
import { ATTACKS, type Target } from "./strangers/attacks.ts";

/** Address of the attacker; the other owner's connections come from 127.0.0.1. */
const ATTACKER_ADDRESS = "127.0.0.9";
const ATTACKER = "stranger";
/** Calls of the other owner under way at once. */
const IN_FLIGHT = 4;
const POLL_EVERY_MS = 25;
/** Longest time for memory, descriptors and disk to come back after an attack, in milliseconds. */
const SETTLE_WITHIN_MS = 60_000;
/** Growth of memory, descriptors and disk that an attack may leave behind. */
const MAY_GROW = 1.05;
/** A p99 beside an attack may be this multiple of the p99 without one. */
const MAY_SLOW = 2;
const ROLES = ["gateway", "admin", "orchestrator", "gpu-worker"];

interface Platform {
  url: string;
  agent: Agent;
}

/** Seen by the owner who does nothing wrong. */
class Calls {
  readonly submitMs: number[] = [];
  readonly statusMs: number[] = [];
  /** Calls that were refused, and jobs that did not end well. */
  readonly refused: string[] = [];
}

interface Held {
  memory_mib: number;
  descriptors: number;
  disk_mib: number;
}

const MIB = 2 ** 20;
/** Records of jobs, which are meant to stay, are small beside this. */
const MIB_OF_RECORDS = 256;

async function callOther(platform: Platform, key: string, seconds: number): Promise<Calls> {
  const calls = new Calls();
  const headers = { authorization: `Key ${key}`, "content-type": "application/json" };
  const until = performance.now() + seconds * 1_000;
  const send = async (path: string, times: number[], body?: object): Promise<Record<string, unknown>> => {
    const startedAtMs = performance.now();
    const answer = await request(`${platform.url}/queue/${STUB}${path}`, {
      method: body ? "POST" : "GET",
      headers,
      ...(body && { body: JSON.stringify(body) }),
      dispatcher: platform.agent,
    });
    const text = await answer.body.text();
    times.push(performance.now() - startedAtMs);
    if (answer.statusCode >= 400) throw new Error(`${answer.statusCode} ${text.slice(0, 200)}`);
    return JSON.parse(text) as Record<string, unknown>;
  };
  const job = async (): Promise<void> => {
    try {
      const { request_id } = await send("", calls.submitMs, { prompt: "an image" });
      for (;;) {
        const status = await send(`/requests/${request_id}/status`, calls.statusMs);
        if (status.error) throw new Error(`the job failed: ${JSON.stringify(status.error)}`);
        if (status.status === "COMPLETED") return;
        await sleep(POLL_EVERY_MS);
      }
    } catch (error) {
      calls.refused.push((error as Error).message);
    }
  };
  const loop = async (): Promise<void> => {
    while (performance.now() < until) await job();
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, loop));
  return calls;
}

/** Resolves with the attacker's count of answers, once it has ended. */
function attack(name: string, seconds: number, target: Omit<Target, "untilMs">) {
  const program = join(import.meta.dirname, "strangers/attacker.ts");
  const child = spawn(process.execPath, ["--import", "tsx", program, name, String(seconds)], {
    env: { ...process.env, STRANGERS_TARGET: JSON.stringify(target) },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  const started = new Promise<void>((done, fail) => {
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk;
      if (output.includes("attacking\n")) done();
    });
    child.once("exit", (code) => fail(new Error(`the attacker ended (${code}) before it began`)));
  });
  const counts = new Promise<Record<string, number>>((done, fail) =>
    child.once("close", (code) => {
      const last = output.trim().split("\n").at(-1) ?? "";
      if (code === 0) done(JSON.parse(last) as Record<string, number>);
      else fail(new Error(`the attack "${name}" ended with ${code}`));
    }),
  );
  return { started, counts };
}

async function bytesBelow(folder: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true }))
    if (entry.isFile())
      bytes += (await stat(join(entry.parentPath, entry.name)).catch(() => ({ size: 0 }))).size;
  return bytes;
}

async function held(bench: Bench): Promise<Held> {
  const pids = ROLES.map((role) => bench.processes[role] ?? 0);
  const kib = await residentKib(pids);
  return {
    memory_mib: kib.reduce((sum, one) => sum + one, 0) / 1_024,
    descriptors: pids.reduce((sum, pid) => sum + readdirSync(`/proc/${pid}/fd`).length, 0),
    disk_mib: (await bytesBelow(join(bench.folder, "data"))) / MIB,
  };
}

/** Growth of each figure over `before`, as a factor. Waits until none is above `MAY_GROW`, within a bound. */
async function growth(bench: Bench, before: Held): Promise<Record<keyof Held, number>> {
  const deadlineMs = performance.now() + SETTLE_WITHIN_MS;
  for (;;) {
    const now = await held(bench);
    const times = {
      memory_mib: now.memory_mib / before.memory_mib,
      descriptors: now.descriptors / before.descriptors,
      // A disk of a few MiB grows by a record or a log line.
      disk_mib: (now.disk_mib + MIB_OF_RECORDS) / (before.disk_mib + MIB_OF_RECORDS),
    };
    if (Object.values(times).every((factor) => factor <= MAY_GROW) || performance.now() > deadlineMs)
      return times;
  }
}

await runBench(
  "bench:strangers",
  "another owner's calls beside attacks",
  async (bench) => {
    const { url, adminUrl } = await bench.startPlatform({
      NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ""} --import ${COLLECT_GARBAGE}`,
    });
    const agent = new Agent({ connections: 64, pipelining: 1 });
    bench.closing.defer(() => agent.destroy());
    const platform: Platform = { url, agent };
    const admin = createAdminCalls(adminUrl, bench.key, agent);
    const [other, stranger] = [(await admin.newKey("other")).key, (await admin.newKey(ATTACKER)).key];
    const seconds = bench.quick ? 2 : 10 * bench.scale;

    say("warming up …");
    await callOther(platform, other, bench.quick ? 1 : 20);
    const results: Record<string, object> = {};
    const beside: { name: string; quiet: Calls; calls: Calls; grown: Record<string, number> }[] = [];
    for (const name of bench.parts) {
      const before = await held(bench);
      const quiet = await callOther(platform, other, seconds);
      const running = attack(name, seconds, { url, key: stranger, from: ATTACKER_ADDRESS });
      await running.started;
      const calls = await callOther(platform, other, seconds);
      const answers = await running.counts;
      await admin.call("DELETE", `/v1/serverless/apps/${STUB}/queue`);
      const grown = await growth(bench, before);
      beside.push({ name, quiet, calls, grown });
      results[name] = { answers, alone: figures(quiet), beside: figures(calls), grown };
      say(`${name}: ${JSON.stringify(results[name])}`);
      for (const refused of new Set(calls.refused)) say(`  refused: ${refused}`);
    }
    for (const { name, quiet, calls, grown } of beside) {
      for (const list of ["submitMs", "statusMs"] as const)
        bench.atMost(
          `${name}: ${list === "submitMs" ? "submit" : "status"} p99 / p99 without an attack`,
          percentile(calls[list], 99) / percentile(quiet[list], 99),
          MAY_SLOW,
        );
      bench.atMost(`${name}: calls and jobs of another owner that failed`, calls.refused.length, 0);
      for (const [what, factor] of Object.entries(grown))
        bench.atMost(`${name}: ${what} afterwards / before`, factor, MAY_GROW);
    }
    bench.report({ attacks: results });
  },
  Object.keys(ATTACKS),
);

function figures({ submitMs, statusMs, refused }: Calls): object {
  const of = (ms: number[]) => ({ p50: round(percentile(ms, 50)), p99: round(percentile(ms, 99)) });
  return {
    submits: submitMs.length,
    submit_ms: of(submitMs),
    status_ms: of(statusMs),
    refused: refused.length,
  };
}
