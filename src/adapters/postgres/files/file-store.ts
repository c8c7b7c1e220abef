import type { FilePart, FileRecord } from "../../../core/files/file.ts";
import type { ExpiredFile, FileStore } from "../../../core/files/file-store.ts";
import type { Lifecycle } from "../../../core/files/lifecycle.ts";
import { type StoredBeyond, storageLimit } from "../../../core/files/storage-limit.ts";
import { parseJson, writeJson } from "../../../core/json/exact-json.ts";
import { answer, type Sql, storableText } from "../connection.ts";

interface FileRow {
  file_id: string;
  owner_id: string;
  name: string;
  content_type: string;
  lifecycle: Lifecycle;
  object_key: string | null;
  parts_id: string | null;
  upload_until: Date;
  bytes: string | null;
  etag: string | null;
  expires_at: Date | null;
}

const expiredOf = (row: Pick<FileRow, "file_id" | "object_key" | "parts_id">): ExpiredFile => ({
  fileId: row.file_id,
  ...(row.object_key !== null && { objectKey: row.object_key }),
  ...(row.parts_id !== null && { partsId: row.parts_id }),
});

const recordOf = (row: FileRow): FileRecord => ({
  ...expiredOf(row),
  ownerId: row.owner_id,
  name: row.name,
  contentType: row.content_type,
  lifecycle: row.lifecycle,
  uploadUntilMs: row.upload_until.getTime(),
  ...(row.etag !== null && {
    stored: {
      bytes: Number(row.bytes),
      etag: row.etag,
      ...(row.expires_at && { expiresAtMs: row.expires_at.getTime() }),
    },
  }),
});

/** Creates the PostgreSQL store of file records. */
export function createFileStore(sql: Sql): FileStore {
  return { ...records(sql), ...uploadParts(sql), ...countedObjects(sql), ...expiry(sql) };
}

const records = (sql: Sql): Pick<FileStore, "begin" | "find" | "claim" | "announce" | "store"> => ({
  async begin(
    { fileId, ownerId, name, contentType, lifecycle, objectKey, partsId, uploadUntilMs },
    announcedBytes = 0,
  ) {
    await answerWithin(
      sql,
      sql`INSERT INTO files (file_id, owner_id, name, content_type, lifecycle, object_key, parts_id,
                             upload_until, announced_bytes)
          VALUES (${fileId}, ${storableText(ownerId)}, ${storableText(name)}, ${storableText(contentType)},
                  ${writeJson(lifecycle)}::text::json, ${objectKey ?? null}, ${partsId ?? null},
                  ${new Date(uploadUntilMs)}, ${announcedBytes})
          ON CONFLICT (file_id) DO NOTHING`,
    );
  },

  async find(fileId) {
    const [row] = await answer(
      sql,
      sql<FileRow[]>`SELECT * FROM files WHERE file_id = ${storableText(fileId)}`,
    );
    return row && recordOf(row);
  },

  async claim(fileId, objectKey, announcedBytes) {
    const [row] = await answerWithin(
      sql,
      sql<{ before: string | null }[]>`
        WITH existing AS (
          SELECT file_id, object_key FROM files WHERE file_id = ${fileId} AND etag IS NULL FOR UPDATE
        )
        UPDATE files SET object_key = ${objectKey}, announced_bytes = ${announcedBytes}
        FROM existing WHERE files.file_id = existing.file_id
        RETURNING existing.object_key AS before`,
    );
    return row && { before: row.before ?? undefined };
  },

  async announce(fileId, objectKey, bytes) {
    await answerWithin(
      sql,
      sql`UPDATE files SET announced_bytes = COALESCE(announced_bytes, 0) + ${bytes}::bigint
          WHERE file_id = ${fileId} AND object_key = ${objectKey} AND etag IS NULL`,
    );
  },

  async store(fileId, objectKey, { bytes, etag, expiresAtMs }) {
    const [row] = await answerWithin(
      sql,
      sql<{ won: boolean }[]>`
        WITH stored AS (
          UPDATE files SET bytes = ${bytes}, etag = ${etag},
                           expires_at = ${expiresAtMs === undefined ? null : new Date(expiresAtMs)}
          WHERE file_id = ${fileId} AND object_key = ${objectKey} AND etag IS NULL
          RETURNING file_id
        ), used AS (
          DELETE FROM file_parts USING stored WHERE file_parts.file_id = stored.file_id
        )
        SELECT EXISTS (SELECT FROM stored) AS won`,
    );
    return row?.won ?? false;
  },
});

