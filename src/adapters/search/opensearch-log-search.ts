import { READ_ONLY, storeFull } from "../../core/errors/store-failure.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { writeJson } from "../../core/json/exact-json.ts";
import type { FoundLine, LineQuery, LoggedRequest, LogSearch } from "../../core/requests/log-search.ts";

/** Longest wait for a reply of the server, in milliseconds. A batch of lines is a megabyte at most. */
const ANSWER_MS = 10_000;

/** Lines per request to the server. */
const BATCH = 250;

/** A line in the index. Lines are ordered by request, then by line. */
interface LineDocument {
  request_id: string;
  owner: string;
  endpoint: string;
  version: string;
  submitted_at: number;
  line: number;
  attempt: number;
  level: FoundLine["level"];
  message: string;
  event_id: string;
  at: number;
}

const MAPPING = {
  settings: { number_of_replicas: 0 },
  mappings: {
    dynamic: "strict",
    properties: {
      request_id: { type: "keyword" },
      owner: { type: "keyword" },
      endpoint: { type: "keyword" },
      version: { type: "keyword" },
      submitted_at: { type: "long" },
      line: { type: "integer" },
      attempt: { type: "integer" },
      level: { type: "keyword" },
      message: { type: "text" },
      event_id: { type: "keyword", index: false },
      at: { type: "long" },
    },
  },
} as const;

/**
 * Creates the search in log lines by Elasticsearch or OpenSearch over plain HTTP. Elasticsearch 7.10, 8 and 9
 * and OpenSearch 1 to 3 have the same API here. The index is created when it is missing.
 *
 * The lines of a request are in PostgreSQL too, so the index may be deleted.
 *
 * @param url `http(s)://[user:password@]host:port`
 */
export function createOpenSearchLogSearch({ url, index }: { url: string; index: string }): LogSearch {
  const logIndex = new LogIndex(url, index);
  return {
    async search(query) {
      const found = await logIndex.search({
        size: query.limit + 1,
        track_total_hits: false,
        query: { bool: { filter: filterOf(query) } },
        sort: [{ submitted_at: "desc" }, { request_id: "desc" }, { line: "desc" }],
        ...(query.before && {
          search_after: [query.before.submittedAtMs, query.before.requestId, query.before.line],
        }),
      });
      const page = found.slice(0, query.limit).map(({ _source }) => _source);
      const last = page.at(-1);
      return {
        lines: page.map(lineOf),
        ...(found.length > query.limit &&
          last && {
            next: { submittedAtMs: last.submitted_at, requestId: last.request_id, line: last.line },
          }),
      };
    },

    async index(request) {
      const documents = documentsOf(request);
      for (let from = 0; from < documents.length; from += BATCH)
        // The id is the line's position, so that indexing it again changes nothing.
        await logIndex.bulk(
          documents
            .slice(from, from + BATCH)
            .flatMap((line) => [{ index: { _id: `${line.request_id}/${line.line}` } }, line]),
        );
    },

    async remove(requestIds) {
      if (requestIds.length === 0) return;
      const query = { size: BATCH, _source: false, query: { terms: { request_id: requestIds } } };
      for (;;) {
        // Without a refresh, the latest changes are not found yet.
        await logIndex.refresh();
        const found = await logIndex.search(query);
        if (found.length === 0) return;
        await logIndex.bulk(found.map(({ _id }) => ({ delete: { _id } })));
      }
    },
  };
}

function filterOf({ startMs, endMs, ownerId, requestId, app, version, levels, words }: LineQuery): object[] {
  const term = (field: string, value: string | undefined) =>
    value === undefined ? [] : [{ term: { [field]: value } }];
  const inApp = {
    bool: {
      should: [{ term: { endpoint: app } }, { prefix: { endpoint: `${app}/` } }],
      minimum_should_match: 1,
    },
  };
  return [
    { range: { at: { gte: startMs, lte: endMs } } },
    ...term("owner", ownerId),
    ...term("request_id", requestId),
    ...term("version", version),
    ...(levels ? [{ terms: { level: levels } }] : []),
    ...(app === undefined ? [] : [inApp]),
    ...(words === undefined ? [] : [{ match: { message: { query: words, operator: "and" } } }]),
  ];
}

const lineOf = (line: LineDocument): FoundLine => ({
  requestId: line.request_id,
  ownerId: line.owner,
  endpoint: line.endpoint,
  version: line.version,
  attempt: line.attempt,
  level: line.level,
  message: line.message,
  id: line.event_id,
  atMs: line.at,
});

