import type { IncomingMessage } from "node:http";
import type { RawData, WebSocket } from "ws";
import { CATALOGUE, type ErrorCode } from "../../core/errors/catalogue.ts";
import { type ErrorInfo, errorInfo, isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import type { JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import { appOf, pathSegments } from "../../core/models/endpoint.ts";
import { taskQueueOf } from "../../core/models/model.ts";
import { refuseDisabledBehaviour, refuseDisabledRoute } from "../../core/models/refuse-disabled.ts";
import { assertEndpointPermitted } from "../../core/owners/key-permissions.ts";
import { newRequestId } from "../../core/requests/request-id.ts";
import type { Frame, SessionSpec } from "../../core/requests/session.ts";
import {
  decodeFrame,
  decodeJsonFrame,
  encodeFrame,
  FrameFault,
  type FrameObject,
  frameJson,
  isHeavyFrame,
} from "../../fal/msgpack.ts";
import {
  errorMessage,
  parseRealtimePath,
  type RealtimeEndpoint,
  readMaxBuffering,
  resumedMessage,
  type SocketAddress,
  TIMEOUT,
  timingMessage,
  UNAUTHORIZED,
} from "../../fal/realtime.ts";
import type { ModelRoute } from "../../registry/registry.ts";
import { type Call, callOfUpgrade } from "../auth/call.ts";
import type { Caller } from "../auth/key-ring.ts";
import { callerOfToken } from "../auth/token-caller.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { Budget } from "../limits/budget.ts";
import { sayNearest } from "../requests/nearest-endpoint.ts";
import { checkFrame, checkJson } from "./frame-check.ts";
import { FrameQueue, type FrameQueueOptions, type Piece, type QueuedFrame } from "./frame-queue.ts";
import { openSession, type Session, type SessionListener, type SessionOptions } from "./session.ts";
import { endSocket, type OpenedSocket, type ServedSocket, sendOrTerminate } from "./socket-end.ts";

type Api = Pick<
  ApiDependencies,
  | "registry"
  | "flags"
  | "keyRing"
  | "tokens"
  | "sessions"
  | "withdrawJob"
  | "frames"
  | "clock"
  | "log"
  | "realtime"
  | "budgets"
>;

/**
 * Inputs that are with the GPU worker at once: enough to hide the latency of the way there, few enough to
 * lose. It is one when the caller sets `max_buffering`.
 */
const IN_FLIGHT_MAX = 4;

/** A checked handshake. */
interface Opening {
  caller: Caller;
  sessionId: string;
  route: ModelRoute;
  target: RealtimeEndpoint;
  maxBuffering: number | undefined;
  call: Call;
}

/**
 * Serves realtime sockets (contract §5.1-5.4). Rejects for a caller who is refused, who gets a socket too,
 * with a message and a close (`closeWithError`).
 *
 * - `/{id}/realtime` and custom paths: an input is a msgpack object or JSON text, and its outputs are sent
 *   in the
 *   same form. A faulty input gets an `x-fal-error` and the socket stays open; an engine's failure is an
 *   `INTERNAL_ERROR`, after which the socket closes.
 * - `/{id}`: a raw socket, whose frames are passed to the engine and back unchanged.
 */
export function createRealtimeSocket(api: Api) {
  const sessions = new Budget({
    things: "realtime sessions open at this gateway",
    remedy: "Close one first.",
    ofOwner: () => api.realtime.sessionsMax,
  });

  return async (address: SocketAddress, request: IncomingMessage): Promise<OpenedSocket> => {
    const opening = await checkHandshake(api, address, request);
    const serve = (ws: WebSocket): ServedSocket => {
      try {
        // Counted only here, where there is a socket whose close ends the count.
        return new RealtimeConnection(api, opening, ws, sessions.acquire(opening.caller.ownerId));
      } catch (error) {
        if (!isTemperaError(error)) throw error;
        return closeWithError(ws, error);
      }
    };
    return { ownerId: opening.caller.ownerId, serve };
  };
}

/** Authenticates the caller, finds the model and reads the query of a handshake. */
async function checkHandshake(
  api: Api,
  { path, query }: SocketAddress,
  request: IncomingMessage,
): Promise<Opening> {
  const call = callOfUpgrade(request);
  const token = query.get("fal_jwt_token");
  const caller = token
    ? await callerOfToken(api, token, { endpoint: path, call })
    : await api.keyRing.authenticate(request.headers.authorization, call, appOf(path));
  const target = parseRealtimePath(path, (endpoint) => api.registry.route(endpoint) !== undefined);
  assertEndpointPermitted(caller, target?.endpoint ?? pathSegments(path).join("/"));
  const sessionId = newRequestId();
  const route = target && api.registry.route(target.endpoint, sessionId);
  if (!target || !route) {
    const wanted = pathSegments(path).filter((segment) => segment !== "realtime");
    const nearest = sayNearest(api.registry, wanted.join("/"), caller);
    throw new TemperaError(
      "endpoint_unknown",
      `Application "${appOf(path).split("/").at(-1)}" not found${nearest}`,
    );
  }
  if (!route.model?.realtime)
    throw new TemperaError(
      "realtime_unsupported",
      `The model ${target.endpoint} has no realtime sessions; call it on the queue.`,
    );
  refuseDisabledRoute(api.flags, route, caller.ownerId);
  refuseDisabledBehaviour(api.flags, "realtime", caller.ownerId, "Call the model on the queue.");
  const maxBuffering = readMaxBuffering(query.get("max_buffering"));
  if (maxBuffering === "invalid")
    throw new TemperaError("realtime_query_invalid", "max_buffering is a whole number from 1 to 60.");
  return { caller, sessionId, route, target, maxBuffering, call };
}

/** Refusals that no other token changes: told `UNAUTHORIZED`, clients fetch one and come back. */
const FINAL = new Set<ErrorCode>([
  "disabled_by_operator",
  "key_address_forbidden",
  "key_endpoint_forbidden",
  "key_read_only",
]);

/** Reports a failed handshake once there is a socket, and closes it. */
export function closeWithError(ws: WebSocket, error: TemperaError): ServedSocket {
  const { status } = CATALOGUE[error.code];
  const message = error.code === "store_unavailable" ? CATALOGUE.store_unavailable.message : error.message;
  const unauthorized = (status === 401 || status === 403) && !FINAL.has(error.code);
  sendOrTerminate(ws, unauthorized ? UNAUTHORIZED : errorMessage({ ...errorInfo(error), message }));
  endSocket(ws);
  return { goAway: async () => endSocket(ws) };
}

/** One socket with its session: translates between the frames of the two, and ends both together. */
class RealtimeConnection implements ServedSocket, SessionListener {
  readonly #api: Api;
  readonly #opening: Opening;
  readonly #ws: WebSocket;
  readonly #raw: boolean;
  readonly #session: Session;
  /** Inputs that are decoded and checked. The socket is not read while they wait for that. */
  readonly #inputs: FrameQueue;
  /** Outputs that are written as JSON for callers of text, and messages that come after them. */
  readonly #outputs: FrameQueue;
  /** Inputs that came as JSON text: their outputs are sent as that. */
  readonly #textInputs = new Set<number>();
  readonly #idle: NodeJS.Timeout;
  readonly #lifetime: NodeJS.Timeout;
  readonly #keyCheck: NodeJS.Timeout;

  /** @param counted disposed of when the socket has closed and its session has ended */
  constructor(api: Api, opening: Opening, ws: WebSocket, counted: Disposable) {
    this.#api = api;
    this.#opening = opening;
    this.#ws = ws;
    this.#raw = opening.target.raw;
    this.#inputs = this.#queue({
      onError: (error) => this.#onInputFault(error),
      onWaiting: (isWaiting) => (isWaiting ? ws.pause() : ws.resume()),
    });
    this.#outputs = this.#queue({ onError: (error) => this.#onOutputFault(error) });
    this.#session = openSession(api, specOf(opening), sessionOptions(opening.maxBuffering), this);
    this.#idle = setTimeout(() => this.#onIdle(), api.realtime.idleMs);
    this.#lifetime = setTimeout(() => this.#timeOut(), LIMITS.sessionMs);
    this.#keyCheck = setInterval(() => this.#checkKey(), LIMITS.sessionKeyCheckMs);
    ws.on("message", (data: RawData, isBinary: boolean) => this.#onMessage(data as Buffer, isBinary));
    ws.once("close", () => {
      this.#stop();
      void this.#session.close().finally(() => counted[Symbol.dispose]());
    });
  }

  // fal's clients connect again at the next send after a clean close, and report any other code as an error
  // (contract §5.3).
  goAway(): Promise<void> {
    return this.#end(this.#raw ? 1012 : 1000, "The gateway restarts; connect again.");
  }

  output({ sequence, payload, text }: Frame): void {
    this.#idle.refresh();
    const asJson = !this.#raw && this.#textInputs.has(sequence);
    if (!asJson && !this.#outputs.busy) return void sendOrTerminate(this.#ws, payload, !text);
    if (this.#outputs.bytes + this.#ws.bufferedAmount > LIMITS.socketBacklogBytesMax)
      return void this.#ws.terminate();
    const isHeavy = asJson && payload.length >= LIMITS.frameTurnBytesMin;
    this.#add(this.#outputs, { bytes: payload.length, isHeavy }, () => {
      if (!asJson) return void sendOrTerminate(this.#ws, payload, !text);
      const output = decodeFrame(payload);
      return () => void sendOrTerminate(this.#ws, frameJson(output));
    });
  }

  settled(sequence: number, seconds: number, error: ErrorInfo | undefined): void {
    this.#textInputs.delete(sequence);
    this.#idle.refresh();
    if (error && CATALOGUE[error.code].kind !== "input") this.failed(error);
    else if (error) this.#outputs.after(() => this.#sendError(error));
    else if (!this.#raw) this.#outputs.after(() => sendOrTerminate(this.#ws, timingMessage(seconds)));
  }

  dropped(sequences: number[]): void {
    for (const sequence of sequences) this.#textInputs.delete(sequence);
  }

  resumed(lost: number): void {
    if (!this.#raw) this.#outputs.after(() => sendOrTerminate(this.#ws, resumedMessage(lost)));
  }

  /**
   * Ends the socket with an error: in a message and a clean close, or on a raw socket in the close's code.
   */
  failed(error: ErrorInfo): void {
    this.#outputs.after(() => {
      this.#sendError(error);
      if (this.#raw)
        void this.#end(CATALOGUE[error.code].retryable ? 1013 : 1011, error.message.slice(0, 100));
      else void this.#end();
    });
  }

  #queue(of: Pick<FrameQueueOptions, "onError" | "onWaiting">): FrameQueue {
    const { bodies, turns } = this.#api.budgets;
    const { ownerId } = this.#opening.caller;
    return new FrameQueue({ turns, ownerId, hold: bodies.acquire(ownerId, 0), ...of });
  }

  /** Adds a frame to a queue. Ends the socket when its owner, or all, have too many bytes in memory. */
  #add(queue: FrameQueue, frame: QueuedFrame, work: Piece): void {
    try {
      queue.add(frame, work);
    } catch (error) {
      if (!isTemperaError(error)) throw error;
      void this.#end(1013, error.message);
    }
  }

  #onMessage(bytes: Buffer, isBinary: boolean): void {
    if (this.#ws.readyState !== this.#ws.OPEN) return; // it is closing, and its inputs are ignored
    this.#idle.refresh();
    const isLarge = !this.#raw && bytes.length >= LIMITS.frameTurnBytesMin;
    const isHeavy = isLarge && (!isBinary || isHeavyFrame(bytes));
    this.#add(this.#inputs, { bytes: bytes.length, isHeavy }, () => {
      if (this.#raw) return void this.#session.send(bytes, !isBinary);
      const input = isBinary ? decodeFrame(bytes) : decodeJsonFrame(bytes.toString("utf8"));
      return () => this.#check(input, isBinary);
    });
  }

  #check(frame: FrameObject, isBinary: boolean): Piece | undefined {
    const { route } = this.#opening;
    const checked = isBinary ? checkFrame(route, frame) : checkJson(route, frame as JsonObject);
    if ("faults" in checked) {
      const { message } = CATALOGUE.input_invalid;
      this.#sendError({ code: "input_invalid", message, faults: checked.faults });
      return undefined;
    }
    return () => {
      const sequence = this.#session.send(encodeFrame(checked.input), false);
      if (!isBinary) this.#textInputs.add(sequence);
      return undefined;
    };
  }

  #onInputFault(error: unknown): void {
    if (error instanceof FrameFault) {
      const faults = [{ loc: ["body"], msg: error.message, type: "value_error" }];
      this.#sendError({ code: "input_invalid", message: error.message, faults });
      return;
    }
    const { sessionId } = this.#opening;
    this.#api.log.error({ sessionId, err: error }, "a realtime input failed");
    this.failed({ code: "internal_error", message: CATALOGUE.internal_error.message });
  }

  #onOutputFault(error: unknown): void {
    this.failed({
      code: "runner_incomplete_response",
      message: `The engine's output cannot be read: ${(error as Error).message}`,
    });
  }

  #sendError(error: ErrorInfo): void {
    if (!this.#raw) sendOrTerminate(this.#ws, errorMessage(error));
  }

  #onIdle(): void {
    if (this.#session.busy || this.#inputs.busy || this.#outputs.busy) return void this.#idle.refresh();
    this.#timeOut();
  }

  #timeOut(): void {
    this.#outputs.after(() => {
      if (!this.#raw) sendOrTerminate(this.#ws, TIMEOUT);
      void this.#end(1000, "idle");
    });
  }

  /**
   * Ends the socket when the caller's key was revoked, or no longer permits the session. While the store is
   * away, the next check decides.
   */
  #checkKey(): void {
    const { caller, call, target } = this.#opening;
    const end = (message: string, reason: string): void => {
      if (!this.#raw) sendOrTerminate(this.#ws, message);
      void this.#end(this.#raw ? 1008 : 1000, reason);
    };
    this.#api.keyRing
      .recall(caller.keyId, call)
      .then((known) => {
        if (!known) return end(UNAUTHORIZED, "The key was revoked.");
        assertEndpointPermitted(known, target.endpoint);
      })
      .catch((error) => {
        if (isTemperaError(error) && FINAL.has(error.code))
          end(errorMessage(errorInfo(error)), error.message);
      });
  }

  #end(code?: number, reason?: string): Promise<void> {
    endSocket(this.#ws, code, reason);
    this.#stop();
    return this.#session.close();
  }

  /** Stops the timers and drops the frames that wait. */
  #stop(): void {
    clearTimeout(this.#idle);
    clearTimeout(this.#lifetime);
    clearInterval(this.#keyCheck);
    this.#inputs.close();
    this.#outputs.close();
  }
}

const sessionOptions = (maxBuffering: number | undefined): SessionOptions => ({
  bufferedMax: maxBuffering ?? LIMITS.framesBufferedMax,
  inFlightMax: maxBuffering === undefined ? IN_FLIGHT_MAX : 1,
});

function specOf({ route: { model }, caller, sessionId, target: { path, raw } }: Opening): SessionSpec {
  return {
    sessionId,
    path,
    raw,
    ownerId: caller.ownerId,
    keyId: caller.keyId,
    endpoint: model.endpoint,
    version: model.version,
    modelDigest: model.digest,
    taskQueue: taskQueueOf(model),
    startMs: LIMITS.sessionStartMs,
    sessionMs: LIMITS.sessionMs,
    heartbeatMs: model.timeouts.heartbeatMs,
    pulseMs: LIMITS.sessionPulseMs,
    silenceMs: LIMITS.sessionSilenceMs,
    retry: { ...model.retry, attemptsMax: LIMITS.sessionAttemptsMax },
  };
}
