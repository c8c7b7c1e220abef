import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../../core/limits.ts";
import {
  TIMEFRAMES,
  type Timeframe,
  type UsageBucket,
  type UsageCheck,
  type UsageSum,
} from "../../../../core/owners/usage-ledger.ts";
import { isRequestId } from "../../../../core/requests/request.ts";
import type { UsageEntry } from "../../../../core/owners/usage.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { cursorOf, PAGE_ANSWER, PAGE_QUERY, pageAfter, paged } from "../../http/page.ts";
import { TIME_QUERY } from "../../http/time.ts";
import type { AddVerb } from "../../http/route.ts";

const DAY_MS = 24 * 3600 * 1000;
const NANO = 1e9;

/** One value, or several of them as a repeated key. */
const several = (each: z.ZodString) =>
  z
    .union([each, z.array(each).max(50)])
    .transform((value) => (typeof value === "string" ? [value] : value))
    .optional();

const FILTER = {
  start: TIME_QUERY.optional(),
  end: TIME_QUERY.optional(),
  endpoint_id: several(z.string().max(200)),
  api_key_id: several(z.string().max(64)),
};

const TIMEZONE = z
  .string()
  .max(64)
  .refine((name) => {
    try {
      new Intl.DateTimeFormat("en", { timeZone: name });
      return /^[A-Za-z][A-Za-z0-9_+/-]*$/.test(name);
    } catch {
      return false;
    }
  }, "Input should be a time zone like Europe/Berlin")
  .default("UTC");

const COST = {
  unit: z.string(),
  quantity: z.number(),
  unit_price: z.number(),
  percent_discount: z.number(),
  cost_subtotal: z.number(),
  cost_discount: z.number(),
  cost_total: z.number(),
  cost: z.number(),
  currency: z.string(),
};

const RESULT = z.object({ endpoint_id: z.string(), ...COST }).openapi("UsageResult");

const EVENT = z
  .object({
    request_id: z.string(),
    endpoint_id: z.string(),
    timestamp: z.string(),
    output_units: z.number(),
    unit: z.string(),
    unit_price: z.number(),
    currency: z.string(),
    percent_discount: z.number(),
    cost_subtotal: z.number(),
    cost_discount: z.number(),
    cost_total: z.number(),
    cost_estimate_nano_usd: z
      .number()
      .openapi({ description: "The cost in billionths of `currency`, whichever it is." }),
    owner: z.string(),
    api_key_id: z.string(),
    parent_request_id: z.string().nullable(),
    device_seconds: z.number(),
    attempts: z.number(),
    attempts_uncounted: z.number(),
  })
  .openapi("BillingEvent");

const TOTAL = z
  .object({
    owner: z.string(),
    day: z.string().openapi({ description: "In UTC." }),
    endpoint_id: z.string(),
    ...COST,
    requests: z.number(),
    results: z.number(),
    device_seconds: z.number(),
    attempts: z.number(),
    attempts_uncounted: z.number(),
  })
  .openapi("UsageTotal");

const CHECK = z
  .object({
    checked_at: z.string(),
    from: z.string(),
    until: z.string(),
    workflows: z.number(),
    written: z.number(),
    differences: z.array(z.object({ request_id: z.string(), says: z.string() })),
  })
  .openapi("UsageCheck");

/** Sums of which some are missing would be wrong without a sign. */
function refuseMany(rows: unknown[]): void {
  if (rows.length <= LIMITS.usageRowsMax) return;
  const msg = `The answer would have more than ${LIMITS.usageRowsMax.toLocaleString("en-US")} rows; ask for less time, or for single owners or endpoints`;
  throw new TemperaError("input_invalid", `start: ${msg}`, {
    faults: [{ loc: ["query", "start"], msg, type: "value_error" }],
  });
}

const iso = (ms: number): string => new Date(ms).toISOString();

/** fal's fields of a cost. Tempera gives no discounts. */
const costBody = ({
  unit,
  unitPrice,
  currency,
  quantity,
  cost,
}: Pick<UsageSum, "unit" | "unitPrice" | "currency" | "quantity" | "cost">) => ({
  unit,
  quantity,
  unit_price: unitPrice,
  percent_discount: 0,
  cost_subtotal: cost,
  cost_discount: 0,
  cost_total: cost,
  cost,
  currency,
});

