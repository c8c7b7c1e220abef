import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { FoundLine, LoggedRequest, LogSearch } from "../../core/requests/log-search.ts";

/** How long the server may take to answer; a batch of lines at their longest is a megabyte. */
const ANSWER_MS = 10_000;

/** Lines of one request to the server. */
const BATCH = 250;

/** A line as the index has it. Lines come in the order of the request, then of the line. */
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
 * The search in log lines by Elasticsearch or OpenSearch (one API here: 7.10, 8, 9 and OpenSearch 1 to 3),
 * over plain HTTP. The index is made when it is not there.
 *
 * The lines of a request are in PostgreSQL too: the index can be thrown away.
 *
 * @param url `http(s)://[user:password@]host:port`
 */
export function createOpenSearchLogSearch({ url, index }: { url: string; index: string }): LogSearch {
  const { username, password, origin, pathname } = new URL(url);
  const base = `${origin}${pathname.replace(/\/+$/, "")}`;
  const authorization = username
    ? {
        authorization: `Basic ${Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString("base64")}`,
      }
    : {};

  const ask = async (
    method: string,
    path: string,
    body?: string,
    type = "application/json",
  ): Promise<{ status: number; answer: unknown }> => {
    const unavailable = (why: string, cause?: unknown): TemperaError =>
      new TemperaError(
        "store_unavailable",
        `The log search at ${new URL(url).host} cannot be used (${why}); start it, or correct TEMPERA_LOG_SEARCH_URL.`,
        { cause },
      );
    let response: Response;
    try {
      response = await fetch(`${base}/${path}`, {
        method,
        headers: { "content-type": type, ...authorization },
        ...(body !== undefined && { body }),
        signal: AbortSignal.timeout(ANSWER_MS),
      });
    } catch (error) {
      throw unavailable((error as Error).message, error);
    }
    const answer: unknown = await response.json().catch(() => undefined);
    if (
      response.status >= 500 ||
      response.status === 429 ||
      response.status === 401 ||
      response.status === 403
    )
      throw unavailable(`HTTP ${response.status}`);
    return { status: response.status, answer };
  };

  let making: Promise<void> | undefined;
  /** Makes the index unless it is there. Two that make it at once are both right. */
  const ready = (): Promise<void> => {
    making ??= ask("PUT", index, JSON.stringify(MAPPING))
      .then(({ status, answer }) => {
        const { error } = (answer ?? {}) as { error?: { type?: string; reason?: string } };
        if (status !== 200 && error?.type !== "resource_already_exists_exception")
          throw new Error(`The index ${index} cannot be made: ${error?.reason ?? `HTTP ${status}`}`);
      })
      .catch((error) => {
        making = undefined;
        throw error;
      });
    return making;
  };

  /** Several changes in one request, each line of which is one value. */
  const bulk = async (values: object[]): Promise<void> => {
    const body = `${values.map((value) => JSON.stringify(value)).join("\n")}\n`;
    const { status, answer } = await ask("POST", `${index}/_bulk`, body, "application/x-ndjson");
    if (status !== 200 || (answer as { errors?: boolean } | undefined)?.errors)
      throw new TemperaError(
        "store_unavailable",
        `The log search did not take a change of ${values.length} lines (HTTP ${status}).`,
      );
  };

  return {
    async search({ startMs, endMs, ownerId, requestId, app, version, levels, words, limit, before }) {
      await ready();
      const term = (field: string, value: string | undefined) =>
        value === undefined ? [] : [{ term: { [field]: value } }];
      const filter = [
        { range: { at: { gte: startMs, lte: endMs } } },
        ...term("owner", ownerId),
        ...term("request_id", requestId),
        ...term("version", version),
        ...(levels ? [{ terms: { level: levels } }] : []),
        ...(app === undefined
          ? []
          : [
              {
                bool: {
                  should: [{ term: { endpoint: app } }, { prefix: { endpoint: `${app}/` } }],
                  minimum_should_match: 1,
                },
              },
            ]),
        ...(words === undefined ? [] : [{ match: { message: { query: words, operator: "and" } } }]),
      ];
      const { status, answer } = await ask(
        "POST",
        `${index}/_search`,
        JSON.stringify({
          size: limit + 1,
          track_total_hits: false,
          query: { bool: { filter } },
          sort: [{ submitted_at: "desc" }, { request_id: "desc" }, { line: "desc" }],
          ...(before && { search_after: [before.submittedAtMs, before.requestId, before.line] }),
        }),
      );
      if (status !== 200)
        throw new Error(
          `The log search refused a query: HTTP ${status} ${JSON.stringify(answer).slice(0, 300)}`,
        );
      const { hits } = answer as { hits: { hits: { _source: LineDocument }[] } };
      const found = hits.hits.map(({ _source }) => _source);
      const page = found.slice(0, limit);
      const last = page.at(-1);
      return {
        lines: page.map((line) => ({
          requestId: line.request_id,
          ownerId: line.owner,
          endpoint: line.endpoint,
          version: line.version,
          attempt: line.attempt,
          level: line.level,
          message: line.message,
          id: line.event_id,
          atMs: line.at,
        })),
        ...(found.length > limit &&
          last && {
            next: { submittedAtMs: last.submitted_at, requestId: last.request_id, line: last.line },
          }),
      };
    },

    async keep({ requestId, ownerId, endpoint, version, submittedAtMs, lines }: LoggedRequest) {
      if (lines.length === 0) return;
      await ready();
      for (let from = 0; from < lines.length; from += BATCH) {
        const documents = lines
          .slice(from, from + BATCH)
          .flatMap(({ attempt, level, message, id, atMs }, at) => {
            const line = from + at + 1;
            const document: LineDocument = {
              request_id: requestId,
              owner: ownerId,
              endpoint,
              version,
              submitted_at: submittedAtMs,
              line,
              attempt,
              level,
              message,
              event_id: id,
              at: atMs,
            };
            // The place is the id: again is the same.
            return [{ index: { _id: `${requestId}/${line}` } }, document];
          });
        await bulk(documents);
      }
    },

    async forget(requestIds) {
      if (requestIds.length === 0) return;
      await ready();
      const query = JSON.stringify({
        size: BATCH,
        _source: false,
        query: { terms: { request_id: requestIds } },
      });
      for (;;) {
        // What was kept or deleted a moment ago does not show by itself yet.
        await ask("POST", `${index}/_refresh`);
        const { status, answer } = await ask("POST", `${index}/_search`, query);
        if (status !== 200) throw new Error(`The log search refused a query: HTTP ${status}`);
        const { hits } = (answer as { hits: { hits: { _id: string }[] } }).hits;
        if (hits.length === 0) return;
        await bulk(hits.map(({ _id }) => ({ delete: { _id } })));
      }
    },
  };
}
