import { writeJson } from "../../../core/json/exact-json.ts";
import type { Json } from "../../../core/json/json.ts";
import type { AuditRecord, AuditState } from "../../../core/operations/audit.ts";
import type { AuditLog } from "../../../core/operations/audit-log.ts";
import { answer, type Sql, storableText } from "../connection.ts";

interface AuditRow {
  audit_id: string;
  at: Date;
  key_id: string;
  owner_id: string;
  action: string;
  subject: string;
  request_id: string;
  state: AuditState;
  before: Json;
  after: Json;
  error_code: string | null;
}

const recordOf = (row: AuditRow): AuditRecord => ({
  auditId: row.audit_id,
  atMs: row.at.getTime(),
  keyId: row.key_id,
  ownerId: row.owner_id,
  action: row.action,
  subject: row.subject,
  requestId: row.request_id,
  state: row.state,
  ...(row.before !== null && { before: row.before }),
  ...(row.after !== null && { after: row.after }),
  ...(row.error_code !== null && { errorCode: row.error_code }),
});

/** Creates the PostgreSQL audit log. */
export function createAuditLog(sql: Sql): AuditLog {
  const json = (value: Json | undefined) =>
    value === undefined ? sql`NULL` : sql`${writeJson(value)}::text::json`;
  const isActionOrBelow = (action: string) => sql`
    AND (action = ${storableText(action)} OR starts_with(action, ${`${storableText(action)}.`}))`;
  return {
    async begin({ auditId, atMs, keyId, ownerId, action, subject, requestId, before }) {
      await answer(
        sql,
        sql`INSERT INTO audit (audit_id, at, key_id, owner_id, action, subject, request_id, state, before)
            VALUES (${auditId}, ${new Date(atMs)}, ${storableText(keyId)}, ${storableText(ownerId)},
                    ${action}, ${storableText(subject)}, ${requestId}, 'begun', ${json(before)})`,
      );
    },

    async settle(auditId, result) {
      await answer(
        sql,
        "errorCode" in result
          ? sql`UPDATE audit SET state = 'failed', error_code = ${result.errorCode}
                WHERE audit_id = ${auditId}`
          : sql`UPDATE audit SET state = 'made', after = ${json(result.after)},
                  subject = ${result.subject === undefined ? sql`subject` : storableText(result.subject)}
                WHERE audit_id = ${auditId}`,
      );
    },

    async list({ limit, before, action, subject, keyId, ownerId, startMs, endMs }) {
      const rows = await answer(
        sql,
        sql<AuditRow[]>`
          SELECT * FROM audit WHERE true
          ${
            before === undefined
              ? sql``
              : sql`AND (at, audit_id) < (${new Date(before.atMs)}, ${before.id}::uuid)`
          }
          ${action === undefined ? sql`` : isActionOrBelow(action)}
          ${subject === undefined ? sql`` : sql`AND subject = ${storableText(subject)}`}
          ${keyId === undefined ? sql`` : sql`AND key_id = ${storableText(keyId)}`}
          ${ownerId === undefined ? sql`` : sql`AND owner_id = ${storableText(ownerId)}`}
          ${startMs === undefined ? sql`` : sql`AND at >= ${new Date(startMs)}`}
          ${endMs === undefined ? sql`` : sql`AND at < ${new Date(endMs)}`}
          ORDER BY at DESC, audit_id DESC LIMIT ${limit}`,
      );
      return rows.map(recordOf);
    },
  };
}
