/**
 * Runs cases against a server: waiting cases start first and run in parallel with the others; cases that need
 * the server alone run one by one.
 */
import { execFile } from "node:child_process";
import { resolve } from "node:path";
import { type Case, NEEDS, type Need, NotApplicable } from "./case.ts";
import { CASES_BY_NUMBER } from "./cases/index.ts";
import { createContext, type OwnServer, STUB, type Target } from "./context.ts";
import { closeConnections } from "./http.ts";
import { startReceiver } from "./receiver.ts";

const PROJECT = resolve(import.meta.dirname, "../../..");
/** Python packages of the cases, at their tested versions. */
const PARALLEL_CASES = 4;

/** Time after which a case never ends. */
const CASE_MS = 300_000;

export interface Judged {
  number: number;
  title: string;
  file: string;
  outcome: "passed" | "failed" | "not applicable";
  /** Reason why the case failed or does not apply. */
  why?: string;
  ms: number;
}

export interface Session extends AsyncDisposable {
  judge(each: Case & { file: string }): Promise<Judged>;
  /**
   * Runs the stub once with success. A server may stop serving a model whose engine crashes again and again
   * without a success in between.
   */
  calm(): Promise<void>;
}

/**
 * Opens a session with a server.
 *
 * @param receiverHost name or address under which the server reaches this machine; for a server elsewhere,
 *   one
 *   in its network
 */
export async function openSession(
  target: Target,
  { server, receiverHost = "127.0.0.2" }: { server?: OwnServer; receiverHost?: string } = {},
): Promise<Session> {
  const receiver = await startReceiver(receiverHost);
  let python: Promise<string> | undefined;
  const context = createContext(target, receiver, () => (python ??= pythonPath()), server);
  const has: Record<Need, boolean> = {
    tls: target.tlsUrl !== undefined && target.caFile !== undefined,
    otherKey: target.otherKey !== undefined,
    adminKey: target.adminKey !== undefined && target.adminUrl !== undefined,
    ownServer: server !== undefined,
  };
  return {
    async judge({ number, title, file, needs = [], run }) {
      const startedAtMs = performance.now();
      const judged = (outcome: Judged["outcome"], why?: string): Judged => ({
        number,
        title,
        file,
        outcome,
        ...(why !== undefined && { why }),
        ms: Math.round(performance.now() - startedAtMs),
      });
      const missing = needs.find((need) => !has[need]);
      if (missing) return judged("not applicable", `it needs ${NEEDS[missing]}`);
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<never>((_, fail) => {
        timer = setTimeout(() => fail(new Error(`no end within ${CASE_MS / 1000} s`)), CASE_MS);
      });
      try {
        await Promise.race([run(context), late]);
        return judged("passed");
      } catch (error) {
        if (error instanceof NotApplicable) return judged("not applicable", error.message);
        const { message, body } = error as Error & { body?: unknown };
        return judged(
          "failed",
          [message, body === undefined ? "" : JSON.stringify(body)].join(" ").trim().slice(0, 600),
        );
      } finally {
        clearTimeout(timer);
      }
    },
    async calm() {
      // If this fails, the next case reports why.
      await context.call(`/run/${STUB}`, { method: "POST", body: {} }).catch(() => {});
    },
    async [Symbol.asyncDispose]() {
      await receiver.close();
      closeConnections();
    },
  };
}

/** Judges cases in the quickest order; calls `report` with each result. */
export async function judgeAll(
  session: Session,
  cases: readonly (Case & { file: string })[],
  report: (judged: Judged) => void,
): Promise<Judged[]> {
  const all: Judged[] = [];
  const judge = async (each: Case & { file: string }): Promise<void> => {
    const judged = await session.judge(each);
    all.push(judged);
    report(judged);
  };
  const waiting = cases.filter(({ waits }) => waits).map(judge);
  const beside = cases.filter(({ waits, alone }) => !waits && !alone);
  await Promise.all(
    Array.from({ length: PARALLEL_CASES }, async () => {
      for (let each = beside.shift(); each; each = beside.shift()) await judge(each);
    }),
  );
  await Promise.all(waiting);
  for (const each of cases.filter(({ alone }) => alone)) {
    await judge(each);
    await session.calm();
  }
  return all.sort((a, b) => a.number - b.number);
}

/** Finds a Python that has the packages; creates its environment at the first use. */
const pythonPath = (): Promise<string> =>
  new Promise((done, fail) =>
    execFile(
      process.execPath,
      ["scripts/python-env.mjs", "tests/setup/python/fal-client.txt"],
      { cwd: PROJECT },
      (error, said, complained) =>
        error
          ? fail(new Error(`no Python with fal's client: ${complained.trim().split("\n").at(-1)}`))
          : done(said.trim()),
    ),
  );

export const casesOf = (only: string | undefined): (Case & { file: string })[] => {
  if (only === undefined) return [...CASES_BY_NUMBER];
  const wanted = new Set(
    only.split(",").flatMap((part) => {
      const [from = Number.NaN, to = from] = part.split("-").map(Number);
      return Number.isInteger(from) && Number.isInteger(to)
        ? Array.from({ length: to - from + 1 }, (_, i) => from + i)
        : [];
    }),
  );
  return CASES_BY_NUMBER.filter(({ number }) => wanted.has(number));
};
