/** The context of a case: the tested server, keys, the official clients, a webhook receiver. */

import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { createFalClient, type FalClient } from "@fal-ai/client";
import { check } from "./expect.ts";
import { type Answer, type Call, type Json, open, request } from "./http.ts";
import type { Receiver } from "./receiver.ts";
import { lintSse, type Sse } from "./sse.ts";

/**
 * The model that the cases run: its input makes it echo, wait, fail or stream (models/tempera/stub).
 */
export const STUB = "tempera/stub";

export interface Target {
  /** `http://localhost:8080` */
  url: string;
  key: string;
  otherKey?: string;
  adminKey?: string;
  adminUrl?: string;
  tlsUrl?: string;
  /** The file of the authority that the TLS address is trusted by. */
  caFile?: string;
}

/** The server's process, if the suite started it. */
export interface OwnServer {
  target: Target;
  /** File with the certificate and the key of its TLS address. */
  certificateFile: string;
  /** Tells whether the server stores a file with these bytes. */
  stores(bytes: Buffer): Promise<boolean>;
  /** Kills the process with SIGKILL, and starts it again in the same folder. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export interface Context extends Target {
  receiver: Receiver;
  server: OwnServer | undefined;
  /** Sends one call with the key; `path` is relative to the server's address. */
  call(path: string, call?: Call & { key?: string | false }): Promise<Answer>;
  /** Submits to the queue. Resolves to the body of the response. */
  submit(
    input?: Json,
    options?: { headers?: Record<string, string>; query?: string; key?: string },
  ): Promise<Json>;
  /** Gives the queue path of a request. */
  at(requestId: string, rest?: string): string;
  /** Waits for a request's end on its status stream. Resolves to its last status. */
  ended(requestId: string): Promise<Json>;
  /** Waits until a request runs. */
  running(requestId: string): Promise<void>;
  /** Reads a whole stream and lints it. */
  stream(path: string, call?: Call): Promise<Sse & { answer: Answer }>;
  /** Creates the official JavaScript client, directed to this server by its own `proxyUrl`. */
  fal(url?: string): FalClient;
  /** Runs a function of `python/cases.py` with the official Python client. Resolves to its JSON output. */
  python(name: string, args?: Json, env?: Record<string, string>): Promise<Json>;
  /** Blocks every slot of the stub until disposed, so that requests submitted meanwhile wait. */
  fullQueue(): Promise<AsyncDisposable>;
}

/** Number of requests that the stub runs at once. */
const SLOTS = 64;

export function createContext(
  target: Target,
  receiver: Receiver,
  python: () => Promise<string>,
  server?: OwnServer,
): Context {
  const context: Context = {
    ...target,
    receiver,
    server,
    call(path, { key = target.key, ...call } = {}) {
      const headers = { ...(key !== false && { authorization: `Key ${key}` }), ...call.headers };
      return request(path.startsWith("http") ? path : `${target.url}${path}`, { ...call, headers });
    },
    async submit(input, { headers = {}, query = "", key } = {}) {
      const answer = await context.call(`/queue/${STUB}${query}`, {
        method: "POST",
        body: input,
        headers,
        ...(key !== undefined && { key }),
      });
      check(answer.status === 200, `submit: ${answer.status}: ${answer.text.slice(0, 300)}`);
      return answer.json();
    },
    at: (requestId, rest = "") => `/queue/${STUB}/requests/${requestId}${rest}`,
    async ended(requestId) {
      const { events } = await context.stream(context.at(requestId, "/status/stream?logs=1"));
      return events.at(-1);
    },
    async running(requestId) {
      const response = await open(`${target.url}${context.at(requestId, "/status/stream")}`, {
        headers: { authorization: `Key ${target.key}` },
      });
      for await (const chunk of response) if (/"status":"(IN_PROGRESS|COMPLETED)"/.test(String(chunk))) break;
      response.destroy();
    },
    async stream(path, call = {}) {
      const answer = await context.call(path, call);
      check(answer.status === 200, `the stream ${path}: ${answer.status}: ${answer.text.slice(0, 300)}`);
      return { ...lintSse(answer), answer };
    },
    fal: (url = target.url) =>
      createFalClient({ credentials: target.key, proxyUrl: { url: `${url}/api/fal/proxy`, when: "always" } }),
    async python(name, args = {}, env = {}) {
      const { PATH = "", HOME = "" } = process.env;
      const tls = new URL(target.tlsUrl ?? "https://localhost");
      const hosts = {
        FAL_KEY: target.key,
        SSL_CERT_FILE: target.caFile ?? "",
        PYTHONPATH: join(import.meta.dirname, "python"),
        PYTHONDONTWRITEBYTECODE: "1",
        // fal's own host names are resolved to this address (python/sitecustomize.py).
        SERVED_AT: `${tls.hostname}:${tls.port}`,
      };
      const program = await python();
      const [failure, said, complained] = await new Promise<[Error | null, string, string]>((done) =>
        execFile(
          program,
          [join(import.meta.dirname, "python", "cases.py"), name, JSON.stringify(args)],
          { env: { PATH, HOME, ...hosts, ...env }, maxBuffer: 64 * 1024 * 1024 },
          (...outcome) => done(outcome),
        ),
      );
      check(failure === null, `the Python client: ${complained.trim().split("\n").slice(-3).join(" / ")}`);
      return JSON.parse(said);
    },
    async fullQueue() {
      const blockers = await Promise.all(
        // Each its own input: an equal one that was cancelled just before a crash would run alone.
        Array.from({ length: SLOTS }, () => context.submit({ delay_ms: 60_000, prompt: randomUUID() })),
      );
      await Promise.all(blockers.map(({ request_id }) => context.running(request_id)));
      return {
        async [Symbol.asyncDispose]() {
          await Promise.all(
            blockers.map(({ request_id }) =>
              context.call(context.at(request_id, "/cancel"), { method: "PUT" }),
            ),
          );
          await Promise.all(blockers.map(({ request_id }) => context.ended(request_id)));
        },
      };
    },
  };
  return context;
}
