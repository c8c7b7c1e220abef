import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Connection } from "@temporalio/client";
import postgres from "postgres";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { leakCheck } from "../../../tests/setup/leak-check.ts";
import { isAlive } from "./install-lock.ts";
import { startMinio } from "./minio.ts";
import { freePort } from "./port.ts";
import { startPostgres } from "./postgres.ts";
import { findProgram, type Program } from "./program.ts";
import { download, goPlatform } from "./program-sources.ts";
import { startRedis } from "./redis.ts";
import { startProcess } from "./service.ts";
import { startTemporal } from "./temporal.ts";

leakCheck();

const log = () => {};
let folder: string;
beforeEach(async () => {
  // No other user may enter it, as a home directory: PostgreSQL must start there even for root.
  folder = await mkdtemp(join(tmpdir(), "tempera-dev-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe("a service", () => {
  test("keeps its state when killed and started again: PostgreSQL", async () => {
    const first = await startPostgres({ folder, log });
    await query(first.url, "create table kept as select 42 as answer");
    first.kill();
    expect(await first.ended).toBe("signal SIGKILL");

    await using second = await startPostgres({ folder, port: first.port, log });
    expect(await query(second.url, "select answer from kept")).toEqual([{ answer: 42 }]);
  });

  test("keeps its state when killed and started again: Temporal", async () => {
    const first = await startTemporal({ folder, log });
    const start = {
      namespace: first.namespace,
      workflowId: "kept",
      requestId: "kept",
      workflowType: { name: "none" },
      taskQueue: { name: "none" },
    };
    await withTemporal(first.url, ({ workflowService }) => workflowService.startWorkflowExecution(start));
    first.kill();
    await first.ended;

    await using second = await startTemporal({ folder, port: first.port, log });
    const described = await withTemporal(second.url, ({ workflowService }) =>
      workflowService.describeWorkflowExecution({
        namespace: second.namespace,
        execution: { workflowId: "kept" },
      }),
    );
    expect(described.workflowExecutionInfo?.type?.name).toBe("none");
  });

  test("is ready when it answers, and gone when stopped: Redis, MinIO", async () => {
    const [redis, minio] = await Promise.all([
      startRedis({ folder: join(folder, "redis"), log }),
      startMinio({ folder: join(folder, "minio"), log }),
    ]);
    expect(new URL(redis.url).host).toBe(`127.0.0.1:${redis.port}`);
    expect((await fetch(`${minio.url}/minio/health/live`)).status).toBe(200);
    await Promise.all([redis.stop(), minio.stop()]);
    expect([isAlive(redis.pid), isAlive(minio.pid)]).toEqual([false, false]);
  });

  test("is not ready while it listens but loads: MinIO", async () => {
    // As MinIO does it: `ready` is 200 all the while, with a header that says otherwise.
    const loading = `#!${process.execPath}
      const loadedAtMs = Date.now() + 500;
      if (process.argv.includes("--version")) process.exit(console.log("minio version 1"));
      require("node:http").createServer((request, response) => {
        const loaded = Date.now() > loadedAtMs;
        if (!loaded) response.setHeader("x-minio-server-status", "offline");
        response.writeHead(loaded || request.url.endsWith("/ready") ? 200 : 503).end();
      }).listen(process.argv[process.argv.indexOf("--address") + 1].split(":")[1], "127.0.0.1");`;
    const binary = join(folder, "minio");
    await writeFile(binary, loading);
    await chmod(binary, 0o755);
    await using minio = await startMinio({
      folder: join(folder, "state"),
      log,
      env: { ...process.env, MINIO_SERVER: binary },
    });
    expect((await fetch(`${minio.url}/minio/health/ready`)).headers.get("x-minio-server-status")).toBeNull();
  });

  test("names a busy port, its owner and the variable that moves it", async () => {
    const port = await freePort();
    const other = createServer().listen(port, "127.0.0.1");
    await once(other, "listening");
    await expect(startRedis({ folder, port, log })).rejects.toThrow(
      `port ${port} (Redis) is in use; set TEMPERA_REDIS_PORT or stop the other program`,
    );
    other.close();
    await once(other, "close");
  });

  test("names a port that was taken in the last moment, however long the program's output is", async () => {
    const port = await freePort();
    const folder = await mkdtemp(join(tmpdir(), "tempera-busy-"));
    const words =
      'console.error("listen: bind: address already in use\\npanic\\n" + "at somewhere\\n".repeat(50)); ' +
      "process.exit(2)";
    const spec = {
      name: "Temporal",
      command: process.execPath,
      args: ["-e", words],
      url: "http://127.0.0.1",
      port,
      portVariable: "TEMPERA_TEMPORAL_PORT",
      logFile: join(folder, "log"),
      stopSignal: "SIGTERM" as const,
      readyWithinMs: 10_000,
      isReady: async () => false,
    };
    await expect(startProcess(spec)).rejects.toThrow(
      `port ${port} (Temporal) is in use; set TEMPERA_TEMPORAL_PORT`,
    );
    // The output of the previous start does not count.
    await expect(startProcess({ ...spec, args: ["-e", "process.exit(2)"] })).rejects.toThrow(
      "ended before it was ready",
    );
    await rm(folder, { recursive: true });
  });

  test("is stopped when the start is aborted before it is ready", async () => {
    const abort = new AbortController();
    const starting = startProcess({
      name: "Temporal",
      command: process.execPath,
      args: ["-e", "setInterval(() => {}, 1000)"],
      url: "http://127.0.0.1",
      port: await freePort(),
      portVariable: "TEMPERA_TEMPORAL_PORT",
      logFile: join(folder, "log"),
      stopSignal: "SIGTERM",
      readyWithinMs: 60_000,
      signal: abort.signal,
      isReady: async () => {
        abort.abort();
        return false;
      },
    });
    await expect(starting).rejects.toMatchObject({ name: "AbortError" });
  });

  test("reports its last lines of output when it cannot start", async () => {
    await writeFile(join(folder, "temporal.db"), "not a database");
    await expect(startTemporal({ folder, log })).rejects.toThrow(
      /^Temporal ended before it was ready .*not a database/,
    );
  });

  test("ends when its parent is killed, and keeps running after a Ctrl-C until it is stopped", async () => {
    const { parent, pid } = await parentWithRedis(folder);
    process.kill(-(parent.pid ?? 0), "SIGINT");
    await sleep(300);
    expect(isAlive(pid), "after SIGINT to the parent's process group").toBe(true);

    parent.kill("SIGKILL");
    await expect.poll(() => isAlive(pid)).toBe(false);
  });
});

describe("a program", () => {
  const program = (methods: Program["methods"]): Program => ({
    title: "Example",
    binary: "tempera-example",
    variable: "EXAMPLE_BINARY",
    methods,
    remedy: "install example 2 or newer",
    objection: (version) => (version.startsWith("1.") ? "it is too old" : undefined),
  });
  const script = async (path: string, version: string) => {
    await writeFile(path, `#!/bin/sh\necho ${version}\n`);
    await chmod(path, 0o755);
    return path;
  };
  const environment = (more: NodeJS.ProcessEnv = {}) => ({
    PATH: folder,
    TEMPERA_CACHE: join(folder, "cache"),
    ...more,
  });

  test("is the one its variable names, before the one on PATH", async () => {
    await script(join(folder, "tempera-example"), "2.0");
    const named = await script(join(folder, "named"), "2.1");
    expect(await findProgram(program([]), { log, env: environment({ EXAMPLE_BINARY: named }) })).toBe(named);
    expect(await findProgram(program([]), { log, env: environment() })).toBe(join(folder, "tempera-example"));
  });

  test("is refused when its variable names something unusable", async () => {
    const env = environment({ EXAMPLE_BINARY: join(folder, "nothing") });
    await expect(findProgram(program([]), { log, env })).rejects.toThrow(
      `EXAMPLE_BINARY names ${join(folder, "nothing")}, but it is not an executable file`,
    );
  });

  test("is installed once for concurrent processes, and found in the cache afterwards", async () => {
    let obtained = 0;
    const method = {
      description: "writing it",
      obtain: async ({ folder: target, binary }: { folder: string; binary: string }) => {
        obtained += 1;
        await sleep(100);
        return script(join(target, binary), "2.0");
      },
    };
    const env = environment();
    const paths = await Promise.all([1, 2, 3].map(() => findProgram(program([method]), { log, env })));
    expect(new Set(paths)).toEqual(new Set([join(folder, "cache", "bin", "tempera-example")]));
    expect(obtained).toBe(1);
  });

  test("that cannot be installed is reported in one line, with what was tried and the remedy", async () => {
    await script(join(folder, "tempera-example"), "1.0");
    const failing = {
      description: "downloading it",
      obtain: () => Promise.reject(new Error("the host does not answer")),
    };
    await expect(findProgram(program([failing]), { log, env: environment() })).rejects.toThrow(
      new RegExp(
        `^Example not found: ${join(folder, "tempera-example")}: it is too old; ` +
          "downloading it: the host does not answer\\. Set EXAMPLE_BINARY to a binary, " +
          "put `tempera-example` on PATH, or install example 2 or newer\\.$",
      ),
    );
  });

  test("is no longer downloaded once the start is aborted; nothing of it stays", async () => {
    const server = createHttpServer((_, response) => void response.write("the first bytes"));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    const abort = new AbortController();
    const tried: string[] = [];
    const other = { description: "another way", obtain: async () => tried.push("another way").toString() };
    const pins = { [`${goPlatform.os}-${goPlatform.arch}`]: "0".repeat(64) };
    const finding = findProgram(program([download(`http://127.0.0.1:${port}/`, "plain", pins), other]), {
      log,
      env: environment(),
      signal: abort.signal,
    });
    await once(server, "request");
    abort.abort();
    await expect(finding).rejects.toBe(abort.signal.reason);
    expect(tried).toEqual([]);
    expect(await readdir(join(folder, "cache", "bin"))).toEqual([]);
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });
});

async function query(url: string, statement: string): Promise<unknown[]> {
  const sql = postgres(url, { max: 1 });
  try {
    return [...(await sql.unsafe(statement))];
  } finally {
    await sql.end();
  }
}

async function withTemporal<T>(address: string, work: (connection: Connection) => Promise<T>): Promise<T> {
  const connection = await Connection.connect({ address });
  try {
    return await work(connection);
  } finally {
    await connection.close();
  }
}

/** Starts a process in its own group that starts Redis and ignores SIGINT, as a platform that drains. */
async function parentWithRedis(at: string): Promise<{ parent: ChildProcess; pid: number }> {
  const program = `
    import { startRedis } from ${JSON.stringify(new URL("./redis.ts", import.meta.url).href)};
    process.on("SIGINT", () => {});
    const redis = await startRedis({ folder: ${JSON.stringify(at)}, log() {} });
    console.log(redis.pid);
    setInterval(() => {}, 1000);`;
  const parent = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", program], {
    detached: true,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = await once(parent.stdout, "data");
  return { parent, pid: Number(String(line)) };
}
