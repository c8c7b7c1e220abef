/** A client of both gateways, which behaves as real ones do and writes what it sees to the ledger. */
import { EventSourceParserStream } from "eventsource-parser/stream";
import type { JsonObject } from "../../../src/core/json/json.ts";
import {
  digestOf,
  hash,
  type Ledger,
  type Read,
  type Seen,
  type SubmitCall,
  withoutSignatures,
} from "../checker/ledger.ts";

/** Longest wait for an answer, in milliseconds: a gateway that is frozen accepts connections. */
const ANSWER_WITHIN_MS = 12_000;

/** An answer, or the reason why none came. */
interface Answer {
  startMs: number;
  endMs: number;
  status?: number;
  headers?: Headers;
  text: string;
  body?: JsonObject;
}

export interface SubmitRequest {
  job: number;
  tryNumber: number;
  isFirst: boolean;
  gateway: number;
  endpoint: string;
  input: JsonObject;
  key?: string;
  webhook?: string;
}

export interface Client {
  submit(request: SubmitRequest): Promise<SubmitCall>;
  status(gateway: number, endpoint: string, requestId: string): Promise<Read>;
  result(gateway: number, endpoint: string, requestId: string): Promise<{ read: Read; body?: JsonObject }>;
  /** Resolves with the HTTP status; absent when no answer came. */
  cancel(gateway: number, endpoint: string, requestId: string): Promise<number | undefined>;
  /** Follows the status stream until it ends or breaks. Resolves with true once it has said COMPLETED. */
  stream(
    gateway: number,
    endpoint: string,
    requestId: string,
    lastEventId: { id?: string },
  ): Promise<boolean>;
}

/** The application of an endpoint, which the addresses of requests name. */
const appOf = (endpoint: string): string => endpoint.split("/").slice(0, 2).join("/");

/** Makes a client of the gateways with these addresses. */
export function createClient(gateways: readonly string[], key: string, ledger: Ledger): Client {
  const call = (gateway: number, path: string, options: RequestInit = {}): Promise<Answer> =>
    callOnce(`${gateways[gateway]}/queue/${path}`, {
      ...options,
      headers: { authorization: `Key ${key}`, ...options.headers },
    });
  const pathOf = (endpoint: string, requestId: string) => `${appOf(endpoint)}/requests/${requestId}`;
  const note = (read: Read): Read => {
    ledger.reads.push(read);
    return read;
  };

  return {
    async submit({ job, tryNumber, isFirst, gateway, endpoint, input, key: idempotencyKey, webhook }) {
      const query = webhook ? `?fal_webhook=${encodeURIComponent(webhook)}` : "";
      const answer = await call(gateway, `${endpoint}${query}`, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          ...(idempotencyKey !== undefined && { "idempotency-key": idempotencyKey }),
        },
        body: JSON.stringify(input),
      });
      const { startMs, endMs, status } = answer;
      const requestId = answer.headers?.get("x-fal-request-id") ?? undefined;
      const submitted: SubmitCall = {
        ...{ job, tryNumber, isFirst, gateway, startMs, endMs },
        ...(status !== undefined && { status }),
        ...(requestId !== undefined && { requestId }),
        ...(status !== 200 && { reason: reasonOf(answer) }),
      };
      ledger.submits.push(submitted);
      if (status === 200) ledger.accept(job, String(answer.body?.request_id));
      return submitted;
    },

    async status(gateway, endpoint, requestId) {
      const answer = await call(gateway, `${pathOf(endpoint, requestId)}/status`);
      return note(readOf("status", gateway, requestId, answer, seenInStatus(answer)));
    },

    async result(gateway, endpoint, requestId) {
      const answer = await call(gateway, pathOf(endpoint, requestId));
      const read = readOf("result", gateway, requestId, answer, seenInResult(answer));
      return { read: note(read), ...(answer.body && { body: answer.body }) };
    },

    async cancel(gateway, endpoint, requestId) {
      return (await call(gateway, `${pathOf(endpoint, requestId)}/cancel`, { method: "PUT" })).status;
    },

    async stream(gateway, endpoint, requestId, last) {
      const startMs = performance.now();
      const open = { requestId, by: "stream" as const, gateway, startMs };
      try {
        const answer = await fetch(
          `${gateways[gateway]}/queue/${pathOf(endpoint, requestId)}/status/stream`,
          {
            headers: {
              authorization: `Key ${key}`,
              ...(last.id !== undefined && { "last-event-id": last.id }),
            },
            signal: AbortSignal.timeout(60_000),
          },
        );
        if (answer.status !== 200 || !answer.body) {
          await answer.body?.cancel();
          return false;
        }
        for await (const event of eventsOf(answer.body)) {
          if (event.id !== undefined) last.id = event.id;
          const status = JSON.parse(event.data) as JsonObject;
          const read = { ...open, endMs: performance.now(), status: 200 };
          if (status.status === "COMPLETED") {
            note({ ...read, seen: "ended", end: endOf(status) });
            return true;
          }
          note({ ...read, seen: "unfinished" });
        }
      } catch {
        // The gateway died, or is frozen. The stream goes on at the other one.
      }
      return false;
    },
  };
}

