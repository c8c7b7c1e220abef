import { z } from "@hono/zod-openapi";
import type { AuditRecord } from "../../../../core/operations/audit.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { cursorOf, PAGE_ANSWER, PAGE_QUERY, pageAfter, paged } from "../../http/page.ts";
import { TIME_QUERY } from "../../http/time.ts";
import type { AddVerb } from "../../http/route.ts";

const AUDIT_RECORD = z
  .object({
    audit_id: z.string(),
    at: z.string(),
    key_id: z.string(),
    owner: z.string(),
    action: z.string().openapi({ example: "keys.create" }),
    subject: z.string(),
    request_id: z.string().openapi({ description: "The x-fal-request-id of the answer." }),
    state: z
      .enum(["begun", "made", "failed"])
      .openapi({ description: "begun: nobody knows whether the change was made" }),
    error_code: z.string().nullable(),
    before: z.unknown().openapi({ description: "What the subject was; null where there was none." }),
    after: z.unknown(),
  })
  .openapi("AuditRecord");

const recordBody = (record: AuditRecord): z.input<typeof AUDIT_RECORD> => ({
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

/** Who changed what. */
export function addAuditVerbs(add: AddVerb, { audit }: Pick<ApiDependencies, "audit">): void {
  add(
    {
      method: "get",
      path: "/v1/tempera/audit",
      says: "Lists what was changed through this service, newest first.",
      scope: "ADMIN",
      query: PAGE_QUERY.extend({
        action: z
          .string()
          .optional()
          .openapi({ description: "An action, or its beginning: keys finds keys.create." }),
        subject: z.string().optional(),
        key_id: z.string().optional(),
        owner: z.string().optional().openapi({ description: "Of the key that asked." }),
        start: TIME_QUERY.optional(),
        end: TIME_QUERY.optional(),
      }),
      answer: z.object({ audit: z.array(AUDIT_RECORD), ...PAGE_ANSWER }),
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
