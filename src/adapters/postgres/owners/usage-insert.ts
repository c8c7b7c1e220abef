import type postgres from "postgres";
import type { UsageEntry } from "../../../core/owners/usage.ts";
import { type Sql, storableText } from "../connection.ts";

type Fragment = postgres.PendingQuery<postgres.Row[]>;

/**
 * Returns the statement, or part of one, that writes an entry of the ledger unless the request has one.
 *
 * @param from a `FROM` clause; the entry is written when it yields a row
 */
export function usageInsert(sql: Sql, entry: UsageEntry, from: Fragment = sql``): Fragment {
  return sql`
  INSERT INTO usage (request_id, parent_id, owner_id, key_id, endpoint, version, ended_at, ok, units, unit,
                     unit_price, currency, device_seconds, attempts, attempts_uncounted)
  SELECT ${entry.requestId}::uuid, ${entry.parentId ?? null}::uuid, ${storableText(entry.ownerId)},
         ${entry.keyId}, ${entry.endpoint}, ${entry.version}, ${new Date(entry.endedAtMs)}::timestamptz,
         ${entry.ok}::boolean, ${entry.units}::numeric, ${entry.price.unit},
         ${entry.price.unitPrice}::numeric, ${entry.price.currency}, ${entry.deviceSeconds}::float8,
         ${entry.attempts}::integer, ${entry.attemptsUncounted}::integer ${from}
  ON CONFLICT (request_id) DO NOTHING`;
}
