/**
 * Sends plain HTTP: no redirect is followed, nothing is decoded, any header can be sent. `fetch` hides too
 * much for a conformance suite.
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
  /** PEM of the authority that an https URL is trusted by. */
  ca?: string;
  /** Address to connect to, in place of the one that the URL's host name resolves to. */
  connectTo?: { host: string; port: number };
  signal?: AbortSignal;
  /** Longest wait for the whole response, in milliseconds. Default 60 s. */
  timeoutMs?: number;
}

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  bytes: Buffer;
  text: string;
  /** The pieces as they arrived. */
  chunks: Buffer[];
  /** Parses the body as JSON; fails with the body if it is not JSON. */
  json(): Json;
  header(name: string): string | undefined;
}

/** A JSON value whose members are read without type checks; a missing member is `undefined`. */
// biome-ignore lint/suspicious/noExplicitAny: the suite reads bodies of every shape and checks values it uses
export type Json = any;

const plain = new HttpAgent({ keepAlive: true, maxSockets: 256 });
const secure = new HttpsAgent({ keepAlive: true, maxSockets: 64 });

/** Closes the connections that are kept open. */
export function closeConnections(): void {
  plain.destroy();
  secure.destroy();
}

/** Resolves to a response before its body. The caller must read the body to its end, or destroy it. */
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
  const limit = AbortSignal.timeout(call.timeoutMs ?? 300_000);
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

/** Shortens a text to the part that identifies it. */
export const brief = (text: string, characters = 300): string =>
  text.length > characters ? `${text.slice(0, characters)}… (${text.length} characters)` : text || "(empty)";
