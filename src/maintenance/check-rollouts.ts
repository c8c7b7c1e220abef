import { errorInfo } from "../core/errors/tempera-error.ts";
import type { AuditLog } from "../core/operations/audit-log.ts";
import type { Clock } from "../core/operations/clock.ts";
import type { Log } from "../core/operations/log.ts";
import type { RolloutStore } from "../core/models/rollout-store.ts";
import { newRequestId } from "../core/requests/request-id.ts";
import { judge, type Rollout } from "../core/models/rollout.ts";

export interface CheckRolloutsDependencies {
  rollouts: Pick<RolloutStore, "due" | "record" | "end">;
  audit: Pick<AuditLog, "begin" | "settle">;
  clock: Clock;
  log: Log;
}

/** Who the audit record says it was. */
const BY = "rollout-rules";

/**
 * Looks at the rollouts that have rules, and promotes or rolls back those whose rules say so
 * (docs/decisions/0018). Each that is due is handed to one orchestrator; one that dies with it is due again.
 *
 * Rejects with `store_unavailable`.
 */
export async function checkRollouts(
  { rollouts, audit, clock, log }: CheckRolloutsDependencies,
  everyMs: number,
): Promise<void> {
  for (const rollout of await rollouts.due(everyMs)) {
    const { rules, endpoint, fromVersion, toVersion } = rollout;
    if (!rules) continue;
    // What ended before the rollout is no evidence.
    const sinceMs = Math.max(clock.nowMs() - rules.windowSeconds * 1000, rollout.startedAtMs);
    const [from, to] = await Promise.all([
      rollouts.record(endpoint, fromVersion, sinceMs),
      rollouts.record(endpoint, toVersion, sinceMs),
    ]);
    const verdict = judge(rollout, rules, { from, to }, clock.nowMs());
    if ("keep" in verdict) continue;
    const [state, reason] =
      "rollBack" in verdict
        ? (["rolled_back", verdict.rollBack] as const)
        : (["promoted", verdict.promote] as const);
    const record = await beginRecord({ audit, clock }, rollout, state);
    try {
      // Somebody may have changed it since it was read: then this verdict is about what no longer is.
      const ended = await rollouts.end(rollout.rolloutId, { state, reason }, rollout.revision);
      await audit.settle(record, ended ? { after: { state, reason } } : { errorCode: "rollout_unknown" });
      if (ended)
        log[state === "promoted" ? "info" : "warn"](
          { endpoint, from: fromVersion, to: toVersion },
          `rollout ${state.replace("_", " ")}: ${reason}`,
        );
    } catch (error) {
      await audit.settle(record, { errorCode: errorInfo(error, "server_error").code }).catch(() => {});
      if (errorInfo(error, "server_error").code !== "changed_meanwhile") throw error;
    }
  }
}

async function beginRecord(
  { audit, clock }: Pick<CheckRolloutsDependencies, "audit" | "clock">,
  rollout: Rollout,
  state: Rollout["state"],
): Promise<string> {
  const auditId = newRequestId(clock.nowMs());
  await audit.begin({
    auditId,
    atMs: clock.nowMs(),
    keyId: BY,
    ownerId: BY,
    action: state === "promoted" ? "rollouts.promote" : "rollouts.rollback",
    subject: `${rollout.endpoint} ${rollout.toVersion}`,
    requestId: auditId,
    before: { rollout_id: rollout.rolloutId, share: rollout.share, state: rollout.state },
  });
  return auditId;
}
