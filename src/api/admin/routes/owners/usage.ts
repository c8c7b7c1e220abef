import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { writeJson } from "../../../../core/json/exact-json.ts";
import { LIMITS } from "../../../../core/limits.ts";
import type { UsageEntry } from "../../../../core/owners/usage.ts";
import {
  TIMEFRAMES,
  type Timeframe,
  type UsageBucket,
  type UsageCheck,
  type UsageSum,
  type UsageTotal,
} from "../../../../core/owners/usage-ledger.ts";
import { isRequestId } from "../../../../core/requests/request.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { cursorOf, PAGE_FIELDS, PAGE_QUERY, pageAfter, paged } from "../../http/page.ts";
import type { AddRoute } from "../../http/route.ts";
import { TIME_QUERY } from "../../http/time.ts";

const DAY_MS = 24 * 3600 * 1000;
const NANO = 1e9;

/** Returns the schema of a query parameter that may be repeated. */
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
      .openapi({ description: "The cost in billionths of `currency`, whatever the currency is." }),
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
    day: z.string().openapi({ description: "A day in UTC." }),
    endpoint_id: z.string(),
    ...COST,
    requests: z.number(),
    results: z.number(),
    device_seconds: z.number(),
    attempts: z.number(),
    attempts_uncounted: z.number(),
  })
  .openapi("UsageTotal");

/** The usage of one owner, endpoint, price and day, as the API shows it. */
export type UsageTotalView = z.output<typeof TOTAL>;

const CHECK = z
  .object({
    checked_at: z.string(),
    from: z.string(),
    until: z.string(),
    workflows: z.number(),
    written: z.number(),
    differences: z.array(z.object({ request_id: z.string(), message: z.string() })),
  })
  .openapi("UsageCheck");

/** A comparison of the ledger with Temporal, as the API shows it. */
export type UsageCheckView = z.output<typeof CHECK>;

/** Throws `input_invalid` when rows were cut off: sums of incomplete rows would be wrong without a sign. */
function refuseCutOff(rows: unknown[]): void {
  if (rows.length <= LIMITS.usageRowsMax) return;
  const rowsMax = LIMITS.usageRowsMax.toLocaleString("en-US");
  const remedy = "ask for less time, or for single owners or endpoints";
  const msg = `The response would have more than ${rowsMax} rows; ${remedy}`;
  throw new TemperaError("input_invalid", `start: ${msg}`, {
    faults: [{ loc: ["query", "start"], msg, type: "value_error" }],
  });
}

const iso = (ms: number): string => new Date(ms).toISOString();

/** Returns the fields of a cost as fal names them. Tempera has no discounts. */
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
  differences: differences.map(({ requestId, description }) => ({
    request_id: requestId,
    message: description,
  })),
});

/** Merges the buckets that begin at the same time. */
function series(buckets: UsageBucket[]): { bucket: string; results: z.input<typeof RESULT>[] }[] {
  const found = new Map<number, z.input<typeof RESULT>[]>();
  for (const bucket of buckets) {
    const results = found.get(bucket.atMs) ?? [];
    results.push({ endpoint_id: bucket.endpoint, ...costBody(bucket) });
    found.set(bucket.atMs, results);
  }
  return [...found].map(([atMs, results]) => ({ bucket: iso(atMs), results }));
}

