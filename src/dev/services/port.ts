import { randomInt } from "node:crypto";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { SetupError } from "../setup-error.ts";

/** How long a port may stay busy: the services of a killed platform need a moment to end. */
const GRACE_MS = 5_000;

/**
 * Where free ports are looked for: below those that systems give to outgoing connections (32,768 and up on
 * Linux, 49,152 elsewhere), one of which could take the port before its service does.
 */
const [FREE_MIN, FREE_MAX] = [10_240, 32_767];

/** Resolves with a TCP port of 127.0.0.1 that was free a moment ago. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(FREE_MIN, FREE_MAX + 1);
    try {
      return await listenOnce(port);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "EADDRINUSE" && code !== "EACCES") throw error;
    }
  }
}

/**
 * Resolves once the port can be bound on 127.0.0.1.
 *
 * Rejects with `setup_failed` when it stays busy: `port 7233 (Temporal) is in use; …`.
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
          `port ${claim.port} (${claim.owner}) may not be opened by this user; set ${claim.variable} to a port above 1023`,
        );
      }
      if (code !== "EADDRINUSE") throw error;
      if (Date.now() >= deadline) throw portInUse(claim);
      await sleep(100);
    }
  }
}

export const portInUse = (claim: { port: number; owner: string; variable: string }): SetupError =>
  new SetupError(
    `port ${claim.port} (${claim.owner}) is in use; set ${claim.variable} or stop the other program`,
  );

function listenOnce(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen({ port, host: "127.0.0.1", exclusive: true }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address ? address.port : port));
    });
  });
}
