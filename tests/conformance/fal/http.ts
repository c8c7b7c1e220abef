/**
 * HTTP as it stands on the wire: no redirect is followed, nothing is decoded, any header can be sent. `fetch`
 * does too much for a judge.
 */
import { AssertionError } from "node:assert";
import {
  Agent as HttpAgent,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request as requestHttp,
} from "node:http";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";

export interface Call {
  method?: string;
  headers?: Record<string, string>;
  /** Objects are sent as JSON. */
  body?: unknown;
  /** PEM of the authority that an https address is trusted by. */
  ca?: string;
  /** Where to connect instead of where the address's host name leads. */
  connectTo?: { host: string; port: number };
  signal?: AbortSignal;
  /** Longest wait for the whole answer. Default 60 s. */
  timeoutMs?: number;
}

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  bytes: Buffer;
  text: string;
  /** The pieces as they arrived. */
  chunks: Buffer[];
  /** The body as JSON; fails with what it was instead. */
  json(): Json;
  header(name: string): string | undefined;
}

/** A JSON value whose members are read without ceremony; what is missing is `undefined`. */
// biome-ignore lint/suspicious/noExplicitAny: a judge reads bodies of every shape and checks each value that it uses
export type Json = any;

const plain = new HttpAgent({ keepAlive: true, maxSockets: 256 });
const secure = new HttpsAgent({ keepAlive: true, maxSockets: 64 });

/** Ends the connections kept open. */
export function closeConnections(): void {
  plain.destroy();
  secure.destroy();
}

/** A response whose body is still to come. The caller reads it to its end, or destroys it. */
export function open(url: string, call: Call = {}): Promise<IncomingMessage> {
  const { method = "GET", body, ca, connectTo, signal } = call;
  const headers: Record<string, string> = { ...call.headers };
  const named = new Set(Object.keys(headers).map((name) => name.toLowerCase()));
  let payload: Buffer | undefined;
  if (body !== undefined) {
    payload = Buffer.isBuffer(body)
      ? body
      : typeof body === "string"
        ? Buffer.from(body)
        : Buffer.from(JSON.stringify(body));
    if (!named.has("content-type")) headers["content-type"] = "application/json";
  }
  if (!named.has("content-length") && !named.has("transfer-encoding") && (payload || method !== "GET"))
    headers["content-length"] = String(payload?.byteLength ?? 0);
  const { protocol, hostname, port, host } = new URL(url);
  const https = protocol === "https:";
  return new Promise((resolve, reject) => {
    const sent = (https ? requestHttps : requestHttp)(
      url,
      {
        method,
        headers: { host, ...headers },
        agent: connectTo ? false : https ? secure : plain,
        ...(signal && { signal }),
        ...(https && ca && { ca }),
        ...(connectTo && {
          hostname: connectTo.host,
          host: connectTo.host,
          port: connectTo.port,
          ...(https && { servername: hostname }),
        }),
      },
      resolve,
    );
    sent.on("error", (error) =>
      reject(new Error(`${method} ${hostname}:${port}: ${error.message}`, { cause: error })),
    );
    sent.end(payload);
  });
}

export async function request(url: string, call: Call = {}): Promise<Answer> {
  const limit = AbortSignal.timeout(call.timeoutMs ?? 60_000);
  const response = await open(url, {
    ...call,
    signal: call.signal ? AbortSignal.any([call.signal, limit]) : limit,
  });
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const bytes = Buffer.concat(chunks);
  const text = bytes.toString("utf8");
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    bytes,
    chunks,
    text,
    header: (name) => {
      const value = response.headers[name.toLowerCase()];
      return Array.isArray(value) ? value.join(", ") : value;
    },
    json() {
      try {
        return JSON.parse(text);
      } catch {
        throw new AssertionError({
          message: `${response.statusCode} with a body that is not JSON: ${brief(text)}`,
        });
      }
    },
  };
}

/** Enough of a text to see what it is. */
export const brief = (text: string, characters = 300): string =>
  text.length > characters ? `${text.slice(0, characters)}… (${text.length} characters)` : text || "(empty)";
