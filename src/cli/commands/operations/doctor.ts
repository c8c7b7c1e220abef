import { access, constants, mkdir, statfs } from "node:fs/promises";
import { connect } from "node:net";
import { resolve } from "node:path";
import { openRegistry } from "../../../bin/open-registry.ts";
import { loadConfig } from "../../../config/load-config.ts";
import type { Config } from "../../../config/settings.ts";
import { postgresBinaries } from "../../../dev/services/postgres-binaries.ts";
import { locateProgram } from "../../../dev/services/program.ts";
import { TEMPORAL_CLI } from "../../../dev/services/temporal.ts";
import { memoryBudget } from "../../../gpu-workers/worker/pool/device.ts";

interface Finding {
  check: string;
  /** `missing` is what stops the platform from starting; `note` is worth knowing. */
  state: "ok" | "note" | "missing";
  says: string;
  remedy?: string;
}

/** Free space below which the embedded stores are likely to fail soon. */
const FREE_BYTES_MIN = 1024 ** 3;
const PROBE_MS = 2_000;

/**
 * Looks at everything the platform needs and prints what it found, each with its remedy.
 *
 * @returns the exit status: 1 when something is missing
 */
export async function doctor({ url, json }: { url: string; json: boolean }): Promise<number> {
  const findings: Finding[] = [];
  const look = async (check: string, work: () => Promise<Omit<Finding, "check">>): Promise<void> => {
    const found = await work().catch(
      (error: Error): Omit<Finding, "check"> => ({ state: "missing", says: error.message }),
    );
    findings.push({ check, ...found });
    if (json) return;
    const mark = { ok: "ok     ", note: "note   ", missing: "MISSING" }[found.state];
    process.stdout.write(
      `${mark}  ${check.padEnd(14)} ${found.says}\n${found.remedy ? `${" ".repeat(25)}→ ${found.remedy}\n` : ""}`,
    );
  };

  await look("Node.js", async () => ({ state: "ok", says: process.version }));
  let config: Config | undefined;
  await look("configuration", async () => {
    config = loadConfig();
    return { state: "ok", says: "no faults" };
  });
  if (config) {
    const known = config;
    const { folders, temporal, postgres, redis, objects, server, worker } = known;
    await look("models", async () => {
      const models = (await openRegistry(known)).list();
      return models.length > 0
        ? { state: "ok", says: models.map(({ endpoint, version }) => `${endpoint} ${version}`).join(", ") }
        : {
            state: "note",
            says: "there is no model package",
            remedy: "docs/adding-a-model.md walks through making one",
          };
    });
    await look("device", async () => {
      const { budgetMiB, totalMiB } = await memoryBudget(worker.device, worker.memoryMiB);
      const says = `${worker.device}, ${budgetMiB} MiB for engines${totalMiB === undefined ? "" : ` of ${totalMiB} MiB`}`;
      const tooLarge = (
        await openRegistry(known).then(
          (registry) => registry.list(),
          () => [],
        )
      ).filter(({ memoryMiB }) => memoryMiB > budgetMiB);
      if (tooLarge.length === 0) return { state: "ok", says };
      const names = tooLarge
        .map(({ endpoint, version, memoryMiB }) => `${endpoint} ${version} (${memoryMiB} MiB)`)
        .join(", ");
      return {
        state: "note",
        says: `${says}; too large for it: ${names}`,
        remedy: "serve them on a larger device, or raise TEMPERA_WORKER_MEMORY_MIB",
      };
    });
    await look("data folder", async () => {
      const folder = resolve(folders.data);
      await mkdir(folder, { recursive: true });
      await access(folder, constants.W_OK);
      const { bavail, bsize } = await statfs(folder);
      const free = bavail * bsize;
      const says = `${folder}, ${(free / 1024 ** 3).toFixed(1)} GiB free`;
      return free < FREE_BYTES_MIN
        ? { state: "note", says, remedy: "free some space, or set TEMPERA_DATA to a folder with more" }
        : { state: "ok", says };
    });
    await look("Temporal", async () => {
      if (temporal.address) return reach(temporal.address, "TEMPORAL_ADDRESS");
      const { path, problem } = await locateProgram(TEMPORAL_CLI);
      return path
        ? { state: "ok", says: `embedded, ${path}` }
        : {
            state: "note",
            says: `embedded, not installed yet (${problem})`,
            remedy: "the first start gets it; or set TEMPORAL_CLI, or TEMPORAL_ADDRESS to a running one",
          };
    });
    await look("PostgreSQL", async () => {
      if (postgres.url) return reach(hostAndPort(postgres.url, 5432), "DATABASE_URL");
      await postgresBinaries(false);
      return { state: "ok", says: "embedded" };
    });
    await look("event log", async () =>
      redis.url
        ? reach(hostAndPort(redis.url, 6379), "REDIS_URL")
        : { state: "ok", says: "in memory (single process)" },
    );
    await look("object store", async () =>
      objects.endpoint
        ? reach(hostAndPort(objects.endpoint, 443), "S3_ENDPOINT")
        : { state: "ok", says: "files in the data folder" },
    );
    await look("platform", async () => {
      const health = await fetch(`${url}/health/ready`, { signal: AbortSignal.timeout(PROBE_MS) }).catch(
        () => undefined,
      );
      if (!health) {
        const free = await portIsFree(server.port);
        return free
          ? { state: "note", says: `not running at ${url}`, remedy: "npm start" }
          : {
              state: "note",
              says: `another program answers on port ${server.port}`,
              remedy: "stop it, or set TEMPERA_PORT",
            };
      }
      const { status, services } = (await health.json().catch(() => ({}))) as {
        status?: string;
        services?: object;
      };
      return {
        state: status === "ready" ? "ok" : "note",
        says: `${status ?? "not a Tempera"} at ${url} ${services ? JSON.stringify(services) : ""}`,
      };
    });
  }
  if (json) process.stdout.write(`${JSON.stringify({ findings }, null, 2)}\n`);
  return findings.some(({ state }) => state === "missing") ? 1 : 0;
}

const hostAndPort = (address: string, fallback: number): string => {
  const { hostname, port, protocol } = new URL(address);
  return `${hostname}:${port || (protocol === "http:" ? 80 : fallback)}`;
};

const open = (address: string): Promise<boolean> =>
  new Promise((done) => {
    const [, host = "localhost", port = "0"] = /^(.*):(\d+)$/.exec(address) ?? [];
    const socket = connect({ host, port: Number(port), timeout: PROBE_MS });
    const end = (answer: boolean) => () => {
      socket.destroy();
      done(answer);
    };
    socket.once("connect", end(true)).once("error", end(false)).once("timeout", end(false));
  });

async function reach(address: string, setting: string): Promise<Omit<Finding, "check">> {
  if (await open(address)) return { state: "ok", says: `answers at ${address}` };
  return {
    state: "missing",
    says: `nothing answers at ${address}`,
    remedy: `start it, or correct ${setting}`,
  };
}

const portIsFree = async (port: number): Promise<boolean> => !(await open(`127.0.0.1:${port}`));
