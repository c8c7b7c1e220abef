/** A role as a process, kept alive as a supervisor does: it is started again when it ends by itself. */
import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { join, resolve } from "node:path";
import { sleep } from "../../../src/core/concurrency/sleep.ts";
import { endWithParent } from "../../../src/dev/services/parent-watch.ts";
import { SetupError } from "../../../src/dev/setup-error.ts";
import { type Kind, type Part, signal } from "./part.ts";

const PROJECT = resolve(import.meta.dirname, "../../..");
const RESTART_AFTER_MS = 1_000;
const READY_WITHIN_MS = 90_000;
/** A GPU worker gives running attempts ten seconds. */
const ENDS_WITHIN_MS = 30_000;

/** A role that ended by itself. */
export interface RoleExit {
  name: string;
  atMs: number;
  how: string;
  /** Its last lines of output. */
  output: string;
}

export interface RoleOptions {
  name: string;
  kind: Extract<Kind, "gateway" | "orchestrator" | "gpu-worker" | "admin">;
  env: NodeJS.ProcessEnv;
  logs: string;
  onExit(exit: RoleExit): void;
}

/** A part that is a role of the platform. */
export interface RolePart extends Part {
  /** Launches it without waiting until it is ready. */
  launch(): void;
  ready(): Promise<void>;
  /** Resolves when it has printed something since it was launched, or has ended. */
  spoke(): Promise<void>;
  /** Process ids of all its lives. */
  pids: number[];
}

/** Makes the part of a role, which is not running yet. */
export function rolePart({ name, kind, env, logs, onExit }: RoleOptions): RolePart {
  const log = createWriteStream(join(logs, `${name}.log`), { flags: "a" });
  const pids: number[] = [];
  let child: ChildProcess | undefined;
  let isWanted = false;
  let ready = deferred();
  let spoke = deferred();
  let output = "";
  let ended: Promise<void> = Promise.resolve();

  return {
    name,
    kind,
    pids,
    pid: () => child?.pid ?? 0,
    launch,
    ready: awaitReady,
    spoke: () => spoke.promise,
    async start() {
      launch();
      await awaitReady();
    },
    async end(how) {
      isWanted = false;
      if (!child?.pid) return;
      const { pid } = child;
      signal(pid, "SIGCONT");
      signal(pid, how);
      const forced = setTimeout(() => {
        const late = `still there ${ENDS_WITHIN_MS / 1000} s after ${how}`;
        onExit({ name, atMs: performance.now(), how: late, output: "" });
        signal(pid, "SIGKILL");
      }, ENDS_WITHIN_MS);
      await ended;
      clearTimeout(forced);
    },
    freeze: async () => signal(child?.pid ?? 0, "SIGSTOP"),
    thaw: async () => signal(child?.pid ?? 0, "SIGCONT"),
  };

  async function awaitReady(): Promise<void> {
    const over = new AbortController();
    const isReady = await Promise.race([
      ready.promise.then(() => true),
      sleep(READY_WITHIN_MS, over.signal).then(
        () => false,
        () => true,
      ),
    ]);
    over.abort(new Error("it is ready"));
    if (isReady) return;
    const lastLine = output.trim().split("\n").at(-1) || "it printed nothing";
    throw new SetupError(`${name} was not ready within ${READY_WITHIN_MS / 1000} s: ${lastLine}`);
  }

  function launch(): void {
    isWanted = true;
    ready = deferred();
    spoke = deferred();
    live();
  }

  function live(): void {
    const life = spawn(process.execPath, ["--import", "tsx", join(PROJECT, `src/bin/${kind}.ts`)], {
      cwd: PROJECT,
      env,
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    child = life;
    output = "";
    const forget = life.pid === undefined ? () => {} : endWithParent(life.pid, "SIGTERM");
    if (life.pid !== undefined) pids.push(life.pid);
    for (const stream of [life.stdout, life.stderr]) {
      stream.on("data", (chunk: Buffer) => {
        log.write(chunk);
        spoke.resolve();
        output = (output + chunk).slice(-4000);
        if (output.includes(`${kind} is ready`)) ready.resolve();
      });
    }
    ended = new Promise((done) => {
      life.once("close", (code, endedBy) => {
        forget();
        spoke.resolve();
        child = undefined;
        done();
        if (!isWanted) return;
        const how = endedBy ? `signal ${endedBy}` : `exit code ${code}`;
        onExit({ name, atMs: performance.now(), how, output: output.trim().slice(-400) });
        void sleep(RESTART_AFTER_MS).then(() => isWanted && child === undefined && live());
      });
    });
  }
}

/** A promise that is resolved from outside. */
function deferred(): { promise: Promise<void>; resolve(): void } {
  let resolve = (): void => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
