import type { PendingQuery, Row } from "postgres";
import { TemperaError } from "../../../core/errors/tempera-error.ts";
import type { JsonSchema } from "../../../core/models/model.ts";
import type { ModelVersionStore, Published } from "../../../core/models/model-version-store.ts";
import type {
  PublishedHead,
  PublishedVersion,
  VersionContent,
  VersionState,
  WeightFile,
} from "../../../core/models/published-version.ts";
import { answer, type Sql, storableText } from "../connection.ts";

interface HeadRow {
  endpoint: string;
  version: string;
  digest: string;
  state: VersionState;
  pushed_by: string;
  pushed_at: Date;
  changed_at: Date;
  revision: string;
}

interface ContentRow extends HeadRow {
  manifest: Omit<VersionContent, "digest" | "schemas">;
  input_schema: JsonSchema;
  output_schema: JsonSchema;
  files: { path: string; sha256: string; bytes: number; objectKey: string }[];
}

/** The push of objects that are about to be deleted: none may publish them any more. */
const NOBODY = "00000000-0000-0000-0000-000000000000";

const headOf = (row: HeadRow): PublishedHead => ({
  endpoint: row.endpoint,
  version: row.version,
  digest: row.digest,
  state: row.state,
  pushedBy: row.pushed_by,
  pushedAtMs: row.pushed_at.getTime(),
  changedAtMs: row.changed_at.getTime(),
  revision: Number(row.revision),
});

const versionOf = (row: ContentRow): PublishedVersion => ({
  ...headOf(row),
  model: {
    ...row.manifest,
    digest: row.digest,
    schemas: { input: row.input_schema, output: row.output_schema },
  },
  files: row.files,
});

const contents = (sql: Sql, which: PendingQuery<Row[]>) => sql<ContentRow[]>`
  SELECT *, coalesce((
      SELECT json_agg(json_build_object('path', path, 'sha256', sha256, 'bytes', bytes, 'objectKey', object_key) ORDER BY path)
      FROM model_files JOIN model_blobs USING (sha256)
      WHERE model_files.endpoint = model_versions.endpoint AND model_files.version = model_versions.version), '[]') AS files
  FROM model_versions WHERE ${which}`;

/** Makes a push's objects the version's own, as far as the same content was not there before. */
async function keepFiles(
  tx: Sql,
  {
    endpoint,
    version,
    files,
    pushId,
  }: { endpoint: string; version: string; files: readonly WeightFile[]; pushId: string },
): Promise<void> {
  const uploads = await tx<
    { object_key: string }[]
  >`SELECT object_key FROM model_uploads WHERE push_id = ${pushId} FOR UPDATE`;
  const standing = new Set(uploads.map(({ object_key }) => object_key));
  // Whoever gave this push up has told no lie: its weights are being deleted. So it is when its answer was
  // late and it comes to this only now, and when a sweep whose clock is ahead took it for a killed one.
  if (files.some(({ objectKey }) => !standing.has(objectKey)))
    throw new TemperaError(
      "upload_interrupted",
      "Weights of this push were swept as those of one that was given up; push again.",
    );
  // Held until the end, so that nobody lets a blob go that is about to be used; always in one order.
  for (const { sha256, bytes, objectKey } of [...files].sort((a, b) => (a.sha256 < b.sha256 ? -1 : 1)))
    await tx`
      INSERT INTO model_blobs (sha256, object_key, bytes) VALUES (${sha256}, ${objectKey}, ${bytes})
      ON CONFLICT (sha256) DO UPDATE SET bytes = excluded.bytes`;
  for (const { path, sha256 } of files)
    await tx`
      INSERT INTO model_files (endpoint, version, path, sha256) VALUES (${endpoint}, ${version}, ${path}, ${sha256})
      ON CONFLICT DO NOTHING`;
  await tx`DELETE FROM model_uploads USING model_blobs WHERE push_id = ${pushId} AND model_uploads.object_key = model_blobs.object_key`;
}

/** While a rollout runs, its two versions stay enabled, and no third one may serve in their place. */
async function refuseDuringRollout(
  tx: Sql,
  endpoint: string,
  version: string,
  state: VersionState = "enabled",
): Promise<void> {
  const [rollout] = await tx<{ from_version: string; to_version: string }[]>`
    SELECT from_version, to_version FROM rollouts WHERE state = 'running' AND endpoint = ${endpoint}`;
  if (!rollout) return;
  const { from_version: from, to_version: to } = rollout;
  const part = version === from || version === to;
  if (part === (state === "enabled")) return;
  throw new TemperaError(
    "rollout_running",
    `${endpoint} has a rollout from ${from} to ${to}: ${part ? "both stay enabled" : "no other version is enabled"} meanwhile. Promote it or roll it back first, or push with --disabled.`,
  );
}

