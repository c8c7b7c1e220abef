import { writeJson } from "../../../core/json/exact-json.ts";
import type { JsonObject } from "../../../core/json/json.ts";
import type { CompiledGraph } from "../../../core/pipelines/parsed-graph.ts";
import type { PipelineContents, PipelineStore } from "../../../core/pipelines/pipeline-store.ts";
import type {
  PipelineMetadata,
  PipelineName,
  PipelineSummary,
  SavedPipeline,
} from "../../../core/pipelines/saved-pipeline.ts";
import { answer, type Sql, storableText } from "../connection.ts";

/** The channel that the table's trigger notifies. */
const CHANNEL = "pipelines_changed";

interface SummaryRow {
  owner_id: string;
  name: string;
  title: string;
  is_public: boolean;
  description: string | null;
  thumbnail_url: string | null;
  tags: string[];
  version: number;
  calls: string[];
  created_at: Date;
  updated_at: Date;
}

interface PipelineRow extends SummaryRow {
  contents: JsonObject;
  compiled: CompiledGraph;
}

const summaryOf = (row: SummaryRow): PipelineSummary => ({
  ownerId: row.owner_id,
  name: row.name,
  title: row.title,
  isPublic: row.is_public,
  ...(row.description !== null && { description: row.description }),
  ...(row.thumbnail_url !== null && { thumbnailUrl: row.thumbnail_url }),
  tags: row.tags,
  version: row.version,
  calls: row.calls,
  createdAtMs: row.created_at.getTime(),
  updatedAtMs: row.updated_at.getTime(),
});

const pipelineOf = (row: PipelineRow): SavedPipeline => ({
  ...summaryOf(row),
  contents: row.contents,
  compiled: row.compiled,
});

const textOrNull = (text: string | undefined): string | null =>
  text === undefined ? null : storableText(text);

/** Creates the PostgreSQL store of saved pipelines. */
export function createPipelineStore(sql: Sql): PipelineStore {
  return { ...queries(sql), ...changes(sql) };
}

/** The columns of a version. JSON is passed as text, so that it is read back byte for byte. */
const versionColumns = (sql: Sql, { contents, compiled }: PipelineContents, at: Date) => sql`
  ${writeJson(contents)}::text::json, ${writeJson(compiled)}::text::json,
  ${compiled.calls}::text[], ${at}::timestamptz`;

const isNamed = (sql: Sql, { ownerId, name }: PipelineName) =>
  sql`p.owner_id = ${storableText(ownerId)} AND p.name = ${storableText(name)}`;

async function find(sql: Sql, of: PipelineName, version?: number): Promise<SavedPipeline | undefined> {
  const wanted = version === undefined ? sql`v.version = p.version` : sql`v.version = ${version}::integer`;
  const [row] = await answer(
    sql,
    sql<PipelineRow[]>`
      SELECT p.*, v.version, v.contents, v.compiled, v.calls
      FROM pipelines p JOIN pipeline_versions v USING (owner_id, name)
      WHERE ${isNamed(sql, of)} AND p.removed_at IS NULL AND ${wanted}`,
  );
  return row && pipelineOf(row);
}

const queries = (sql: Sql): Pick<PipelineStore, "find" | "list" | "onChange"> => ({
  find: (of, version) => find(sql, of, version),

  async list({ ownerId, search, calls, limit, offset }) {
    const found =
      search === undefined
        ? sql``
        : sql`AND strpos(lower(concat_ws(' ', p.name, p.title, p.description)),
                         lower(${storableText(search)}::text)) > 0`;
    const calling = calls === undefined ? sql`` : sql`AND v.calls && ${calls.map(storableText)}::text[]`;
    const rows = await answer(
      sql,
      sql<(SummaryRow & { total: number })[]>`
        WITH matching AS (
          SELECT p.*, v.calls FROM pipelines p JOIN pipeline_versions v USING (owner_id, name, version)
          WHERE p.owner_id = ${storableText(ownerId)} AND p.removed_at IS NULL ${found} ${calling}
        )
        SELECT page.*, counted.total FROM (SELECT count(*)::integer AS total FROM matching) counted
        LEFT JOIN (
          SELECT * FROM matching ORDER BY created_at DESC, name LIMIT ${limit} OFFSET ${offset}
        ) page ON true`,
    );
    return { items: rows.filter(({ name }) => name !== null).map(summaryOf), total: rows[0]?.total ?? 0 };
  },

  async onChange(listener) {
    // Changes made while the connection was lost are not announced; callers bound how long they cache a
    // pipeline.
    const { unlisten } = await answer(
      sql,
      sql.listen(CHANNEL, (payload) => {
        const slash = payload.indexOf("/");
        listener({ name: payload.slice(0, slash), ownerId: payload.slice(slash + 1) });
      }),
    );
    return unlisten;
  },
});

