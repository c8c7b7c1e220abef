/** Starts a server for the suite: the project's start command in a temporary folder, on free ports. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type OwnServer, STUB } from "./context.ts";
import { request } from "./http.ts";

const PROJECT = resolve(import.meta.dirname, "../../..");
const READY_WITHIN_MS = 300_000;

const freePort = (): Promise<number> =>
  new Promise((done, fail) => {
    const probe = createServer();
    probe.once("error", fail);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => done(port));
    });
  });

/** Starts the server. `log` gets its progress, a line at a time. @param models the models that it serves */
export async function startOwnServer(
  log: (line: string) => void,
  { models = [STUB] }: { models?: readonly string[] } = {},
): Promise<OwnServer> {
  const folder = await mkdtemp(join(tmpdir(), "tempera-conformance-"));
  const [port, adminPort, tlsPort, temporal, ui, postgres] = await Promise.all(
    Array.from({ length: 6 }, freePort),
  );
  const adminKey = `${randomUUID()}:${randomBytes(32).toString("hex")}`;
  const env = {
    ...process.env,
    TEMPERA_DATA: folder,
    TEMPERA_PORT: String(port),
    TEMPERA_ADMIN_PORT: String(adminPort),
    TEMPERA_TLS_PORT: String(tlsPort),
    TEMPERA_TEMPORAL_PORT: String(temporal),
    TEMPERA_TEMPORAL_UI_PORT: String(ui),
    TEMPERA_POSTGRES_PORT: String(postgres),
    TEMPERA_ADMIN_KEY: adminKey,
    TEMPERA_WORKER_MODELS: models.join(","),
    // The suite's webhook receiver is on this machine. The delays are short, so that the cases that wait for
    // them are short.
    TEMPERA_ALLOW_PRIVATE_ADDRESSES: "127.0.0.2",
    TEMPERA_WEBHOOK_DELAYS: "1,1,1,1",
    TEMPERA_WEBHOOK_TIMEOUT: "3",
    TEMPERA_REALTIME_IDLE_SECONDS: "4",
    // The cases crash engines more often than one owner may.
    TEMPERA_ENGINE_CRASHES_OF_OWNER: "1000",
    TEMPERA_RUNS_MAX: "80",
  };
  let child: ChildProcess | undefined;

  const start = async (): Promise<void> => {
    let said = "";
    const started = spawn(process.execPath, ["scripts/run.mjs", "start", "--tls", "--with-test-models"], {
      cwd: PROJECT,
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    child = started;
    await new Promise<void>((done, fail) => {
      const timer = setTimeout(
        () => fail(new Error(`the server was not ready within ${READY_WITHIN_MS / 1000} s: ${said}`)),
        READY_WITHIN_MS,
      );
      const listen = (chunk: Buffer): void => {
        said = (said + chunk).slice(-4_000);
        for (const line of String(chunk).split("\n"))
          if (/^\S*(Installing|Packages|go:|\[setup\])/.test(line)) log(line);
        if (!said.includes("Ctrl-C stops it")) return;
        clearTimeout(timer);
        done();
      };
      started.stdout?.on("data", listen);
      started.stderr?.on("data", listen);
      started.once("exit", (code) => {
        clearTimeout(timer);
        fail(new Error(`the server ended (${code}) before it was ready: ${said}`));
      });
    });
  };
  const end = (signal: NodeJS.Signals): Promise<void> =>
    new Promise((done) => {
      if (!child || child.exitCode !== null || child.signalCode !== null) return done();
      child.once("exit", () => done());
      child.kill(signal);
    });

  try {
    await start();
    const url = `http://localhost:${port}`;
    const made = await request(`http://localhost:${adminPort}/v1/keys`, {
      method: "POST",
      body: { alias: "another owner" },
      headers: { authorization: `Key ${adminKey}` },
    });
    return {
      target: {
        url,
        key: adminKey,
        otherKey: made.json().key,
        adminKey,
        adminUrl: `http://localhost:${adminPort}`,
        tlsUrl: `https://localhost:${tlsPort}`,
        caFile: join(folder, "tls", "ca.pem"),
      },
      certificateFile: join(folder, "tls", "server.pem"),
      async stores(bytes) {
        // A file may be deleted after it was listed; it is then not stored.
        const gone = (): undefined => undefined;
        const entries = await readdir(join(folder, "objects"), {
          recursive: true,
          withFileTypes: true,
        }).catch(gone);
        for (const entry of entries ?? []) {
          const file = join(entry.parentPath, entry.name);
          if (!entry.isFile() || (await stat(file).catch(gone))?.size !== bytes.length) continue;
          if ((await readFile(file).catch(gone))?.equals(bytes)) return true;
        }
        return false;
      },
      async restart() {
        await end("SIGKILL");
        await start();
      },
      async stop() {
        await end("SIGTERM");
        await rm(folder, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await end("SIGKILL");
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}
