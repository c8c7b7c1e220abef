import { errorInfo } from "../core/errors/tempera-error.ts";
import { judge, type Rollout } from "../core/models/rollout.ts";
import type { RolloutStore } from "../core/models/rollout-store.ts";
import type { AuditLog } from "../core/operations/audit-log.ts";
import type { Clock } from "../core/operations/clock.ts";
import type { Log } from "../core/operations/log.ts";
import { newRequestId } from "../core/requests/request-id.ts";

export interface CheckRolloutsDependencies {
  rollouts: Pick<RolloutStore, "due" | "record" | "end">;
  audit: Pick<AuditLog, "begin" | "settle">;
  clock: Clock;
  log: Log;
}

/** The actor in the audit records. */
const ACTOR = "rollout-rules";

/**
 * Judges the rollouts that have rules by these rules, and promotes them or rolls them back
 * (docs/decisions/0018). A due rollout is given to one orchestrator; when that one dies, it becomes due
 * again.
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
    // Requests that ended before the rollout are no evidence.
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
      // An operator may have changed the rollout since it was read: then the verdict no longer applies.
      const ended = await rollouts.end(rollout.rolloutId, { state, reason }, rollout.revision);
      await audit.settle(record, ended ? { after: { state, reason } } : { errorCode: "rollout_unknown" });
      if (ended)
        log[state === "promoted" ? "info" : "warn"](
          { endpoint, from: fromVersion, to: toVersion },
          `rollout ${state.replace("_", " ")}: ${reason}`,
        );
    } catch (error) {
      await audit.settle(record, { errorCode: errorInfo(error, "server_error").code }).catch(() => {});
      if (errorInfo(error, "server_error").code !== "precondition_failed") throw error;
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
    keyId: ACTOR,
    ownerId: ACTOR,
    action: state === "promoted" ? "rollouts.promote" : "rollouts.rollback",
    subject: `${rollout.endpoint} ${rollout.toVersion}`,
    requestId: auditId,
    before: { rollout_id: rollout.rolloutId, share: rollout.share, state: rollout.state },
  });
  return auditId;
}
