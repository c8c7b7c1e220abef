import type { CompiledGraph } from "../../../core/pipelines/parsed-graph.ts";
import type { JsonObject } from "../../../core/json/json.ts";
import type { PipelineContents, PipelineStore } from "../../../core/pipelines/pipeline-store.ts";
import type {
  PipelineName,
  PipelineSummary,
  PipelineWords,
  SavedPipeline,
} from "../../../core/pipelines/saved-pipeline.ts";
import { answer, type Sql, storableText } from "../connection.ts";

/** The channel of the trigger in the migration that made the table. */
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

/** The saved pipelines, in Postgres. */
export const createPipelineStore = (sql: Sql): PipelineStore => {
  /** The columns of a version. JSON goes in as text, so that it comes back letter by letter. */
  const versionColumns = ({ contents, compiled }: PipelineContents, at: Date) => sql`
    ${JSON.stringify(contents)}::text::json, ${JSON.stringify(compiled)}::text::json, ${compiled.calls}::text[], ${at}::timestamptz`;

  const isNamed = ({ ownerId, name }: PipelineName) =>
    sql`p.owner_id = ${storableText(ownerId)} AND p.name = ${storableText(name)}`;

  async function find(of: PipelineName, version?: number): Promise<SavedPipeline | undefined> {
    const wanted = version === undefined ? sql`v.version = p.version` : sql`v.version = ${version}::integer`;
    const [row] = await answer(
      sql,
      sql<PipelineRow[]>`
        SELECT p.*, v.version, v.contents, v.compiled, v.calls FROM pipelines p JOIN pipeline_versions v USING (owner_id, name)
        WHERE ${isNamed(of)} AND p.removed_at IS NULL AND ${wanted}`,
    );
    return row && pipelineOf(row);
  }

  return {
    find,

    async create(pipeline, atMs, ownedMax) {
      const at = new Date(atMs);
      const [ownerId, name] = [storableText(pipeline.ownerId), storableText(pipeline.name)];
      // One statement, so of rivals for a name one wins, and its first version is there with it.
      const [made] = await answer(
        sql,
        sql<{ version: number }[]>`
          WITH made AS (
            INSERT INTO pipelines AS p (owner_id, name, title, is_public, description, thumbnail_url, tags, version, created_at, updated_at)
            SELECT ${ownerId}, ${name}, ${storableText(pipeline.title)}, ${pipeline.isPublic}::boolean, ${textOrNull(pipeline.description)}::text,
                   ${textOrNull(pipeline.thumbnailUrl)}::text, ${pipeline.tags.map(storableText)}::text[], 1, ${at}::timestamptz, ${at}::timestamptz
            WHERE (SELECT count(*) FROM pipelines WHERE owner_id = ${ownerId} AND removed_at IS NULL) < ${ownedMax}
            ON CONFLICT (owner_id, name) DO UPDATE
              SET title = excluded.title, is_public = excluded.is_public, description = excluded.description,
                  thumbnail_url = excluded.thumbnail_url, tags = excluded.tags, version = p.version + 1,
                  created_at = excluded.created_at, updated_at = excluded.updated_at, removed_at = NULL
              WHERE p.removed_at IS NOT NULL
            RETURNING owner_id, name, version
          ), versioned AS (
            INSERT INTO pipeline_versions (owner_id, name, version, contents, compiled, calls, created_at)
            SELECT owner_id, name, version, ${versionColumns(pipeline, at)} FROM made
          )
          SELECT version FROM made`,
      );
      const { contents, compiled, ...words } = pipeline;
      if (made)
        return {
          ...words,
          version: made.version,
          calls: compiled.calls,
          createdAtMs: atMs,
          updatedAtMs: atMs,
          contents,
          compiled,
        };
      return (await find(pipeline)) ? "taken" : "full";
    },

    async update(of, { words = {}, contents }, atMs) {
      const at = new Date(atMs);
      const has = (field: keyof PipelineWords): boolean => Object.hasOwn(words, field);
      const versioned = contents
        ? sql`, versioned AS (
            INSERT INTO pipeline_versions (owner_id, name, version, contents, compiled, calls, created_at)
            SELECT owner_id, name, version, ${versionColumns(contents, at)} FROM changed
          )`
        : sql``;
      const [changed] = await answer(
        sql,
        sql`
          WITH changed AS (
            UPDATE pipelines p SET
              title = ${has("title") ? sql`${storableText(words.title ?? "")}` : sql`title`},
              is_public = ${has("isPublic") ? sql`${words.isPublic === true}` : sql`is_public`},
              description = ${has("description") ? sql`${textOrNull(words.description)}` : sql`description`},
              thumbnail_url = ${has("thumbnailUrl") ? sql`${textOrNull(words.thumbnailUrl)}` : sql`thumbnail_url`},
              tags = ${has("tags") ? sql`${(words.tags ?? []).map(storableText)}::text[]` : sql`tags`},
              version = version + ${contents ? 1 : 0},
              updated_at = ${at}
            WHERE ${isNamed(of)} AND removed_at IS NULL
            RETURNING owner_id, name, version
          )${versioned}
          SELECT version FROM changed`,
      );
      return changed && find(of);
    },

    async remove(of, atMs) {
      const { count } = await answer(
        sql,
        sql`UPDATE pipelines p SET removed_at = ${new Date(atMs)} WHERE ${isNamed(of)} AND removed_at IS NULL`,
      );
      return count > 0;
    },

    async list({ ownerId, search, calls, limit, offset }) {
      const found =
        search === undefined
          ? sql``
          : sql`AND strpos(lower(concat_ws(' ', p.name, p.title, p.description)), lower(${storableText(search)}::text)) > 0`;
      const calling = calls === undefined ? sql`` : sql`AND v.calls && ${calls.map(storableText)}::text[]`;
      const rows = await answer(
        sql,
        sql<(SummaryRow & { total: number })[]>`
          WITH matching AS (
            SELECT p.*, v.calls FROM pipelines p JOIN pipeline_versions v USING (owner_id, name, version)
            WHERE p.owner_id = ${storableText(ownerId)} AND p.removed_at IS NULL ${found} ${calling}
          )
          SELECT page.*, counted.total FROM (SELECT count(*)::integer AS total FROM matching) counted
          LEFT JOIN (SELECT * FROM matching ORDER BY created_at DESC, name LIMIT ${limit} OFFSET ${offset}) page ON true`,
      );
      return { items: rows.filter(({ name }) => name !== null).map(summaryOf), total: rows[0]?.total ?? 0 };
    },

    async onChange(listener) {
      // What changed while the connection was lost is not told; callers bound how long they remember a
      // pipeline.
      const { unlisten } = await answer(
        sql,
        sql.listen(CHANNEL, (told) => {
          const slash = told.indexOf("/");
          listener({ name: told.slice(0, slash), ownerId: told.slice(slash + 1) });
        }),
      );
      return unlisten;
    },
  };
};