const uploadParts = (sql: Sql): Pick<FileStore, "putPart" | "parts"> => ({
  async putPart(fileId, { number, etag, bytes }) {
    // The share lock makes a completion wait until the part is written, and a part until the completion is.
    const { count } = await answer(
      sql,
      sql`INSERT INTO file_parts (file_id, number, etag, bytes)
          SELECT file_id, ${number}::integer, ${etag}::text, ${bytes}::bigint FROM files
          WHERE file_id = ${fileId} AND etag IS NULL FOR SHARE
          ON CONFLICT (file_id, number) DO UPDATE SET etag = excluded.etag, bytes = excluded.bytes`,
    );
    return count > 0;
  },

  async parts(fileId) {
    const rows = await answer(
      sql,
      sql<{ number: number; etag: string; bytes: string }[]>`
        SELECT number, etag, bytes FROM file_parts WHERE file_id = ${storableText(fileId)} ORDER BY number`,
    );
    return rows.map(({ number, etag, bytes }): FilePart => ({ number, etag, bytes: Number(bytes) }));
  },
});

const countedObjects = (
  sql: Sql,
): Pick<FileStore, "countObject" | "uncountObjects" | "uncheckedObjects" | "markChecked"> => ({
  async countObject({ ownerId, objectKey, bytes }) {
    const { count } = await answerWithin(
      sql,
      sql`INSERT INTO owner_artifacts (object_key, owner_id, bytes)
          VALUES (${objectKey}, ${storableText(ownerId)}, ${bytes}) ON CONFLICT DO NOTHING`,
    );
    return count > 0;
  },

  async uncountObjects(objectKeys, ownerId) {
    if (objectKeys.length === 0) return;
    const ofOwner = ownerId === undefined ? sql`` : sql`AND owner_id = ${storableText(ownerId)}`;
    await answer(sql, sql`DELETE FROM owner_artifacts WHERE object_key = ANY(${objectKeys}) ${ofOwner}`);
  },

  async uncheckedObjects(limit) {
    const rows = await answer(
      sql,
      sql<{ object_key: string }[]>`
        SELECT object_key FROM owner_artifacts WHERE check_after <= now()
        ORDER BY check_after LIMIT ${limit}`,
    );
    return [...new Set(rows.map(({ object_key }) => object_key))];
  },

  async markChecked(objectKeys) {
    if (objectKeys.length === 0) return;
    await answer(
      sql,
      sql`UPDATE owner_artifacts SET check_after = now() + interval '30 days'
          WHERE object_key = ANY(${objectKeys})`,
    );
  },
});

/** The SQLSTATE of `add_stored`: the owner may not have so much. */
const OVER_LIMIT = "TS001";

/** Awaits a query that may store more for an owner, as `answer` does. Rejects with `storage_limit`. */
async function answerWithin<T>(sql: Sql, query: PromiseLike<T>): Promise<T> {
  try {
    return await answer(sql, query);
  } catch (error) {
    const { code, detail } = error as { code?: string; detail?: string };
    if (code !== OVER_LIMIT || detail === undefined) throw error;
    throw storageLimit(parseJson(detail) as unknown as StoredBeyond);
  }
}

const expiry = (sql: Sql): Pick<FileStore, "expired" | "remove"> => ({
  async expired(nowMs, unfinishedBeforeMs, limit) {
    const rows = await answer(
      sql,
      sql<Pick<FileRow, "file_id" | "object_key" | "parts_id">[]>`
        (SELECT file_id, object_key, parts_id FROM files WHERE expires_at <= ${new Date(nowMs)}
         ORDER BY expires_at LIMIT ${limit})
        UNION ALL
        (SELECT file_id, object_key, parts_id FROM files
         WHERE etag IS NULL AND upload_until <= ${new Date(unfinishedBeforeMs)}
         ORDER BY upload_until LIMIT ${limit})
        LIMIT ${limit}`,
    );
    return rows.map(expiredOf);
  },

  async remove(fileIds) {
    if (fileIds.length > 0) await answer(sql, sql`DELETE FROM files WHERE file_id IN ${sql(fileIds)}`);
  },
});