/** The published model versions, in Postgres. */
export const createModelVersionStore = (sql: Sql): ModelVersionStore => ({
  async heads() {
    const rows = await answer(
      sql,
      sql<
        HeadRow[]
      >`SELECT endpoint, version, digest, state, pushed_by, pushed_at, changed_at, revision FROM model_versions`,
    );
    return rows.map(headOf);
  },

  async content(endpoint, version) {
    const which = sql`endpoint = ${storableText(endpoint)} AND version = ${storableText(version)}`;
    const [row] = await answer(sql, contents(sql, which));
    return row && versionOf(row);
  },

  publish: ({ model, files, state, pushedBy, pushId }, check) =>
    answer(
      sql,
      sql.begin(async (begun): Promise<Published> => {
        const tx = begun as unknown as Sql;
        const { endpoint, version, digest, schemas, ...manifest } = model;
        await tx`SELECT pg_advisory_xact_lock(hashtextextended(${`endpoint ${endpoint}`}, 0))`;
        const all = (await contents(tx, tx`endpoint = ${endpoint}`)).map(versionOf);
        const standing = all.find((each) => each.version === version);
        if (standing && standing.digest !== digest) return { done: "taken", digest: standing.digest };
        if (standing && standing.state !== "removed") return { done: "unchanged", head: standing };
        if (state === "enabled") await refuseDuringRollout(tx, endpoint, version);
        check(all.filter((each) => each !== standing));
        if (standing) {
          const [row] = await tx<HeadRow[]>`
            UPDATE model_versions SET state = ${state} WHERE endpoint = ${endpoint} AND version = ${version} RETURNING *`;
          await keepFiles(tx, { endpoint, version, files, pushId });
          return { done: "unchanged", head: headOf(row as HeadRow) };
        }
        const [row] = await tx<HeadRow[]>`
          INSERT INTO model_versions (endpoint, version, digest, manifest, input_schema, output_schema, state, pushed_by)
          VALUES (${endpoint}, ${version}, ${digest}, ${JSON.stringify({ endpoint, version, ...manifest })}::text::json,
                  ${JSON.stringify(schemas.input)}::text::json, ${JSON.stringify(schemas.output)}::text::json, ${state}, ${storableText(pushedBy)})
          RETURNING *`;
        await keepFiles(tx, { endpoint, version, files, pushId });
        return { done: "published", head: headOf(row as HeadRow) };
      }) as Promise<Published>,
    ),

  setState: (endpoint, version, state, revision) =>
    answer(
      sql,
      sql.begin(async (begun) => {
        const tx = begun as unknown as Sql;
        await tx`SELECT pg_advisory_xact_lock(hashtextextended(${storableText(`endpoint ${endpoint}`)}, 0))`;
        const [before] = await tx<HeadRow[]>`
          SELECT * FROM model_versions WHERE endpoint = ${storableText(endpoint)} AND version = ${storableText(version)} FOR UPDATE`;
        if (!before) return undefined;
        if (revision !== undefined && revision !== Number(before.revision)) {
          throw new TemperaError(
            "changed_meanwhile",
            `${endpoint} ${version} was changed by somebody else: it is ${before.state} at revision ${before.revision}. Look again, then change it.`,
          );
        }
        await refuseDuringRollout(tx, endpoint, version, state);
        if (before.state === state) return { before: headOf(before), after: headOf(before) };
        const [after] = await tx<HeadRow[]>`
          UPDATE model_versions SET state = ${state} WHERE endpoint = ${before.endpoint} AND version = ${before.version} RETURNING *`;
        return { before: headOf(before), after: headOf(after as HeadRow) };
      }) as Promise<{ before: PublishedHead; after: PublishedHead } | undefined>,
    ),

  async beginUpload(pushId, objectKey) {
    await answer(sql, sql`INSERT INTO model_uploads (object_key, push_id) VALUES (${objectKey}, ${pushId})`);
  },

  async leftOver(pushId) {
    const rows = await answer(
      sql,
      sql<{ object_key: string }[]>`
        UPDATE model_uploads SET push_id = ${NOBODY}, begun_at = 'epoch' WHERE push_id = ${pushId} RETURNING object_key`,
    );
    return rows.map(({ object_key }) => object_key);
  },

  async abandoned(beforeMs) {
    const rows = await answer(
      sql,
      sql<{ object_key: string }[]>`
        UPDATE model_uploads SET push_id = ${NOBODY} WHERE object_key IN (
          SELECT object_key FROM model_uploads WHERE begun_at < ${new Date(beforeMs)} ORDER BY begun_at LIMIT 1000)
        RETURNING object_key`,
    );
    return rows.map(({ object_key }) => object_key);
  },

  letGo: (removedBeforeMs) =>
    answer(
      sql,
      sql.begin(async (tx) => {
        await tx`
          DELETE FROM model_files USING model_versions
          WHERE model_versions.endpoint = model_files.endpoint AND model_versions.version = model_files.version
            AND state = 'removed' AND changed_at < ${new Date(removedBeforeMs)}`;
        // Written down as what nobody needs before it is forgotten here: their bytes go with the next sweep,
        // whoever dies in between.
        const gone = await tx`
          WITH gone AS (
            DELETE FROM model_blobs WHERE NOT EXISTS (SELECT FROM model_files WHERE model_files.sha256 = model_blobs.sha256)
            RETURNING object_key)
          INSERT INTO model_uploads (object_key, push_id, begun_at)
          SELECT object_key, ${NOBODY}::uuid, 'epoch' FROM gone`;
        return gone.count;
      }) as Promise<number>,
    ),

  async forgetUpload(objectKey) {
    await answer(sql, sql`DELETE FROM model_uploads WHERE object_key = ${objectKey}`);
  },
});
