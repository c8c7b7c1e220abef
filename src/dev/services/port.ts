import { randomInt } from "node:crypto";
import { createServer } from "node:net";
import getPort from "get-port";
import { sleep } from "../../core/concurrency/sleep.ts";
import { SetupError } from "../setup-error.ts";

/**
 * Longest wait for a port in use, in milliseconds: the services of a killed platform need a moment to end.
 */
const GRACE_MS = 5_000;

/**
 * The range of free ports. It is below the ports that systems use for outgoing connections (32,768 and up on
 * Linux, 49,152 elsewhere), one of which could occupy the port before its service does.
 */
const [FREE_MIN, FREE_MAX] = [10_240, 32_767];

/** Ports to try before any free port of the system is taken. */
const CANDIDATES = 1_000;

/** Resolves with a TCP port of 127.0.0.1 that was free a moment ago. */
export function freePort(): Promise<number> {
  return getPort({ host: "127.0.0.1", exclusive: true, port: candidates() });
}

function* candidates(): Generator<number> {
  for (let i = 0; i < CANDIDATES; i++) yield randomInt(FREE_MIN, FREE_MAX + 1);
}

/**
 * Resolves once the port can be bound on 127.0.0.1.
 *
 * Rejects with `setup_failed` when it stays in use: `port 7233 (Temporal) is in use; …`.
 */
export async function claimPort(claim: {
  port: number;
  owner: string;
  variable: string;
  graceMs?: number;
}): Promise<void> {
  const deadline = Date.now() + (claim.graceMs ?? GRACE_MS);
  for (;;) {
    try {
      await listenOnce(claim.port);
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EACCES") {
        throw new SetupError(
          `port ${claim.port} (${claim.owner}) may not be opened by this user; ` +
            `set ${claim.variable} to a port above 1023`,
        );
      }
      if (code !== "EADDRINUSE") throw error;
      if (Date.now() >= deadline) throw portInUse(claim);
      await sleep(100);
    }
  }
}

/** Resolves with true once the port can be bound on 127.0.0.1, and with false when it stays in use. */
export async function isFree(port: number, graceMs: number): Promise<boolean> {
  const deadline = Date.now() + graceMs;
  for (;;) {
    try {
      await listenOnce(port);
      return true;
    } catch {
      if (Date.now() >= deadline) return false;
      await sleep(100);
    }
  }
}

/** Another program uses a port, or each of several. */
export class PortInUse extends SetupError {
  constructor(
    readonly ports: readonly number[],
    message: string,
  ) {
    super(message);
  }
}

export function portInUse({ port, owner, variable }: { port: number; owner: string; variable: string }) {
  return new PortInUse(
    [port],
    `port ${port} (${owner}) is in use; set ${variable} or stop the other program`,
  );
}

function listenOnce(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen({ port, host: "127.0.0.1", exclusive: true }, () => server.close(() => resolve()));
  });
}
