import type { FilePart, FileRecord } from "../../../core/files/file.ts";
import type { ExpiredFile, FileStore } from "../../../core/files/file-store.ts";
import type { Lifecycle } from "../../../core/files/lifecycle.ts";
import { writeJson } from "../../../core/json/exact-json.ts";
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
  return { ...records(sql), ...uploadParts(sql), ...expiry(sql) };
}

const records = (sql: Sql): Pick<FileStore, "begin" | "find" | "claim" | "store"> => ({
  async begin({ fileId, ownerId, name, contentType, lifecycle, objectKey, partsId, uploadUntilMs }) {
    await answer(
      sql,
      sql`INSERT INTO files (file_id, owner_id, name, content_type, lifecycle, object_key, parts_id,
                             upload_until)
          VALUES (${fileId}, ${storableText(ownerId)}, ${storableText(name)}, ${storableText(contentType)},
                  ${writeJson(lifecycle)}::text::json, ${objectKey ?? null}, ${partsId ?? null},
                  ${new Date(uploadUntilMs)})
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

  async claim(fileId, objectKey) {
    const [row] = await answer(
      sql,
      sql<{ before: string | null }[]>`
        WITH existing AS (
          SELECT file_id, object_key FROM files WHERE file_id = ${fileId} AND etag IS NULL FOR UPDATE
        )
        UPDATE files SET object_key = ${objectKey} FROM existing WHERE files.file_id = existing.file_id
        RETURNING existing.object_key AS before`,
    );
    return row && { before: row.before ?? undefined };
  },

  async store(fileId, objectKey, { bytes, etag, expiresAtMs }) {
    const [row] = await answer(
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
