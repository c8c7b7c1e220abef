import type { PendingQuery, Row } from "postgres";
import { TemperaError } from "../../../core/errors/tempera-error.ts";
import { writeJson } from "../../../core/json/exact-json.ts";
import type { JsonSchema, Restriction } from "../../../core/models/model.ts";
import type { ModelVersionStore, PublishResult } from "../../../core/models/model-version-store.ts";
import type {
  PublishedHead,
  PublishedVersion,
  SignedPackage,
  VersionContent,
  VersionState,
  WeightFile,
} from "../../../core/models/published-version.ts";
import { answer, inTransaction, type Sql, storableText } from "../connection.ts";

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

/** The field of a stored restriction that holds its message. */
const STORED_MESSAGE = "says";

type Manifest = Omit<VersionContent, "digest" | "schemas">;

/** A manifest as it is stored. */
type StoredManifest = Omit<Manifest, "restrictions"> & {
  restrictions: (Omit<Restriction, "message"> & Record<typeof STORED_MESSAGE, string>)[];
};

interface ContentRow extends HeadRow {
  manifest: StoredManifest;
  input_schema: JsonSchema;
  output_schema: JsonSchema;
  signed: SignedPackage | null;
  files: { path: string; sha256: string; bytes: number; objectKey: string }[];
}

/** The push id of objects that are about to be deleted: no push may publish them any more. */
const NO_PUSH = "00000000-0000-0000-0000-000000000000";

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
    ...manifestOf(row.manifest),
    digest: row.digest,
    schemas: { input: row.input_schema, output: row.output_schema },
  },
  files: row.files,
  ...(row.signed && { signed: row.signed }),
});

/** Renames the message of each restriction. Manifests of early pushes have no restrictions. */
const manifestOf = (stored: StoredManifest): Manifest => ({
  ...stored,
  restrictions: stored.restrictions?.map(({ [STORED_MESSAGE]: message, ...rest }) => ({ ...rest, message })),
});

const storedManifestOf = (manifest: Manifest): StoredManifest => ({
  ...manifest,
  restrictions: manifest.restrictions?.map(({ message, ...rest }) => ({
    ...rest,
    [STORED_MESSAGE]: message,
  })),
});

const contents = (sql: Sql, which: PendingQuery<Row[]>) => sql<ContentRow[]>`
  SELECT *, coalesce((
      SELECT json_agg(
        json_build_object('path', path, 'sha256', sha256, 'bytes', bytes, 'objectKey', object_key)
        ORDER BY path)
      FROM model_files JOIN model_blobs USING (sha256)
      WHERE model_files.endpoint = model_versions.endpoint AND model_files.version = model_versions.version),
      '[]') AS files
  FROM model_versions WHERE ${which}`;

/** The files of a push, and the version that they are to belong to. */
interface PushedFiles {
  endpoint: string;
  version: string;
  files: readonly WeightFile[];
  pushId: string;
}

/** Hands a push's objects over to its version, except those whose content is stored already. */
async function adoptFiles(tx: Sql, { endpoint, version, files, pushId }: PushedFiles): Promise<void> {
  const uploads = await tx<{ object_key: string }[]>`
    SELECT object_key FROM model_uploads WHERE push_id = ${pushId} FOR UPDATE`;
  const existing = new Set(uploads.map(({ object_key }) => object_key));
  // Somebody may have given up this push correctly and had its weights swept: because its reply came so late
  // that it arrives here only now, or because a sweep with a fast clock took it for a killed one.
  if (files.some(({ objectKey }) => !existing.has(objectKey)))
    throw new TemperaError(
      "upload_interrupted",
      "Weights of this push were swept as those of one that was given up; push again.",
    );
  // Each row stays locked until the end, so that nobody releases a blob that is about to be used. Always in
  // the same order, against deadlocks.
  for (const { sha256, bytes, objectKey } of [...files].sort((a, b) => (a.sha256 < b.sha256 ? -1 : 1)))
    await tx`
      INSERT INTO model_blobs (sha256, object_key, bytes) VALUES (${sha256}, ${objectKey}, ${bytes})
      ON CONFLICT (sha256) DO UPDATE SET bytes = excluded.bytes`;
  for (const { path, sha256 } of files)
    await tx`
      INSERT INTO model_files (endpoint, version, path, sha256)
      VALUES (${endpoint}, ${version}, ${path}, ${sha256}) ON CONFLICT DO NOTHING`;
  await tx`
    DELETE FROM model_uploads USING model_blobs
    WHERE push_id = ${pushId} AND model_uploads.object_key = model_blobs.object_key`;
}

