/**
 * Schemas of the limits of plans, owners and keys: the fields of `core/owners/plan.ts`, named as in the API.
 */
import { z } from "@hono/zod-openapi";
import { KEY_LIMIT_FIELDS, LIMIT_RANGES, type PlanLimits } from "../../../../core/owners/plan.ts";
import type { LimitsChange } from "../../../../core/owners/plan-store.ts";

type Field = keyof PlanLimits;

const FIELDS: Record<Field, { name: string; description: string }> = {
  requestsPerSecond: {
    name: "requests_per_second",
    description: "Submits, runs and streams per second. 0.1 is one call in ten seconds.",
  },
  burst: { name: "burst", description: "Calls in a row that may exceed requests_per_second." },
  inProgress: {
    name: "in_progress",
    description: "Requests that run at once. Further queue requests wait; further direct runs are refused.",
  },
  queued: { name: "queued", description: "Queue requests that have not ended." },
  uploadBytesPerDay: { name: "upload_bytes_per_day", description: "Bytes uploaded within 24 hours." },
  storedBytes: { name: "stored_bytes", description: "Bytes of all files, uploaded and produced." },
  storedFiles: {
    name: "stored_files",
    description: "Number of all files, uploaded and produced, and of announced uploads.",
  },
  spendPerDay: { name: "spend_per_day", description: "Total price of the requests since midnight UTC." },
  spendPerMonth: {
    name: "spend_per_month",
    description: "Total price of the requests since the first of the month, UTC.",
  },
  weight: {
    name: "weight",
    description: "Share of every GPU queue, relative to other owners'. Default: 1.",
  },
  sameInputSeconds: {
    name: "same_input_seconds",
    description:
      "Submits with the same endpoint and input within this many seconds are one request, " +
      "for clients that repeat calls without an idempotency key.",
  },
  privateFiles: {
    name: "private_files",
    description:
      "New files can be read by their owner only, and answers have signed URLs of them, which expire; " +
      "unless a call, or the owner's storage settings, have an access list. Default: false.",
  },
};

const ALL = Object.keys(FIELDS) as Field[];

const schemaOf = (field: Field): z.ZodNumber | z.ZodBoolean => {
  if (field === "privateFiles") return z.boolean();
  const { min, max, whole } = LIMIT_RANGES[field];
  const number = whole ? z.int() : z.number();
  return number.min(min).max(max);
};

const shapeOf = (fields: readonly Field[], make: (field: Field) => z.ZodType): z.ZodObject =>
  z.object(
    Object.fromEntries(
      fields.map((field) => {
        const { name, description } = FIELDS[field];
        return [name, make(field).openapi({ description })];
      }),
    ),
  );

const orNull = (field: Field) => schemaOf(field).nullable();
const changeOf = (fields: readonly Field[]): z.ZodObject =>
  shapeOf(fields, (field) => orNull(field).optional()).strict();

/** The limits of a plan or an owner. `null` means no limit. */
export const PLAN_LIMITS = shapeOf(ALL, orNull).openapi("Limits");
/** The limits of one key, which apply within those of its owner. */
export const KEY_LIMITS = shapeOf(KEY_LIMIT_FIELDS, orNull).openapi("KeyLimits");

/** A change of limits: absent fields stay as they are, `null` removes a limit. */
export const PLAN_LIMITS_CHANGE = changeOf(ALL);
export const KEY_LIMITS_CHANGE = changeOf(KEY_LIMIT_FIELDS);

/** Returns limits as the API shows them. */
export function limitsBody(
  limits: PlanLimits,
  fields: readonly Field[] = ALL,
): Record<string, number | boolean | null> {
  return Object.fromEntries(fields.map((field) => [FIELDS[field].name, limits[field] ?? null]));
}

/** Reads a change of limits from a request's body. */
export function readLimits(body: Record<string, unknown>): LimitsChange {
  return Object.fromEntries(
    ALL.flatMap((field) => (FIELDS[field].name in body ? [[field, body[FIELDS[field].name]]] : [])),
  );
}
