import { isTemperaError } from "../core/errors/tempera-error.ts";
import { LIMITS } from "../core/limits.ts";
import type { EventLog } from "../core/requests/event-log.ts";
import type { Jobs } from "../core/requests/jobs.ts";
import { tryWithdrawal, type WithdrawalStore } from "../core/requests/withdrawal.ts";

export interface FinishWithdrawalsDependencies {
  jobs: Pick<Jobs, "withdraw">;
  events: Pick<EventLog, "announceCancel" | "drop">;
  withdrawals: Pick<WithdrawalStore, "list" | "markUnknown" | "remove">;
}

/** Notes that one query returns. */
const BATCH = 100;

/**
 * Tries the noted withdrawals, whose gateways may have died. Ends early while Temporal is away. Several
 * processes may do it at once.
 */
export async function finishWithdrawals(dependencies: FinishWithdrawalsDependencies): Promise<void> {
  const { withdrawals } = dependencies;
  for (let afterId: string | undefined; ; ) {
    const noted = await withdrawals.list(afterId, BATCH);
    for (const withdrawal of noted) {
      const { requestId } = withdrawal;
      try {
        if ((await tryWithdrawal(dependencies, withdrawal)) === "unknown")
          await withdrawals.markUnknown(requestId, LIMITS.withdrawalKeptMs);
        else await withdrawals.remove(requestId);
      } catch (error) {
        if (isTemperaError(error) && error.code === "temporal_unavailable") return;
        throw error;
      }
    }
    if (noted.length < BATCH) return;
    afterId = noted.at(-1)?.requestId;
  }
}