/** Keeps others from changing versions and rollouts of an endpoint until the transaction ends. */
async function lockEndpoint(tx: Sql, endpoint: string): Promise<void> {
  await tx`SELECT pg_advisory_xact_lock(hashtextextended(${storableText(`endpoint ${endpoint}`)}, 0))`;
}

/** While a rollout runs, its two versions stay enabled, and no third version may replace them. */
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
  const takesPart = version === from || version === to;
  if (takesPart === (state === "enabled")) return;
  throw new TemperaError(
    "rollout_running",
    `${endpoint} has a rollout from ${from} to ${to}: ` +
      `${takesPart ? "both stay enabled" : "no other version is enabled"} meanwhile. ` +
      "Promote it or roll it back first, or push with --disabled.",
  );
}

/** Creates the PostgreSQL store of published model versions. */
export function createModelVersionStore(sql: Sql): ModelVersionStore {
  return { ...versions(sql), ...uploads(sql) };
}

const versions = (sql: Sql): Pick<ModelVersionStore, "heads" | "content" | "publish" | "setState"> => ({
  async heads() {
    const rows = await answer(
      sql,
      sql<HeadRow[]>`
        SELECT endpoint, version, digest, state, pushed_by, pushed_at, changed_at, revision
        FROM model_versions`,
    );
    return rows.map(headOf);
  },

  async content(endpoint, version) {
    const [row] = await answer(sql, contents(sql, isVersion(sql, endpoint, version)));
    return row && versionOf(row);
  },

  publish: (push, check) => inTransaction(sql, (tx) => publish(tx, push, check)),

  setState: (endpoint, version, state, revision) =>
    inTransaction(sql, async (tx) => {
      await lockEndpoint(tx, endpoint);
      const [before] = await tx<HeadRow[]>`
        SELECT * FROM model_versions WHERE ${isVersion(tx, endpoint, version)} FOR UPDATE`;
      if (!before) return undefined;
      if (revision !== undefined && revision !== Number(before.revision)) {
        throw new TemperaError(
          "precondition_failed",
          `${endpoint} ${version} was changed by somebody else: it is ${before.state} at revision ` +
            `${before.revision}. Read it again, then change it.`,
        );
      }
      await refuseDuringRollout(tx, endpoint, version, state);
      if (before.state === state) return { before: headOf(before), after: headOf(before) };
      const [after] = await tx<HeadRow[]>`
        UPDATE model_versions SET state = ${state}
        WHERE endpoint = ${before.endpoint} AND version = ${before.version} RETURNING *`;
      return { before: headOf(before), after: headOf(after as HeadRow) };
    }),
});

const isVersion = (sql: Sql, endpoint: string, version: string) =>
  sql`endpoint = ${storableText(endpoint)} AND version = ${storableText(version)}`;

const jsonOf = (tx: Sql, value: unknown) => tx`${writeJson(value)}::text::json`;

/** Replaces the signature of a version by that of a push with the same content. */
async function signAnew(
  tx: Sql,
  existing: PublishedVersion,
  signed: SignedPackage | undefined,
): Promise<PublishedHead> {
  if (!signed || signed.signature === existing.signed?.signature) return existing;
  const [row] = await tx<HeadRow[]>`
    UPDATE model_versions SET signed = ${jsonOf(tx, signed)}
    WHERE endpoint = ${existing.endpoint} AND version = ${existing.version} RETURNING *`;
  return headOf(row as HeadRow);
}

