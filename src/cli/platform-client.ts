import { createReadStream, readFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import { Readable } from "node:stream";
import { keyFile } from "../config/key-file.ts";

/** Where a platform is and who is asking, as every command that talks to one needs it. */
export interface Connection {
  url: string;
  adminUrl: string;
  key: string;
}

/** A status as the queue API gives it. */
export interface Status {
  status: "IN_QUEUE" | "IN_PROGRESS" | "COMPLETED";
  request_id: string;
  queue_position?: number;
  logs: { timestamp: string; message: string; level: string }[] | null;
  metrics: { inference_time?: number; queue_time?: number };
  progress?: { step: number; steps: number; remaining_seconds?: number };
  error?: string;
  error_type?: string;
  /** Of a pipeline, where they were asked for. */
  nodes?: NodeStatus[];
  /** The request that this one runs again. */
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

/** What the platform refused, or why it was not reached, in a sentence. */
export class PlatformError extends Error {
  readonly status: number | undefined;
  readonly body: unknown;
  constructor(message: string, status?: number, body?: unknown) {
    super(message);
    this.status = status;
    this.body = body;
  }
}

/** `--key`, else `TEMPERA_KEY`, else `FAL_KEY`, else the one that `npm start` keeps in the data folder. */
export function findKey(given: string | undefined, env: NodeJS.ProcessEnv = process.env): string {
  const named = given ?? env.TEMPERA_KEY ?? env.FAL_KEY;
  if (named) return named;
  try {
    return readFileSync(keyFile(env.TEMPERA_DATA ?? ".tempera"), "utf8").trim();
  } catch {
    throw new PlatformError("There is no key; set TEMPERA_KEY, or pass --key (`npm start` prints one).");
  }
}

/** A sentence for an error answer of the queue API or of the Platform API. */
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

export interface PlatformClient {
  submit(endpoint: string, input: unknown, headers?: Record<string, string>): Promise<Status>;
  status(endpoint: string, requestId: string): Promise<Status>;
  result(endpoint: string, requestId: string): Promise<unknown>;
  cancel(endpoint: string, requestId: string): Promise<void>;
  /** Runs a pipeline's request again; what it answers is of the new one. */
  rerun(
    endpoint: string,
    requestId: string,
    body: unknown,
    headers?: Record<string, string>,
  ): Promise<Status>;
  /**
   * Each change of the request's status until it has ended, and with `nodes` of its nodes; goes on after a
   * broken connection.
   */
  follow(endpoint: string, requestId: string, options?: { nodes?: boolean }): AsyncGenerator<Status>;
  admin<T>(method: string, path: string, body?: unknown): Promise<T>;
  /** Sends a file to the admin service, as it is read. */
  sendFile<T>(path: string, file: string, contentType: string): Promise<T>;
  /**
   * The same of what several people may change at once: with the revision that was read, and demanding one.
   */
  adminRevised<T>(
    method: string,
    path: string,
    change?: { body: unknown; ifMatch: string | undefined },
  ): Promise<{ body: T; etag: string | undefined }>;
}

/** Talks to a running platform over HTTP, like any client. Rejects with a `PlatformError`. */
export function createPlatformClient({ url, adminUrl, key }: Connection): PlatformClient {
  const request = async (
    method: string,
    address: string,
    { body, headers }: { body?: unknown; headers?: Record<string, string> } = {},
  ): Promise<Response> => {
    const init: RequestInit = {
      method,
      headers: { authorization: `Key ${key}`, "content-type": "application/json", ...headers },
    };
    if (body !== undefined) init.body = JSON.stringify(body);
    return answered(address, init);
  };
  const answered = async (address: string, init: RequestInit): Promise<Response> => {
    const response = await fetch(address, init).catch((error: Error) => {
      const cause = (error.cause as { code?: string } | undefined)?.code ?? error.message;
      throw new PlatformError(
        `No platform answers at ${new URL(address).origin} (${cause}); start one with \`npm start\`, or pass --url.`,
      );
    });
    if (response.ok) return response;
    const answer: unknown = await response.json().catch(() => undefined);
    throw new PlatformError(errorText(response.status, answer), response.status, answer);
  };
  const queue = (endpoint: string, rest = ""): string => `${url}/queue/${endpoint}${rest}`;
  const json = async <T>(response: Promise<Response>): Promise<T> => (await (await response).json()) as T;

  return {
    submit: (endpoint, input, headers) =>
      json(request("POST", queue(endpoint), { body: input, ...(headers && { headers }) })),
    status: (endpoint, id) => json(request("GET", queue(endpoint, `/requests/${id}/status?logs=1`))),
    result: (endpoint, id) => json(request("GET", queue(endpoint, `/requests/${id}`))),
    cancel: async (endpoint, id) => {
      await request("PUT", queue(endpoint, `/requests/${id}/cancel`));
    },
    rerun: (endpoint, id, body, headers) =>
      json(request("POST", queue(endpoint, `/requests/${id}/rerun`), { body, ...(headers && { headers }) })),
    async *follow(endpoint, id, { nodes = false } = {}) {
      let lastEventId: string | undefined;
      for (;;) {
        const headers = lastEventId === undefined ? {} : { "last-event-id": lastEventId };
        const response = await request(
          "GET",
          queue(endpoint, `/requests/${id}/status/stream?logs=1${nodes ? "&nodes=1" : ""}`),
          {
            headers,
          },
        );
        try {
          for await (const event of serverSentEvents(response)) {
            lastEventId = event.id ?? lastEventId;
            const status = JSON.parse(event.data) as Status;
            yield status;
            if (status.status === "COMPLETED") return;
          }
        } catch (error) {
          if (error instanceof SyntaxError) throw error;
          // The connection broke: go on after the last event.
        }
      }
    },
    adminRevised: async <T>(
      method: string,
      path: string,
      change?: { body: unknown; ifMatch: string | undefined },
    ) => {
      const headers = change?.ifMatch === undefined ? {} : { "if-match": change.ifMatch };
      const response = await request(method, `${adminUrl}${path}`, { body: change?.body, headers });
      return { body: (await response.json()) as T, etag: response.headers.get("etag") ?? undefined };
    },
    admin: async <T>(method: string, path: string, body?: unknown): Promise<T> => {
      const response = await request(method, `${adminUrl}${path}`, { body });
      return (response.status === 204 ? undefined : await response.json()) as T;
    },
    sendFile: async <T>(path: string, file: string, contentType: string): Promise<T> => {
      const { size } = await stat(file);
      const response = await answered(`${adminUrl}${path}`, {
        method: "POST",
        headers: { authorization: `Key ${key}`, "content-type": contentType, "content-length": String(size) },
        body: Readable.toWeb(createReadStream(file)),
        duplex: "half",
      } as RequestInit);
      return (await response.json()) as T;
    },
  };
}

/** Reads `id:` and `data:` of each event; comments are pings. */
async function* serverSentEvents(response: Response): AsyncGenerator<{ id?: string; data: string }> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    text += decoder.decode(chunk, { stream: true });
    const events = text.split("\n\n");
    text = events.pop() ?? "";
    for (const event of events) {
      const fields = event.split("\n").map((line) => line.split(/: ?(.*)/s, 2) as [string, string]);
      const data = fields.find(([name]) => name === "data")?.[1];
      const id = fields.find(([name]) => name === "id")?.[1];
      if (data !== undefined) yield { data, ...(id !== undefined && { id }) };
    }
  }
}