const changes = (sql: Sql): Pick<PipelineStore, "create" | "update" | "remove"> => ({
  async create(pipeline, atMs, ownedMax) {
    const [made] = await answer(sql, createStatement(sql, pipeline, new Date(atMs), ownedMax));
    if (!made) return (await find(sql, pipeline)) ? "taken" : "full";
    const { contents, compiled, ...metadata } = pipeline;
    return {
      ...metadata,
      version: made.version,
      calls: compiled.calls,
      createdAtMs: atMs,
      updatedAtMs: atMs,
      contents,
      compiled,
    };
  },

  async update(of, change, atMs) {
    const [changed] = await answer(sql, updateStatement(sql, of, change, new Date(atMs)));
    return changed && find(sql, of);
  },

  async remove(of, atMs) {
    const { count } = await answer(
      sql,
      sql`UPDATE pipelines p SET removed_at = ${new Date(atMs)}
          WHERE ${isNamed(sql, of)} AND removed_at IS NULL`,
    );
    return count > 0;
  },
});

/** One statement: of rivals for a name one wins, and its first version is written with it. */
function createStatement(sql: Sql, pipeline: NewPipeline, at: Date, ownedMax: number) {
  const [ownerId, name] = [storableText(pipeline.ownerId), storableText(pipeline.name)];
  return sql<{ version: number }[]>`
    WITH made AS (
      INSERT INTO pipelines AS p (owner_id, name, title, is_public, description, thumbnail_url, tags, version,
                                  created_at, updated_at)
      SELECT ${ownerId}, ${name}, ${storableText(pipeline.title)}, ${pipeline.isPublic}::boolean,
             ${textOrNull(pipeline.description)}::text, ${textOrNull(pipeline.thumbnailUrl)}::text,
             ${pipeline.tags.map(storableText)}::text[], 1, ${at}::timestamptz, ${at}::timestamptz
      WHERE (SELECT count(*) FROM pipelines WHERE owner_id = ${ownerId} AND removed_at IS NULL) < ${ownedMax}
      ON CONFLICT (owner_id, name) DO UPDATE
        SET title = excluded.title, is_public = excluded.is_public, description = excluded.description,
            thumbnail_url = excluded.thumbnail_url, tags = excluded.tags, version = p.version + 1,
            created_at = excluded.created_at, updated_at = excluded.updated_at, removed_at = NULL
        WHERE p.removed_at IS NOT NULL
      RETURNING owner_id, name, version
    ), versioned AS (
      INSERT INTO pipeline_versions (owner_id, name, version, contents, compiled, calls, created_at)
      SELECT owner_id, name, version, ${versionColumns(sql, pipeline, at)} FROM made
    )
    SELECT version FROM made`;
}

/** Sets the given fields, and writes a new version where `contents` are given. */
function updateStatement(sql: Sql, of: PipelineName, { metadata = {}, contents }: PipelineChange, at: Date) {
  const has = (field: keyof PipelineMetadata): boolean => Object.hasOwn(metadata, field);
  const versioned = contents
    ? sql`, versioned AS (
        INSERT INTO pipeline_versions (owner_id, name, version, contents, compiled, calls, created_at)
        SELECT owner_id, name, version, ${versionColumns(sql, contents, at)} FROM changed
      )`
    : sql``;
  return sql`
    WITH changed AS (
      UPDATE pipelines p SET
        title = ${has("title") ? sql`${storableText(metadata.title ?? "")}` : sql`title`},
        is_public = ${has("isPublic") ? sql`${metadata.isPublic === true}` : sql`is_public`},
        description = ${has("description") ? sql`${textOrNull(metadata.description)}` : sql`description`},
        thumbnail_url = ${
          has("thumbnailUrl") ? sql`${textOrNull(metadata.thumbnailUrl)}` : sql`thumbnail_url`
        },
        tags = ${has("tags") ? sql`${(metadata.tags ?? []).map(storableText)}::text[]` : sql`tags`},
        version = version + ${contents ? 1 : 0},
        updated_at = ${at}
      WHERE ${isNamed(sql, of)} AND removed_at IS NULL
      RETURNING owner_id, name, version
    )${versioned}
    SELECT version FROM changed`;
}

type NewPipeline = Parameters<PipelineStore["create"]>[0];
type PipelineChange = Parameters<PipelineStore["update"]>[1];
