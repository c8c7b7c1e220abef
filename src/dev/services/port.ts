import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { SetupError } from "../setup-error.ts";

/** How long a port may stay busy: the services of a killed platform need a moment to end. */
const GRACE_MS = 5_000;

/** Resolves with a TCP port of 127.0.0.1 that was free a moment ago. */
export const freePort = (): Promise<number> => listenOnce(0);

/**
 * Resolves once the port can be bound on 127.0.0.1.
 *
 * Rejects with `setup_failed` when it stays busy: `port 7233 (Temporal) is in use; …`.
 */
export async function claimPort(claim: { port: number; owner: string; variable: string; graceMs?: number }): Promise<void> {
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
  new SetupError(`port ${claim.port} (${claim.owner}) is in use; set ${claim.variable} or stop the other program`);

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
