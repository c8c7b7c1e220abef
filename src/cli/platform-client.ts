/** The command's client of a running platform: the queue API and the admin service, over HTTP. */
import { createReadStream, readFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import { Readable } from "node:stream";
import { type EventSourceMessage, EventSourceParserStream } from "eventsource-parser/stream";
import { keyFile } from "../config/key-file.ts";
import { parseJson, writeJson } from "../core/json/exact-json.ts";

/** The addresses of a platform and the key that calls it. */
export interface Connection {
  url: string;
  adminUrl: string;
  key: string;
}

/** The status of a request, as the queue API returns it. */
export interface Status {
  status: "IN_QUEUE" | "IN_PROGRESS" | "COMPLETED";
  request_id: string;
  queue_position?: number;
  logs: { timestamp: string; message: string; level: string }[] | null;
  metrics: { inference_time?: number; queue_time?: number };
  progress?: { step: number; steps: number; remaining_seconds?: number };
  error?: string;
  error_type?: string;
  /** The nodes of a pipeline, with `nodes=1` only. */
  nodes?: NodeStatus[];
  /** The request that this rerun repeats. */
  rerun_of?: string;
}

/** A node of a pipeline. */
export interface NodeStatus {
  node_id: string;
  app_id: string;
  request_id: string;
  status: "IN_PROGRESS" | "COMPLETED";
  cache?: "hit" | "miss";
  error?: string;
}

/** A refusal by the platform, or a failure to reach it. The message is one sentence. */
export class PlatformError extends Error {
  /** The HTTP status; `undefined` when the platform was not reached. */
  readonly status: number | undefined;
  readonly body: unknown;
  constructor(message: string, status?: number, body?: unknown) {
    super(message);
    this.status = status;
    this.body = body;
  }
}

/**
 * Returns the key of `--key`, `TEMPERA_KEY`, `FAL_KEY` or the file that `npm start` writes to the data
 * folder, whichever is found first.
 */
export function findKey(option: string | undefined, env: NodeJS.ProcessEnv = process.env): string {
  const key = option ?? env.TEMPERA_KEY ?? env.FAL_KEY;
  if (key) return key;
  try {
    return readFileSync(keyFile(env.TEMPERA_DATA ?? ".tempera"), "utf8").trim();
  } catch {
    throw new PlatformError("There is no key; set TEMPERA_KEY, or pass --key (`npm start` makes one).");
  }
}

/** Returns a sentence for an error reply of the queue API or of the Platform API. */
function errorText(status: number, body: unknown): string {
  const { detail, error } = (body ?? {}) as {
    detail?: unknown;
    error?: { message?: string };
    status?: string;
  };
  if (typeof detail === "string") return detail;
  if (Array.isArray(detail))
    return detail
      .map(({ loc, msg }) => `${(loc as unknown[]).slice(1).join(".") || "input"}: ${msg}`)
      .join("; ");
  if (error?.message) return error.message;
  const word = (body as { status?: string } | undefined)?.status;
  if (word === "NOT_FOUND") return "There is no such request.";
  if (word === "ALREADY_COMPLETED") return "The request has already completed.";
  return `HTTP ${status}`;
}

/** Every method rejects with a `PlatformError`. */
export interface PlatformClient {
  submit(endpoint: string, input: unknown, headers?: Record<string, string>): Promise<Status>;
  status(endpoint: string, requestId: string): Promise<Status>;
  result(endpoint: string, requestId: string): Promise<unknown>;
  cancel(endpoint: string, requestId: string): Promise<void>;
  /** Runs a pipeline's request again. Resolves with the status of the new request. */
  rerun(
    endpoint: string,
    requestId: string,
    body: unknown,
    headers?: Record<string, string>,
  ): Promise<Status>;
  /**
   * Yields each change of the request's status until it has ended, and with `nodes` each change of its nodes.
   * After a broken connection, it continues with the event after the last one.
   */
  follow(endpoint: string, requestId: string, options?: { nodes?: boolean }): AsyncGenerator<Status>;
  admin<T>(method: string, path: string, body?: unknown): Promise<T>;
  /** Sends a file to the admin service as a stream. */
  sendFile<T>(path: string, file: string, contentType: string): Promise<T>;
  /**
   * Calls the admin service about a resource with revisions: returns its ETag, and with `change` sends one in
   * `If-Match`.
   */
  adminRevised<T>(
    method: string,
    path: string,
    change?: { body: unknown; ifMatch: string | undefined },
  ): Promise<{ body: T; etag: string | undefined }>;
}

/** Creates a client of a running platform. */
export function createPlatformClient(connection: Connection): PlatformClient {
  return new HttpPlatformClient(connection);
}

class HttpPlatformClient implements PlatformClient {
  readonly #url: string;
  readonly #adminUrl: string;
  readonly #key: string;

  constructor({ url, adminUrl, key }: Connection) {
    this.#url = url;
    this.#adminUrl = adminUrl;
    this.#key = key;
  }

  submit(endpoint: string, input: unknown, headers: Record<string, string> = {}): Promise<Status> {
    return this.#json("POST", this.#queue(endpoint), { body: input, headers });
  }

  status(endpoint: string, requestId: string): Promise<Status> {
    return this.#json("GET", this.#queue(endpoint, `/requests/${requestId}/status?logs=1`));
  }

  result(endpoint: string, requestId: string): Promise<unknown> {
    return this.#json("GET", this.#queue(endpoint, `/requests/${requestId}`));
  }

  async cancel(endpoint: string, requestId: string): Promise<void> {
    await this.#request("PUT", this.#queue(endpoint, `/requests/${requestId}/cancel`));
  }

  rerun(
    endpoint: string,
    requestId: string,
    body: unknown,
    headers: Record<string, string> = {},
  ): Promise<Status> {
    return this.#json("POST", this.#queue(endpoint, `/requests/${requestId}/rerun`), { body, headers });
  }

  async *follow(
    endpoint: string,
    requestId: string,
    { nodes = false }: { nodes?: boolean } = {},
  ): AsyncGenerator<Status> {
    const path = `/requests/${requestId}/status/stream?logs=1&queue_logs=1${nodes ? "&nodes=1" : ""}`;
    let lastEventId: string | undefined;
    for (;;) {
      const headers = lastEventId === undefined ? {} : { "last-event-id": lastEventId };
      const response = await this.#request("GET", this.#queue(endpoint, path), { headers });
      try {
        for await (const event of serverSentEvents(response)) {
          lastEventId = event.id ?? lastEventId;
          const status = parseJson<Status>(event.data);
          yield status;
          if (status.status === "COMPLETED") return;
        }
      } catch (error) {
        if (error instanceof SyntaxError) throw error;
        // The connection broke; the next one continues after the last event.
      }
    }
  }

  async admin<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await this.#request(method, `${this.#adminUrl}${path}`, { body });
    return response.status === 204 ? (undefined as T) : await jsonOf<T>(response);
  }

  async adminRevised<T>(
    method: string,
    path: string,
    change?: { body: unknown; ifMatch: string | undefined },
  ): Promise<{ body: T; etag: string | undefined }> {
    const headers = change?.ifMatch === undefined ? {} : { "if-match": change.ifMatch };
    const response = await this.#request(method, `${this.#adminUrl}${path}`, { body: change?.body, headers });
    return { body: await jsonOf<T>(response), etag: response.headers.get("etag") ?? undefined };
  }

  async sendFile<T>(path: string, file: string, contentType: string): Promise<T> {
    const { size } = await stat(file);
    const response = await send(`${this.#adminUrl}${path}`, {
      method: "POST",
      headers: {
        authorization: `Key ${this.#key}`,
        "content-type": contentType,
        "content-length": String(size),
      },
      body: Readable.toWeb(createReadStream(file)),
      duplex: "half",
    } as RequestInit);
    return jsonOf<T>(response);
  }

  #queue(endpoint: string, rest = ""): string {
    return `${this.#url}/queue/${endpoint}${rest}`;
  }

  async #json<T>(method: string, address: string, options?: RequestOptions): Promise<T> {
    return jsonOf<T>(await this.#request(method, address, options));
  }

  #request(method: string, address: string, { body, headers }: RequestOptions = {}): Promise<Response> {
    const init: RequestInit = {
      method,
      headers: { authorization: `Key ${this.#key}`, "content-type": "application/json", ...headers },
    };
    if (body !== undefined) init.body = writeJson(body);
    return send(address, init);
  }
}

interface RequestOptions {
  body?: unknown;
  headers?: Record<string, string>;
}

async function jsonOf<T>(response: Response): Promise<T> {
  return parseJson<T>(await response.text());
}

/** Resolves with a response of status 2xx. Rejects with a `PlatformError` otherwise. */
async function send(address: string, init: RequestInit): Promise<Response> {
  const response = await fetch(address, init).catch((error: Error) => {
    const cause = (error.cause as { code?: string } | undefined)?.code ?? error.message;
    const { origin } = new URL(address);
    throw new PlatformError(
      `No platform answers at ${origin} (${cause}); start one with \`npm start\`, or pass --url.`,
    );
  });
  if (response.ok) return response;
  const body = await jsonOf<unknown>(response).catch(() => undefined);
  throw new PlatformError(errorText(response.status, body), response.status, body);
}

/** Yields the events of a response in server-sent events, without its comments. */
function serverSentEvents({ body }: Response): AsyncIterable<EventSourceMessage> {
  if (!body) return (async function* () {})();
  const text: ReadableStream<string> = body.pipeThrough(new TextDecoderStream());
  return text.pipeThrough(new EventSourceParserStream());
}
