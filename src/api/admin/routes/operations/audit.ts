/**
 * The admin API of the installation itself: the audit log (`audit.ts`), retention times and sweeps
 * (`retention.ts`), the codec server of the Temporal UI (`codec.ts`), public facts (`meta.ts`), and those of
 * fal's calls that Tempera does not implement (`not-implemented.ts`).
 */
import { z } from "@hono/zod-openapi";
import type { AuditRecord } from "../../../../core/operations/audit.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { cursorOf, PAGE_FIELDS, PAGE_QUERY, pageAfter, paged } from "../../http/page.ts";
import type { AddRoute } from "../../http/route.ts";
import { TIME_QUERY } from "../../http/time.ts";

const AUDIT_RECORD = z
  .object({
    audit_id: z.string(),
    at: z.string(),
    key_id: z.string(),
    owner: z.string(),
    action: z.string().openapi({ example: "keys.create" }),
    subject: z.string(),
    request_id: z.string().openapi({ description: "The x-fal-request-id of the response." }),
    state: z
      .enum(["begun", "made", "failed"])
      .openapi({ description: "begun: it is unknown whether the change was made" }),
    error_code: z.string().nullable(),
    before: z.unknown().openapi({ description: "The subject before the change; null if it did not exist." }),
    after: z.unknown(),
  })
  .openapi("AuditRecord");

/** An audit record, as the API shows it. */
export type AuditView = z.output<typeof AUDIT_RECORD>;

const recordBody = (record: AuditRecord): AuditView => ({
  audit_id: record.auditId,
  at: new Date(record.atMs).toISOString(),
  key_id: record.keyId,
  owner: record.ownerId,
  action: record.action,
  subject: record.subject,
  request_id: record.requestId,
  state: record.state,
  error_code: record.errorCode ?? null,
  before: record.before ?? null,
  after: record.after ?? null,
});

/** Adds the route of the audit log. */
export function addAuditRoutes(addRoute: AddRoute, { audit }: Pick<ApiDependencies, "audit">): void {
  addRoute(
    {
      method: "get",
      path: "/v1/tempera/audit",
      summary: "Lists the changes that were made through this service, newest first.",
      scope: "ADMIN",
      query: PAGE_QUERY.extend({
        action: z
          .string()
          .optional()
          .openapi({ description: "An action or a prefix of it: `keys` finds keys.create." }),
        subject: z.string().optional(),
        key_id: z.string().optional(),
        owner: z.string().optional().openapi({ description: "The owner of the key that made the change." }),
        start: TIME_QUERY.optional(),
        end: TIME_QUERY.optional(),
      }),
      response: z.object({ audit: z.array(AUDIT_RECORD), ...PAGE_FIELDS }),
    },
    async ({ query: { limit, cursor, action, subject, key_id, owner, start, end } }) => {
      const found = await audit.list({
        ...pageAfter({ cursor }),
        limit: limit + 1,
        ...(action !== undefined && { action }),
        ...(subject !== undefined && { subject }),
        ...(key_id !== undefined && { keyId: key_id }),
        ...(owner !== undefined && { ownerId: owner }),
        ...(start !== undefined && { startMs: start }),
        ...(end !== undefined && { endMs: end }),
      });
      const { items, ...page } = paged(found, limit, ({ atMs, auditId }) => cursorOf(atMs, auditId));
      return { audit: items.map(recordBody), ...page };
    },
  );
}
