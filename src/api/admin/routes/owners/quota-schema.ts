/** An allowance as the admin service has it: the fields of `core/plan.ts`, in its API's spelling. */
import { z } from "@hono/zod-openapi";
import { ALLOWANCE_RANGES, type Allowance, KEY_ALLOWANCE_FIELDS } from "../../../../core/owners/plan.ts";
import type { AllowanceChange } from "../../../../core/owners/plan-store.ts";

type Field = keyof Allowance;

const FIELDS: Record<Field, { name: string; says: string }> = {
  requestsPerSecond: {
    name: "requests_per_second",
    says: "Submits, runs and streams a second; below 1 is one in so many seconds.",
  },
  burst: { name: "burst", says: "Calls beyond that, in a row." },
  inProgress: {
    name: "in_progress",
    says: "Requests that run at once. Further queue requests wait, further direct runs are refused.",
  },
  queued: { name: "queued", says: "Queue requests that have not ended." },
  uploadBytesPerDay: { name: "upload_bytes_per_day", says: "Bytes uploaded within 24 hours." },
  spendPerDay: { name: "spend_per_day", says: "Prices of the requests since midnight UTC." },
  spendPerMonth: {
    name: "spend_per_month",
    says: "Prices of the requests since the first of the month, UTC.",
  },
  weight: { name: "weight", says: "Share of every GPU queue beside other owners'; 1 when absent." },
  sameInputSeconds: {
    name: "same_input_seconds",
    says: "Submits with the same endpoint and input within so many seconds are one request, for clients that try again blindly.",
  },
};

const ALL = Object.keys(FIELDS) as Field[];

const numberOf = (field: Field): z.ZodNumber => {
  const { min, max, whole } = ALLOWANCE_RANGES[field];
  const number = whole ? z.int() : z.number();
  return number.min(min).max(max);
};

const shapeOf = (fields: readonly Field[], make: (field: Field) => z.ZodType): z.ZodObject =>
  z.object(
    Object.fromEntries(
      fields.map((field) => [FIELDS[field].name, make(field).openapi({ description: FIELDS[field].says })]),
    ),
  );

/** What is allowed: `null` where nothing is said, which limits nothing. */
export const ALLOWANCE = shapeOf(ALL, (field) => numberOf(field).nullable()).openapi("Allowance");
export const KEY_ALLOWANCE = shapeOf(KEY_ALLOWANCE_FIELDS, (field) => numberOf(field).nullable()).openapi(
  "KeyAllowance",
);

const changeOf = (fields: readonly Field[]): z.ZodObject =>
  shapeOf(fields, (field) => numberOf(field).nullable().optional()).strict();

/** What is to change: fields that are absent stay as they are, `null` takes one away. */
export const ALLOWANCE_CHANGE = changeOf(ALL);
export const KEY_ALLOWANCE_CHANGE = changeOf(KEY_ALLOWANCE_FIELDS);

export const allowanceBody = (
  allowance: Allowance,
  fields: readonly Field[] = ALL,
): Record<string, number | null> =>
  Object.fromEntries(fields.map((field) => [FIELDS[field].name, allowance[field] ?? null]));

export const readAllowance = (given: Record<string, unknown>): AllowanceChange =>
  Object.fromEntries(
    ALL.flatMap((field) => (FIELDS[field].name in given ? [[field, given[FIELDS[field].name]]] : [])),
  );