const eventBody = (entry: UsageEntry): z.input<typeof EVENT> => {
  const nano = Math.round(entry.units * entry.price.unitPrice * NANO);
  return {
    request_id: entry.requestId,
    endpoint_id: entry.endpoint,
    timestamp: iso(entry.endedAtMs),
    output_units: entry.units,
    unit: entry.price.unit,
    unit_price: entry.price.unitPrice,
    currency: entry.price.currency,
    percent_discount: 0,
    cost_subtotal: nano / NANO,
    cost_discount: 0,
    cost_total: nano / NANO,
    cost_estimate_nano_usd: nano,
    owner: entry.ownerId,
    api_key_id: entry.keyId,
    parent_request_id: entry.parentId ?? null,
    device_seconds: entry.deviceSeconds,
    attempts: entry.attempts,
    attempts_uncounted: entry.attemptsUncounted,
  };
};

const checkBody = ({
  checkedAtMs,
  fromMs,
  untilMs,
  workflows,
  written,
  differences,
}: UsageCheck): z.input<typeof CHECK> => ({
  checked_at: iso(checkedAtMs),
  from: iso(fromMs),
  until: iso(untilMs),
  workflows,
  written,
  differences: differences.map(({ requestId, says }) => ({ request_id: requestId, says })),
});

/** Buckets that begin at the same moment, in one. */
function series(buckets: UsageBucket[]): { bucket: string; results: z.input<typeof RESULT>[] }[] {
  const found = new Map<number, z.input<typeof RESULT>[]>();
  for (const bucket of buckets) {
    const results = found.get(bucket.atMs) ?? [];
    results.push({ endpoint_id: bucket.endpoint, ...costBody(bucket) });
    found.set(bucket.atMs, results);
  }
  return [...found].map(([atMs, results]) => ({ bucket: iso(atMs), results }));
}

/** The same over all time of the query, by endpoint and price. */
function summary(buckets: UsageBucket[]): z.input<typeof RESULT>[] {
  const found = new Map<string, UsageBucket>();
  for (const bucket of buckets) {
    const name = JSON.stringify([bucket.endpoint, bucket.unit, bucket.unitPrice, bucket.currency]);
    const before = found.get(name);
    found.set(
      name,
      before
        ? { ...before, quantity: before.quantity + bucket.quantity, cost: before.cost + bucket.cost }
        : bucket,
    );
  }
  return [...found.values()].map((sum) => ({ endpoint_id: sum.endpoint, ...costBody(sum) }));
}