/** Sums the buckets by endpoint and price, over the whole time of the query. */
function summary(buckets: UsageBucket[]): z.input<typeof RESULT>[] {
  const found = new Map<string, UsageBucket>();
  for (const bucket of buckets) {
    const name = writeJson([bucket.endpoint, bucket.unit, bucket.unitPrice, bucket.currency]);
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

type Dependencies = Pick<ApiDependencies, "ledger" | "schedules" | "clock">;

/** Adds the routes of the usage ledger: units, costs and the ledger's checks (contract §10). */
export function addUsageRoutes(addRoute: AddRoute, api: Dependencies): void {
  addUsageRoute(addRoute, api);
  addBillingEventsRoute(addRoute, api);
  addTotalsRoute(addRoute, api);
  addCheckRoutes(addRoute, api);
}

/** Returns the time window of a query: by default, the last `defaultMs` before its end. */
function windowOf(
  { start, end }: { start?: number | undefined; end?: number | undefined },
  nowMs: number,
  defaultMs = DAY_MS,
): { startMs: number; endMs: number } {
  const endMs = end ?? nowMs + 1;
  const startMs = start ?? endMs - defaultMs;
  if (startMs > endMs) {
    const msg = "Input should not be before start";
    throw new TemperaError("input_invalid", `end: ${msg}`, {
      faults: [{ loc: ["query", "end"], msg, type: "value_error" }],
    });
  }
  return { startMs, endMs };
}

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

const USAGE_QUERY = z.object({
  ...FILTER,
  timezone: TIMEZONE,
  timeframe: z.enum(TIMEFRAMES).default("day"),
  expand: several(z.string().max(40)).openapi({ description: "`time_series` (the default) and `summary`." }),
  bound_to_timeframe: z
    .enum(["true", "false"])
    .default("true")
    .openapi({ description: "`true` widens the time window to whole buckets." }),
  login_username: several(z.string().max(200)).openapi({ description: "Owners of keys." }),
});

function addUsageRoute(addRoute: AddRoute, { ledger, clock }: Dependencies): void {
  addRoute(
    {
      method: "get",
      path: "/v1/models/usage",
      summary: "Sums units and costs by time, endpoint and price.",
      scope: "ADMIN",
      query: USAGE_QUERY,
      response: z.object({
        time_series: z.array(z.object({ bucket: z.string(), results: z.array(RESULT) })).optional(),
        summary: z.array(RESULT).optional(),
      }),
    },
    async ({ query }) => {
      const { startMs, endMs } = windowOf(query, clock.nowMs());
      const buckets: UsageBucket[] = [];
      for (const ownerId of query.login_username ?? [undefined]) {
        buckets.push(
          ...(await ledger.buckets({
            ...filterOf(query),
            ...(ownerId !== undefined && { ownerId }),
            startMs,
            endMs,
            widen: query.bound_to_timeframe === "true",
            timeframe: query.timeframe as Timeframe,
            timezone: query.timezone,
            limit: LIMITS.usageRowsMax + 1,
          })),
        );
        refuseCutOff(buckets);
      }
      buckets.sort((a, b) => a.atMs - b.atMs);
      const expand = query.expand ?? ["time_series"];
      return {
        ...(expand.includes("time_series") && { time_series: series(buckets) }),
        ...(expand.includes("summary") && { summary: summary(buckets) }),
      };
    },
  );
}

function addBillingEventsRoute(addRoute: AddRoute, { ledger, clock }: Dependencies): void {
  addRoute(
    {
      method: "get",
      path: "/v1/models/billing-events",
      summary: "Lists the costs of single requests, newest first.",
      scope: "ADMIN",
      query: PAGE_QUERY.extend({
        ...FILTER,
        request_id: several(z.string().max(64)),
        login_username: z.string().max(200).optional(),
        expand: several(z.string().max(40)),
      }),
      response: z.object({ billing_events: z.array(EVENT), ...PAGE_FIELDS }),
    },
    async ({ query }) => {
      const { limit, request_id, login_username } = query;
      const { before } = pageAfter(query);
      const nowMs = clock.nowMs();
      // A request that is named by its id is found whatever its age.
      const window = request_id ? windowOf(query, nowMs, nowMs) : windowOf(query, nowMs);
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
}

function addTotalsRoute(addRoute: AddRoute, { ledger, clock }: Dependencies): void {
  addRoute(
    {
      method: "get",
      path: "/v1/tempera/usage",
      summary: "Sums usage by owner, endpoint, price and day, newest day first.",
      scope: "ADMIN",
      query: z.object({ ...FILTER, owner: z.string().max(200).optional() }),
      response: z.object({ totals: z.array(TOTAL) }),
    },
    async ({ query }) => {
      const { owner } = query;
      const found = await ledger.totals({
        ...filterOf(query),
        ...windowOf(query, clock.nowMs(), 30 * DAY_MS),
        ...(owner !== undefined && { ownerId: owner }),
        limit: LIMITS.usageRowsMax + 1,
      });
      refuseCutOff(found);
      return { totals: found.map(totalBody) };
    },
  );
}

const totalBody = (total: UsageTotal): z.input<typeof TOTAL> => ({
  owner: total.ownerId,
  day: total.day,
  endpoint_id: total.endpoint,
  ...costBody(total),
  requests: total.requests,
  results: total.results,
  device_seconds: total.deviceSeconds,
  attempts: total.attempts,
  attempts_uncounted: total.attemptsUncounted,
});

function addCheckRoutes(addRoute: AddRoute, { ledger, schedules }: Dependencies): void {
  addRoute(
    {
      method: "get",
      path: "/v1/tempera/usage/checks",
      summary: "Lists the comparisons of the ledger with Temporal, newest first.",
      scope: "ADMIN",
      response: z.object({ checks: z.array(CHECK) }),
    },
    async () => ({ checks: (await ledger.checks(100)).map(checkBody) }),
  );

  addRoute(
    {
      method: "post",
      path: "/v1/tempera/usage/checks",
      summary: "Compares the ledger with Temporal now, for the requests that ended in the last two hours.",
      scope: "ADMIN",
      audit: "usage.check",
      status: 202,
      response: z.object({ status: z.literal("STARTED") }),
      errors: ["schedule_unknown"],
    },
    async ({ change }) =>
      change({ subject: "usage" }, async () => {
        if (!(await schedules.trigger("usage"))) throw new TemperaError("schedule_unknown");
        return { result: { status: "STARTED" as const } };
      }),
  );
}