/** Publishes a version, or brings a removed one with the same content back. */
async function publish(
  tx: Sql,
  { model, files, signed, state, pushedBy, pushId }: Parameters<ModelVersionStore["publish"]>[0],
  check: Parameters<ModelVersionStore["publish"]>[1],
): Promise<PublishResult> {
  const { digest, schemas, ...manifest } = model;
  const { endpoint, version } = manifest;
  await lockEndpoint(tx, endpoint);
  const all = (await contents(tx, tx`endpoint = ${endpoint}`)).map(versionOf);
  const existing = all.find((each) => each.version === version);
  if (existing && existing.digest !== digest) return { done: "taken", digest: existing.digest };
  if (existing && existing.state !== "removed")
    return { done: "unchanged", head: await signAnew(tx, existing, signed) };
  if (state === "enabled") await refuseDuringRollout(tx, endpoint, version);
  check(all.filter((each) => each !== existing));
  const json = (value: unknown) => jsonOf(tx, value);
  const signedJson = signed ? json(signed) : tx`NULL`;
  const [row] = existing
    ? await tx<HeadRow[]>`
        UPDATE model_versions SET state = ${state}, signed = coalesce(${signedJson}, signed)
        WHERE endpoint = ${endpoint} AND version = ${version} RETURNING *`
    : await tx<HeadRow[]>`
        INSERT INTO model_versions (endpoint, version, digest, manifest, input_schema, output_schema, state,
                                    signed, pushed_by)
        VALUES (${endpoint}, ${version}, ${digest}, ${json(storedManifestOf(manifest))},
                ${json(schemas.input)}, ${json(schemas.output)}, ${state}, ${signedJson},
                ${storableText(pushedBy)})
        RETURNING *`;
  await adoptFiles(tx, { endpoint, version, files, pushId });
  return { done: existing ? "unchanged" : "published", head: headOf(row as HeadRow) };
}

const uploads = (
  sql: Sql,
): Pick<
  ModelVersionStore,
  "beginUpload" | "abandonPush" | "abandoned" | "releaseWeights" | "forgetUpload"
> => ({
  async beginUpload(pushId, objectKey) {
    await answer(sql, sql`INSERT INTO model_uploads (object_key, push_id) VALUES (${objectKey}, ${pushId})`);
  },

  async abandonPush(pushId) {
    const rows = await answer(
      sql,
      sql<{ object_key: string }[]>`
        UPDATE model_uploads SET push_id = ${NO_PUSH}, begun_at = 'epoch'
        WHERE push_id = ${pushId} RETURNING object_key`,
    );
    return rows.map(({ object_key }) => object_key);
  },

  async abandoned(beforeMs) {
    const rows = await answer(
      sql,
      sql<{ object_key: string }[]>`
        UPDATE model_uploads SET push_id = ${NO_PUSH} WHERE object_key IN (
          SELECT object_key FROM model_uploads WHERE begun_at < ${new Date(beforeMs)}
          ORDER BY begun_at LIMIT 1000)
        RETURNING object_key`,
    );
    return rows.map(({ object_key }) => object_key);
  },

  releaseWeights: (removedBeforeMs) =>
    inTransaction(sql, async (tx) => {
      await tx`
        DELETE FROM model_files USING model_versions
        WHERE model_versions.endpoint = model_files.endpoint AND model_versions.version = model_files.version
          AND state = 'removed' AND changed_at < ${new Date(removedBeforeMs)}`;
      // Unused blobs become abandoned uploads in the same statement that forgets them. The next sweep deletes
      // their bytes, even when this process dies in between.
      const unused = await tx`
        WITH unused AS (
          DELETE FROM model_blobs
          WHERE NOT EXISTS (SELECT FROM model_files WHERE model_files.sha256 = model_blobs.sha256)
          RETURNING object_key)
        INSERT INTO model_uploads (object_key, push_id, begun_at)
        SELECT object_key, ${NO_PUSH}::uuid, 'epoch' FROM unused`;
      return unused.count;
    }),

  async forgetUpload(objectKey) {
    await answer(sql, sql`DELETE FROM model_uploads WHERE object_key = ${objectKey}`);
  },
});