/** What requests cost (contract §10), by the usage ledger. */
export function addUsageVerbs(
  add: AddVerb,
  { ledger, schedules, clock }: Pick<ApiDependencies, "ledger" | "schedules" | "clock">,
): void {
  /** The query's window; the last 24 hours unless it says otherwise. */
  const windowOf = (
    { start, end }: { start?: number | undefined; end?: number | undefined },
    lastMs = DAY_MS,
  ) => {
    const endMs = end ?? clock.nowMs() + 1;
    const startMs = start ?? endMs - lastMs;
    if (startMs > endMs) {
      const msg = "Input should not be before start";
      throw new TemperaError("input_invalid", `end: ${msg}`, {
        faults: [{ loc: ["query", "end"], msg, type: "value_error" }],
      });
    }
    return { startMs, endMs };
  };
  const filterOf = ({
    endpoint_id,
    api_key_id,
  }: {
    endpoint_id?: string[] | undefined;
    api_key_id?: string[] | undefined;
  }) => ({
    ...(endpoint_id && { endpoints: endpoint_id }),
    ...(api_key_id && { keyIds: api_key_id }),
  });

  add(
    {
      method: "get",
      path: "/v1/models/usage",
      says: "Units and costs by time, endpoint and price.",
      scope: "ADMIN",
      query: z.object({
        ...FILTER,
        timezone: TIMEZONE,
        timeframe: z.enum(TIMEFRAMES).default("day"),
        expand: several(z.string().max(40)).openapi({
          description: "`time_series` (the default) and `summary`.",
        }),
        bound_to_timeframe: z
          .enum(["true", "false"])
          .default("true")
          .openapi({ description: "Whether the window is widened to whole buckets." }),
        login_username: several(z.string().max(200)).openapi({ description: "Owners of keys." }),
      }),
      answer: z.object({
        time_series: z.array(z.object({ bucket: z.string(), results: z.array(RESULT) })).optional(),
        summary: z.array(RESULT).optional(),
      }),
    },
    async ({ query }) => {
      const { startMs, endMs } = windowOf(query);
      const widen = query.bound_to_timeframe === "true";
      const owners = query.login_username ?? [undefined];
      const buckets: UsageBucket[] = [];
      for (const ownerId of owners) {
        buckets.push(
          ...(await ledger.buckets({
            ...filterOf(query),
            ...(ownerId !== undefined && { ownerId }),
            startMs,
            endMs,
            widen,
            timeframe: query.timeframe as Timeframe,
            timezone: query.timezone,
            limit: LIMITS.usageRowsMax + 1,
          })),
        );
        refuseMany(buckets);
      }
      buckets.sort((a, b) => a.atMs - b.atMs);
      const expand = query.expand ?? ["time_series"];
      return {
        ...(expand.includes("time_series") && { time_series: series(buckets) }),
        ...(expand.includes("summary") && { summary: summary(buckets) }),
      };
    },
  );

  add(
    {
      method: "get",
      path: "/v1/models/billing-events",
      says: "Lists what single requests cost, newest first.",
      scope: "ADMIN",
      query: PAGE_QUERY.extend({
        ...FILTER,
        request_id: several(z.string().max(64)),
        login_username: z.string().max(200).optional(),
        expand: several(z.string().max(40)),
      }),
      answer: z.object({ billing_events: z.array(EVENT), ...PAGE_ANSWER }),
    },
    async ({ query }) => {
      const { limit, request_id, login_username } = query;
      const { before } = pageAfter(query);
      // A request that is named is found whenever it was.
      const window = request_id ? windowOf(query, clock.nowMs()) : windowOf(query);
      const entries = await ledger.entries({
        ...filterOf(query),
        ...window,
        ...(request_id && { requestIds: request_id.map((id) => id.toLowerCase()).filter(isRequestId) }),
        ...(login_username !== undefined && { ownerId: login_username }),
        ...(before && { before: { atMs: before.atMs, requestId: before.id } }),
        limit: limit + 1,
      });
      const { items, ...page } = paged(entries, limit, ({ endedAtMs, requestId }) =>
        cursorOf(endedAtMs, requestId),
      );
      return { billing_events: items.map(eventBody), ...page };
    },
  );

  add(
    {
      method: "get",
      path: "/v1/tempera/usage",
      says: "Totals by owner, endpoint, price and day, newest day first.",
      scope: "ADMIN",
      query: z.object({ ...FILTER, owner: z.string().max(200).optional() }),
      answer: z.object({ totals: z.array(TOTAL) }),
    },
    async ({ query }) => {
      const { owner } = query;
      const found = await ledger.totals({
        ...filterOf(query),
        ...windowOf(query, 30 * DAY_MS),
        ...(owner !== undefined && { ownerId: owner }),
        limit: LIMITS.usageRowsMax + 1,
      });
      refuseMany(found);
      return {
        totals: found.map((total) => ({
          owner: total.ownerId,
          day: total.day,
          endpoint_id: total.endpoint,
          ...costBody(total),
          requests: total.requests,
          results: total.results,
          device_seconds: total.deviceSeconds,
          attempts: total.attempts,
          attempts_uncounted: total.attemptsUncounted,
        })),
      };
    },
  );

  add(
    {
      method: "get",
      path: "/v1/tempera/usage/checks",
      says: "Lists the looks at the ledger beside Temporal, newest first.",
      scope: "ADMIN",
      answer: z.object({ checks: z.array(CHECK) }),
    },
    async () => ({ checks: (await ledger.checks(100)).map(checkBody) }),
  );

  add(
    {
      method: "post",
      path: "/v1/tempera/usage/checks",
      says: "Looks at the ledger beside Temporal now: the requests that ended in the last two hours.",
      scope: "ADMIN",
      audit: "usage.check",
      status: 202,
      answer: z.object({ status: z.literal("STARTED") }),
      errors: ["schedule_unknown"],
    },
    async ({ change }) =>
      change({ subject: "usage" }, async () => {
        if (!(await schedules.trigger("usage"))) throw new TemperaError("schedule_unknown");
        return { result: { status: "STARTED" as const } };
      }),
  );
}
