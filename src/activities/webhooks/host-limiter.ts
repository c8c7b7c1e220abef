import { LIMITS } from "../../core/limits.ts";

/**
 * How many attempts go to one host at once. A host that is stuck holds its own few places and no others: who
 * finds its line full is told so, and comes back later.
 */
export interface HostLimiter {
  /**
   * Resolves with how to leave, or with `undefined` when the host's line is full or has not moved for
   * `waitMs`.
   */
  acquire(host: string, signal: AbortSignal): Promise<(() => void) | undefined>;
  /** Whether somebody who came now would be let in or into the line. */
  hasCapacity(host: string): boolean;
}

interface Line {
  inFlight: number;
  waiting: ((entered: boolean) => void)[];
}

/** The gate of one orchestrator's webhooks. */
export const createWebhookHostLimiter = (): HostLimiter =>
  createHostLimiter({
    inFlightMax: LIMITS.webhookHostInFlightMax,
    waitingMax: LIMITS.webhookHostWaitingMax,
    waitMs: LIMITS.webhookHostWaitMs,
  });

export function createHostLimiter({
  inFlightMax,
  waitingMax,
  waitMs,
}: {
  inFlightMax: number;
  waitingMax: number;
  waitMs: number;
}): HostLimiter {
  const lines = new Map<string, Line>();

  const leave = (host: string, line: Line) => () => {
    const next = line.waiting.shift();
    if (next) return next(true);
    line.inFlight -= 1;
    if (line.inFlight === 0) lines.delete(host);
  };

  return {
    hasCapacity(host) {
      const line = lines.get(host);
      return !line || line.inFlight < inFlightMax || line.waiting.length < waitingMax;
    },
    async acquire(host, signal) {
      signal.throwIfAborted();
      const line = lines.get(host) ?? { inFlight: 0, waiting: [] };
      lines.set(host, line);
      if (line.inFlight < inFlightMax) {
        line.inFlight += 1;
        return once(leave(host, line));
      }
      if (line.waiting.length >= waitingMax) return undefined;
      const entered = await new Promise<boolean>((resolve) => {
        const settle = (value: boolean) => {
          clearTimeout(timer);
          signal.removeEventListener("abort", giveUp);
          resolve(value);
        };
        const giveUp = () => {
          line.waiting = line.waiting.filter((each) => each !== settle);
          settle(false);
        };
        const timer = setTimeout(giveUp, waitMs);
        signal.addEventListener("abort", giveUp, { once: true });
        line.waiting.push(settle);
      });
      // Who is called off in the moment of being let in gives the place on.
      if (entered && signal.aborted) leave(host, line)();
      signal.throwIfAborted();
      return entered ? once(leave(host, line)) : undefined;
    },
  };
}

const once = (work: () => void): (() => void) => {
  let done = false;
  return () => {
    if (!done) work();
    done = true;
  };
};
