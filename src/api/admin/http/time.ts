import { z } from "@hono/zod-openapi";

const SAYS = "Input should be an ISO date (2026-11-25) or date-time (2026-11-25T12:00:00Z)";

/**
 * `start` and `end` of a list: a date, or a date-time; one without a zone is in UTC. Read as milliseconds.
 */
export const TIME_QUERY = z
  .string()
  .max(64, SAYS)
  .regex(/^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?)?$/i, SAYS)
  .transform((text) =>
    Date.parse(
      /T.*(Z|[+-]\d{2}:?\d{2})$/i.test(text) || !text.toUpperCase().includes("T") ? text : `${text}Z`,
    ),
  )
  .refine((ms) => !Number.isNaN(ms), SAYS)
  .openapi({ type: "string", format: "date-time", example: "2026-11-25T12:00:00Z" });
