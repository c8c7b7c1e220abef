import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import type { ScheduleState } from "../../../../core/operations/schedules.ts";
import {
  type OwnTimes,
  RETENTION_FIELDS,
  type RetentionTimes,
  timesOf,
} from "../../../../core/operations/retention.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import type { AddVerb } from "../../http/route.ts";

const YEARS_MAX_SECONDS = 100 * 365 * 24 * 3600;

/** Seconds; `null` is for ever. */
const SECONDS = z.number().min(1).max(YEARS_MAX_SECONDS).nullable();

const NAMES = {
  requestMs: "request_seconds",
  payloadMs: "payload_seconds",
  logMs: "log_seconds",
  artifactMs: "artifact_seconds",
  uploadMs: "upload_seconds",
} as const satisfies Record<keyof RetentionTimes, string>;

const TIMES = z
  .object({
    request_seconds: SECONDS,
    payload_seconds: SECONDS,
    log_seconds: SECONDS,
    artifact_seconds: SECONDS,
    upload_seconds: SECONDS,
  })
  .openapi("RetentionTimes");

const OWN = z.strictObject(TIMES.partial().shape).openapi("OwnRetentionTimes");

const SCHEDULE = z
  .object({
    sweep: z.enum(["expired", "orphans"]),
    every_seconds: z.number(),
    paused: z.boolean(),
    next_at: z.string().nullable(),
    runs: z.array(
      z.object({
        workflow_id: z.string(),
        started_at: z.string(),
        state: z.enum(["RUNNING", "COMPLETED", "FAILED"]),
        deleted: z.record(z.string(), z.number()).nullable(),
      }),
    ),
  })
  .openapi("RetentionSchedule");

const OWNER_TIMES = z.object({ owner: z.string(), own: OWN, effective: TIMES });

const seconds = (ms: number | null): number | null => (ms === null ? null : ms / 1000);
const timesBody = (times: RetentionTimes): z.input<typeof TIMES> => ({
  request_seconds: seconds(times.requestMs),
  payload_seconds: seconds(times.payloadMs),
  log_seconds: seconds(times.logMs),
  artifact_seconds: seconds(times.artifactMs),
  upload_seconds: seconds(times.uploadMs),
});
const ownBody = (own: OwnTimes): Record<string, number | null> =>
  Object.fromEntries(
    RETENTION_FIELDS.flatMap((field) =>
      own[field] === undefined ? [] : [[NAMES[field], seconds(own[field] as number | null)]],
    ),
  );
const ownOf = (body: z.output<typeof OWN>): OwnTimes =>
  Object.fromEntries(
    RETENTION_FIELDS.flatMap((field) => {
      const given = body[NAMES[field]];
      return given === undefined ? [] : [[field, given === null ? null : given * 1000]];
    }),
  );

const scheduleBody = (
  sweep: "expired" | "orphans",
  { everyMs, paused, nextAtMs, runs }: ScheduleState,
): z.input<typeof SCHEDULE> => ({
  sweep,
  every_seconds: everyMs / 1000,
  paused,
  next_at: nextAtMs === undefined ? null : new Date(nextAtMs).toISOString(),
  runs: runs.map(({ workflowId, startedAtMs, state, result }) => ({
    workflow_id: workflowId,
    started_at: new Date(startedAtMs).toISOString(),
    state,
    deleted: (result as Record<string, number> | undefined) ?? null,
  })),
});

/** How long things are kept, and what was deleted. */
export function addRetentionVerbs(
  add: AddVerb,
  { retention, policy, schedules }: Pick<ApiDependencies, "retention" | "policy" | "schedules">,
): void {
  add(
    {
      method: "get",
      path: "/v1/tempera/retention",
      says: "The installation's times, what was deleted by kind, and the sweeps.",
      scope: "ADMIN",
      answer: z.object({
        times: TIMES.extend({ usage_seconds: SECONDS }),
        deleted: z.array(z.object({ kind: z.string(), items: z.number(), items_today: z.number() })),
        sweeps: z.array(SCHEDULE),
      }),
    },
    async () => {
      const [totals, expired, orphans] = await Promise.all([
        retention.totals(),
        schedules.state("retention"),
        schedules.state("orphans"),
      ]);
      return {
        times: { ...timesBody(timesOf(policy)), usage_seconds: seconds(policy.usageMs) },
        deleted: totals.map(({ kind, items, itemsToday }) => ({ kind, items, items_today: itemsToday })),
        sweeps: [
          ...(expired ? [scheduleBody("expired", expired)] : []),
          ...(orphans ? [scheduleBody("orphans", orphans)] : []),
        ],
      };
    },
  );

  add(
    {
      method: "post",
      path: "/v1/tempera/retention/run",
      says: "Starts a sweep now, unless one is under way.",
      scope: "ADMIN",
      body: z.strictObject({ sweep: z.enum(["expired", "orphans"]).default("expired") }),
      audit: "retention.run",
      status: 202,
      answer: z.object({ status: z.literal("STARTED"), sweep: z.string() }),
      errors: ["schedule_unknown"],
    },
    async ({ body: { sweep }, change }) =>
      change({ subject: sweep }, async () => {
        if (!(await schedules.trigger(sweep === "expired" ? "retention" : "orphans")))
          throw new TemperaError("schedule_unknown");
        return { result: { status: "STARTED" as const, sweep } };
      }),
  );

  const OWNER = z.object({ owner: z.string().min(1).max(200) });

  add(
    {
      method: "get",
      path: "/v1/tempera/retention/owners/{owner}",
      says: "The times of one owner: its own, and what holds for it.",
      scope: "ADMIN",
      params: OWNER,
      answer: OWNER_TIMES,
    },
    async ({ params: { owner } }) => {
      const own = (await retention.ownTimes()).get(owner) ?? {};
      return { owner, own: ownBody(own), effective: timesBody(timesOf(policy, own)) };
    },
  );

  add(
    {
      method: "put",
      path: "/v1/tempera/retention/owners/{owner}",
      says: "Sets the times of one owner; what is left out is the installation's. Seen everywhere within seconds.",
      scope: "ADMIN",
      params: OWNER,
      body: OWN,
      audit: "retention.set",
      answer: OWNER_TIMES,
    },
    async ({ params: { owner }, body, change }) => {
      const before = (await retention.ownTimes()).get(owner) ?? {};
      const own = ownOf(body);
      return change({ subject: owner, before: ownBody(before) }, async () => {
        await retention.setOwnTimes(owner, Object.keys(own).length === 0 ? undefined : own);
        return {
          after: ownBody(own),
          result: { owner, own: ownBody(own), effective: timesBody(timesOf(policy, own)) },
        };
      });
    },
  );
}
