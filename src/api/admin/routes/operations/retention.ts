import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import {
  type OwnerTimes,
  RETENTION_FIELDS,
  type RetentionTimes,
  timesOf,
} from "../../../../core/operations/retention.ts";
import type { ScheduleState } from "../../../../core/operations/schedules.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import type { AddRoute } from "../../http/route.ts";

const YEARS_MAX_SECONDS = 100 * 365 * 24 * 3600;

/** A retention time in seconds; `null` means forever. */
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

const STATUS = z.object({
  times: TIMES.extend({ usage_seconds: SECONDS }),
  deleted: z.array(z.object({ kind: z.string(), items: z.number(), items_today: z.number() })),
  sweeps: z.array(SCHEDULE),
});

/** The state of retention, as the API shows it. */
export type RetentionView = z.output<typeof STATUS>;

const OWNER_TIMES = z.object({ owner: z.string(), own: OWN, effective: TIMES });

const seconds = (ms: number | null): number | null => (ms === null ? null : ms / 1000);
const timesBody = (times: RetentionTimes): z.input<typeof TIMES> => ({
  request_seconds: seconds(times.requestMs),
  payload_seconds: seconds(times.payloadMs),
  log_seconds: seconds(times.logMs),
  artifact_seconds: seconds(times.artifactMs),
  upload_seconds: seconds(times.uploadMs),
});
const ownBody = (own: OwnerTimes): Record<string, number | null> =>
  Object.fromEntries(
    RETENTION_FIELDS.flatMap((field) =>
      own[field] === undefined ? [] : [[NAMES[field], seconds(own[field] as number | null)]],
    ),
  );
const ownOf = (body: z.output<typeof OWN>): OwnerTimes =>
  Object.fromEntries(
    RETENTION_FIELDS.flatMap((field) => {
      const time = body[NAMES[field]];
      return time === undefined ? [] : [[field, time === null ? null : time * 1000]];
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

type Dependencies = Pick<ApiDependencies, "retention" | "policy" | "schedules">;

/** Adds the routes of retention: the times for which data is kept, and the sweeps that delete it. */
export function addRetentionRoutes(addRoute: AddRoute, api: Dependencies): void {
  addStatusRoute(addRoute, api);
  addRunRoute(addRoute, api);
  addOwnerRoutes(addRoute, api);
}

function addStatusRoute(addRoute: AddRoute, { retention, policy, schedules }: Dependencies): void {
  addRoute(
    {
      method: "get",
      path: "/v1/tempera/retention",
      summary:
        "Shows the installation's retention times, the number of deleted items by kind, and the sweeps.",
      scope: "ADMIN",
      response: STATUS,
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
}

function addRunRoute(addRoute: AddRoute, { schedules }: Dependencies): void {
  addRoute(
    {
      method: "post",
      path: "/v1/tempera/retention/run",
      summary: "Starts a sweep now, unless one is running.",
      scope: "ADMIN",
      body: z.strictObject({ sweep: z.enum(["expired", "orphans"]).default("expired") }),
      audit: "retention.run",
      status: 202,
      response: z.object({ status: z.literal("STARTED"), sweep: z.string() }),
      errors: ["schedule_unknown"],
    },
    async ({ body: { sweep }, change }) =>
      change({ subject: sweep }, async () => {
        if (!(await schedules.trigger(sweep === "expired" ? "retention" : "orphans")))
          throw new TemperaError("schedule_unknown");
        return { result: { status: "STARTED" as const, sweep } };
      }),
  );
}

function addOwnerRoutes(addRoute: AddRoute, { retention, policy }: Dependencies): void {
  const path = "/v1/tempera/retention/owners/{owner}";
  const params = z.object({ owner: z.string().min(1).max(200) });
  const ownerBody = (owner: string, own: OwnerTimes): z.input<typeof OWNER_TIMES> => ({
    owner,
    own: ownBody(own),
    effective: timesBody(timesOf(policy, own)),
  });

  addRoute(
    {
      method: "get",
      path,
      summary: "Shows the retention times of one owner: its own, and the ones in force.",
      scope: "ADMIN",
      params,
      response: OWNER_TIMES,
    },
    async ({ params: { owner } }) => ownerBody(owner, (await retention.ownerTimes()).get(owner) ?? {}),
  );

  addRoute(
    {
      method: "put",
      path,
      summary:
        "Sets the retention times of one owner. An absent time is the installation's. " +
        "All processes apply the change within seconds.",
      scope: "ADMIN",
      params,
      body: OWN,
      audit: "retention.set",
      response: OWNER_TIMES,
    },
    async ({ params: { owner }, body, change }) => {
      const before = (await retention.ownerTimes()).get(owner) ?? {};
      const own = ownOf(body);
      return change({ subject: owner, before: ownBody(before) }, async () => {
        await retention.setOwnerTimes(owner, Object.keys(own).length === 0 ? undefined : own);
        return { after: ownBody(own), result: ownerBody(owner, own) };
      });
    },
  );
}