const documentsOf = (request: LoggedRequest): LineDocument[] =>
  request.lines.map(({ attempt, level, message, id, atMs }, position) => ({
    request_id: request.requestId,
    owner: request.ownerId,
    endpoint: request.endpoint,
    version: request.version,
    submitted_at: request.submittedAtMs,
    line: position + 1,
    attempt,
    level,
    message,
    event_id: id,
    at: atMs,
  }));

/** The error of a server whose index takes no writes: an operator has set that, or its disk is full. */
const BLOCKED = "cluster_block_exception";

/** Tells whether a bulk change was refused because the index takes no writes. */
function isBlocked(reply: unknown): boolean {
  const { items = [] } = (reply ?? {}) as { items?: Record<string, { error?: { type?: string } }>[] };
  return items.some((item) => Object.values(item).some(({ error }) => error?.type === BLOCKED));
}

/** One index of a server; it is created before the first use. */
class LogIndex {
  readonly #base: string;
  readonly #host: string;
  readonly #index: string;
  readonly #authorization: Record<string, string>;
  #created: Promise<void> | undefined;

  constructor(url: string, index: string) {
    const { username, password, origin, pathname, host } = new URL(url);
    this.#base = `${origin}${pathname.replace(/\/+$/, "")}`;
    this.#host = host;
    this.#index = index;
    const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    this.#authorization = username
      ? { authorization: `Basic ${Buffer.from(credentials).toString("base64")}` }
      : {};
  }

  async search(query: object): Promise<{ _id: string; _source: LineDocument }[]> {
    await this.#create();
    const { status, reply } = await this.#send("POST", `${this.#index}/_search`, writeJson(query));
    if (status !== 200)
      throw new Error(`The log search refused a query: HTTP ${status} ${writeJson(reply).slice(0, 300)}`);
    return (reply as { hits: { hits: { _id: string; _source: LineDocument }[] } }).hits.hits;
  }

  /** Makes several changes in one request. @param values actions and documents, as the bulk API has them */
  async bulk(values: object[]): Promise<void> {
    await this.#create();
    const body = `${values.map((value) => writeJson(value)).join("\n")}\n`;
    const { status, reply } = await this.#send("POST", `${this.#index}/_bulk`, body, "application/x-ndjson");
    if (status === 200 && !(reply as { errors?: boolean } | undefined)?.errors) return;
    if (isBlocked(reply)) {
      const remedy = "free space on its disk, or remove the block from its index";
      throw storeFull("log search", `${READ_ONLY} (${BLOCKED})`, remedy, reply);
    }
    throw new TemperaError(
      "store_unavailable",
      `The log search did not accept a change of ${values.length} lines (HTTP ${status}).`,
    );
  }

  /** Makes the latest changes visible to searches. */
  async refresh(): Promise<void> {
    await this.#create();
    await this.#send("POST", `${this.#index}/_refresh`);
  }

  /** Creates the index unless it exists. Two processes may do so at the same time. */
  #create(): Promise<void> {
    this.#created ??= this.#send("PUT", this.#index, writeJson(MAPPING))
      .then(({ status, reply }) => {
        const { error } = (reply ?? {}) as { error?: { type?: string; reason?: string } };
        if (status !== 200 && error?.type !== "resource_already_exists_exception")
          throw new Error(`The index ${this.#index} cannot be created: ${error?.reason ?? `HTTP ${status}`}`);
      })
      .catch((error) => {
        this.#created = undefined;
        throw error;
      });
    return this.#created;
  }

  async #send(
    method: string,
    path: string,
    body?: string,
    type = "application/json",
  ): Promise<{ status: number; reply: unknown }> {
    let response: Response;
    try {
      response = await fetch(`${this.#base}/${path}`, {
        method,
        headers: { "content-type": type, ...this.#authorization },
        ...(body !== undefined && { body }),
        signal: AbortSignal.timeout(ANSWER_MS),
      });
    } catch (error) {
      throw this.#unavailable((error as Error).message, error);
    }
    const reply: unknown = await response.json().catch(() => undefined);
    const { status } = response;
    if (status >= 500 || status === 429 || status === 401 || status === 403)
      throw this.#unavailable(`HTTP ${status}`);
    return { status, reply };
  }

  #unavailable(why: string, cause?: unknown): TemperaError {
    return new TemperaError(
      "store_unavailable",
      `The log search at ${this.#host} cannot be used (${why}); ` +
        "start it, or correct TEMPERA_LOG_SEARCH_URL.",
      { cause },
    );
  }
}
