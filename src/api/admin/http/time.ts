import { z } from "@hono/zod-openapi";

const MESSAGE = "Input should be an ISO date (2026-11-25) or date-time (2026-11-25T12:00:00Z)";

/**
 * Reads a date or a date-time as milliseconds since 1970. A date-time without a time zone is in UTC.
 */
export const TIME_QUERY = z
  .string()
  .max(64, MESSAGE)
  .regex(/^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?)?$/i, MESSAGE)
  .transform((text) =>
    Date.parse(
      /T.*(Z|[+-]\d{2}:?\d{2})$/i.test(text) || !text.toUpperCase().includes("T") ? text : `${text}Z`,
    ),
  )
  .refine((ms) => !Number.isNaN(ms), MESSAGE)
  .openapi({ type: "string", format: "date-time", example: "2026-11-25T12:00:00Z" });