async function callOnce(url: string, options: RequestInit): Promise<Answer> {
  const startMs = performance.now();
  try {
    const response = await fetch(url, { ...options, signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
    const text = await response.text();
    const answer = { startMs, endMs: performance.now(), status: response.status, headers: response.headers };
    return { ...answer, text, ...bodyOf(text) };
  } catch (error) {
    const cause = (error as Error).cause ?? error;
    const { code, message } = cause as { code?: string; message: string };
    return { startMs, endMs: performance.now(), text: code ?? message };
  }
}

function bodyOf(text: string): { body?: JsonObject } {
  try {
    return { body: JSON.parse(text) as JsonObject };
  } catch {
    return {};
  }
}

const reasonOf = ({ body, text }: Answer): string =>
  (typeof body?.detail === "string" ? body.detail : text).slice(0, 300);

/** The error code of a status that has ended, or `ok`. */
const endOf = (status: JsonObject): string =>
  typeof status.error_type === "string" ? status.error_type : "ok";

type Meaning = Pick<Read, "seen" | "end" | "result" | "bytes">;

/** No answer, or one that asks the client to try again. */
function meaningOfRefusal({ status }: Answer): Seen {
  if (status === undefined || status === 502 || status === 503 || status === 504) return "unavailable";
  return status === 404 ? "unknown" : "odd";
}

function seenInStatus(answer: Answer): Meaning {
  if (answer.status === 202) return { seen: "unfinished" };
  if (answer.status === 200 && answer.body) return { seen: "ended", end: endOf(answer.body) };
  return { seen: meaningOfRefusal(answer) };
}

/** An outcome is recognised by its units, which no refusal by the gateway has. */
function seenInResult(answer: Answer): Meaning {
  const { status, headers, text, body } = answer;
  if (headers?.has("x-fal-billable-units")) {
    const end = status === 200 ? "ok" : "error";
    return { seen: "ended", end, result: digestOf(body), bytes: hash(withoutSignatures(text)) };
  }
  if (status === 400 && text.includes("still in progress")) return { seen: "unfinished" };
  return { seen: meaningOfRefusal(answer) };
}

function readOf(
  by: "status" | "result",
  gateway: number,
  requestId: string,
  answer: Answer,
  meaning: Meaning,
): Read {
  const { startMs, endMs, status } = answer;
  return {
    ...{ requestId, by, gateway, startMs, endMs },
    ...meaning,
    ...(status !== undefined && { status }),
    ...(meaning.seen !== "ended" && meaning.seen !== "unfinished" && { reason: reasonOf(answer) }),
  };
}

/** Yields the server-sent events of a body. */
async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<{ id?: string; data: string }> {
  const text: ReadableStream<string> = body.pipeThrough(new TextDecoderStream());
  const events = text.pipeThrough(new EventSourceParserStream());
  for await (const { id, data } of events) yield { ...(id !== undefined && { id }), data };
}
