import type { Config } from "../../config/settings.ts";
import type { RetentionPolicy } from "../../core/operations/retention.ts";

const DAY_MS = 24 * 3600 * 1000;

/** Converts the configured retention times of the installation from days to milliseconds. */
export function retentionPolicy({ retention }: Pick<Config, "retention">): RetentionPolicy {
  const ms = (days: number | "never"): number | null => (days === "never" ? null : days * DAY_MS);
  return {
    requestMs: ms(retention.requestDays),
    payloadMs: ms(retention.payloadDays),
    logMs: ms(retention.logDays),
    artifactMs: ms(retention.artifactDays),
    uploadMs: ms(retention.uploadDays),
    usageMs: ms(retention.usageDays),
  };
}
