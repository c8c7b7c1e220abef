import { sleep } from "../../core/concurrency/sleep.ts";
import { errorInfo } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import { tryWithdrawal, type Withdrawal, type WithdrawJob } from "../../core/requests/withdrawal.ts";
import type { ApiDependencies } from "../dependencies.ts";

export interface WithdrawalTimes {
  /** Waits before the next try; `tries`: those before it. */
  pause(tries: number, signal: AbortSignal): Promise<void>;
  nowMs(): number;
}

const PAUSE_MAX_MS = 10_000;

const TIMES: WithdrawalTimes = {
  pause: (tries, signal) => sleep(Math.min(250 * 2 ** Math.min(tries, 10), PAUSE_MAX_MS), signal),
  nowMs: () => performance.now(),
};

/**
 * Makes withdrawals: tries each one until Temporal replies, for as long as this process lives, and notes it
 * in the store as soon as that can be reached, for the orchestrators. A job that Temporal does not know is
 * looked for until `LIMITS.withdrawalKeptMs` after the first such reply, since its start may arrive late.
 */
export function createWithdrawals(
  api: Pick<ApiDependencies, "jobs" | "events" | "withdrawals" | "log">,
  { pause, nowMs }: WithdrawalTimes = TIMES,
): Disposable & { withdrawJob: WithdrawJob } {
  const stopped = new AbortController();

  return {
    withdrawJob(withdrawal, onWithdrawn) {
      api.log.warn({ requestId: withdrawal.requestId }, "a start is in doubt, and is being withdrawn");
      carryOut(withdrawal)
        .then((found) => found !== "ended" && onWithdrawn?.())
        .catch((error) => {
          if (!stopped.signal.aborted)
            api.log.error({ requestId: withdrawal.requestId, err: error }, "a withdrawal failed");
        });
    },
    [Symbol.dispose]: () => stopped.abort(),
  };

  /** Returns how it was found in the end. */
  async function carryOut(withdrawal: Withdrawal): Promise<"withdrawn" | "ended" | "unknown"> {
    const { requestId } = withdrawal;
    const over = new AbortController();
    const isNoted = note(withdrawal, AbortSignal.any([stopped.signal, over.signal]));
    let unknownSinceMs: number | undefined;
    let found: Awaited<ReturnType<typeof tryWithdrawal>> | undefined;
    for (let tries = 0; ; tries++) {
      found = await tryWithdrawal(api, withdrawal).catch((error) => {
        api.log.debug({ requestId, err: errorInfo(error) }, "a withdrawal is tried again");
        return undefined;
      });
      if (found === "unknown") unknownSinceMs ??= nowMs();
      const isLate = unknownSinceMs !== undefined && nowMs() - unknownSinceMs >= LIMITS.withdrawalKeptMs;
      if (found !== undefined && (found !== "unknown" || isLate)) break;
      await pause(tries, stopped.signal);
    }
    over.abort();
    if (await isNoted) await api.withdrawals.remove(requestId).catch(() => {}); // else an orchestrator does
    return found;
  }

  /** Notes a withdrawal as soon as the store can be reached. Resolves with true once it is noted. */
  async function note(withdrawal: Withdrawal, signal: AbortSignal): Promise<boolean> {
    for (let tries = 0; !signal.aborted; tries++) {
      try {
        await api.withdrawals.note(withdrawal);
        return true;
      } catch {
        await pause(tries, signal).catch(() => {});
      }
    }
    return false;
  }
}
