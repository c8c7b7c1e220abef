import type { IncomingMessage } from "node:http";
import type { RawData, WebSocket } from "ws";
import { appOf } from "../../core/models/endpoint.ts";
import { CATALOGUE } from "../../core/errors/catalogue.ts";
import { type ErrorInfo, errorInfo, isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import type { JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import { type ModelVersion, taskQueueOf } from "../../core/models/model.ts";
import { newRequestId } from "../../core/requests/request-id.ts";
import type { SessionSpec } from "../../core/requests/session.ts";
import { decodeFrame, decodeJsonFrame, encodeFrame, FrameFault, frameJson } from "../../fal/msgpack.ts";
import {
  errorMessage,
  type RealtimePlace,
  readMaxBuffering,
  realtimePlace,
  resumedMessage,
  type SocketAddress,
  TIMEOUT,
  timingMessage,
  UNAUTHORIZED,
} from "../../fal/realtime.ts";
import type { ModelRoute } from "../../registry/registry.ts";
import type { ApiDependencies } from "../dependencies.ts";
import type { Caller } from "../auth/key-ring.ts";
import { refuseBehaviourOff, refuseOff } from "../requests/caller-route.ts";
import { createInFlight } from "../run/in-flight.ts";
import type { ByteBudget } from "./byte-budget.ts";
import { checkFrame, checkJson } from "./frame-check.ts";
import { openSession } from "./session.ts";
import { endSocket, type ServedSocket, sendOn } from "./socket-end.ts";
import { callerOfToken } from "../auth/token-caller.ts";

type Api = Pick<
  ApiDependencies,
  "registry" | "flags" | "keyRing" | "tokens" | "sessions" | "frames" | "clock" | "log" | "realtime"
> & {
  /** What waits in all sockets of the gateway. */
  inputs: ByteBudget;
};

/**
 * Inputs with the GPU worker at once: enough to hide the way there, few enough to lose. One when the caller
 * counts them itself.
 */
const IN_FLIGHT_MAX = 4;

interface Opening {
  caller: Caller;
  sessionId: string;
  route: ModelRoute;
  place: RealtimePlace;
  maxBuffering: number | undefined;
}

/**
 * Serves a realtime socket (contract §5.1-5.4). Whoever may not have one gets it all the same, with a message
 * and a close, because browsers do not tell a script why an upgrade failed.
 *
 * - `/{id}/realtime` and custom paths: an input is a msgpack object or text JSON; its outputs come back in the same form. A bad
 *   input is an `x-fal-error`, and the socket stays; an engine's failure is `INTERNAL_ERROR`, then the socket closes.
 * - `/{id}`: a raw socket, frames go to the engine and come back as they are.
 */
export const createRealtimeSocket = (api: Api) => {
  const sessions = createInFlight(
    () => api.realtime.sessionsMax,
    "realtime sessions open",
    "Close one first.",
  );

  const refusal = (error: unknown) => {
    if (!isTemperaError(error)) throw error;
    return (ws: WebSocket): ServedSocket => turnAway(ws, error);
  };

  return async (
    address: SocketAddress,
    request: IncomingMessage,
  ): Promise<(ws: WebSocket) => ServedSocket> => {
    try {
      const opening = await open(api, address, request);
      return (ws) => {
        try {
          // Counted only here, where there is a socket whose close gives the place back.
          return serve(api, opening, ws, sessions.take(opening.caller.ownerId));
        } catch (error) {
          return refusal(error)(ws);
        }
      };
    } catch (error) {
      return refusal(error);
    }
  };
};

/** Who → may they → is it right. */
async function open(
  api: Api,
  { path, query }: SocketAddress,
  { headers }: IncomingMessage,
): Promise<Opening> {
  const token = query.get("fal_jwt_token");
  const caller = token
    ? await callerOfToken(api, token, path)
    : await api.keyRing.authenticate(headers.authorization, appOf(path));
  const place = realtimePlace(path, (endpoint) => api.registry.route(endpoint) !== undefined);
  const sessionId = newRequestId();
  const route = place && api.registry.route(place.endpoint, sessionId);
  if (!place || !route)
    throw new TemperaError("endpoint_unknown", `Application "${appOf(path).split("/").at(-1)}" not found`);
  if (!route.model?.realtime)
    throw new TemperaError(
      "realtime_unsupported",
      `The model ${place.endpoint} has no realtime sessions; call it on the queue.`,
    );
  refuseOff(api.flags, route, caller.ownerId);
  refuseBehaviourOff(api.flags, "realtime", caller.ownerId, "Call the model on the queue.");
  const maxBuffering = readMaxBuffering(query.get("max_buffering"));
  if (maxBuffering === "invalid")
    throw new TemperaError("realtime_query_invalid", "max_buffering is a whole number from 1 to 60.");
  return { caller, sessionId, route, place, maxBuffering };
}

/** What a failed handshake says, once the caller can hear it. */
function turnAway(ws: WebSocket, error: TemperaError): ServedSocket {
  const { status } = CATALOGUE[error.code];
  const message = error.code === "store_unavailable" ? CATALOGUE.store_unavailable.says : error.message;
  // Another key or token would not help where an operator has switched something off.
  const unauthorized = (status === 401 || status === 403) && error.code !== "switched_off";
  sendOn(ws, unauthorized ? UNAUTHORIZED : errorMessage({ ...errorInfo(error), message }));
  endSocket(ws);
  return { goAway: async () => endSocket(ws) };
}

function serve(
  api: Api,
  { caller, sessionId, route, place: { path, raw }, maxBuffering }: Opening,
  ws: WebSocket,
  held: Disposable,
): ServedSocket {
  const { model } = route;
  /** Inputs that came as text JSON: their outputs go back as that. */
  const asText = new Set<number>();

  const end = (code?: number, reason?: string): Promise<void> => {
    clearTimeout(idle);
    clearTimeout(lifetime);
    clearInterval(checking);
    endSocket(ws, code, reason);
    return session.close();
  };
  const sayError = (error: ErrorInfo): void => {
    if (!raw) sendOn(ws, errorMessage(error));
  };
  /**
   * The end after an error: the message has said why, so a framed socket closes cleanly; a raw one has only
   * its code.
   */
  const fail = (error: ErrorInfo): void => {
    sayError(error);
    if (raw) void end(CATALOGUE[error.code].retryable ? 1013 : 1011, error.message.slice(0, 100));
    else void end();
  };
  const timeOut = (): void => {
    if (!raw) sendOn(ws, TIMEOUT);
    void end(1000, "idle");
  };

  const session = openSession(
    api,
    specOf(model, caller, { sessionId, path, raw }),
    {
      bufferedMax: maxBuffering ?? LIMITS.framesBufferedMax,
      inFlightMax: maxBuffering === undefined ? IN_FLIGHT_MAX : 1,
    },
    {
      output({ sequence, payload, text }) {
        idle.refresh();
        if (raw || !asText.has(sequence)) {
          sendOn(ws, payload, !text);
          return;
        }
        try {
          sendOn(ws, frameJson(decodeFrame(payload)));
        } catch (error) {
          fail({
            code: "runner_incomplete_response",
            message: `The engine's output cannot be read: ${(error as Error).message}`,
          });
        }
      },
      settled(sequence, seconds, error) {
        asText.delete(sequence);
        idle.refresh();
        if (error && CATALOGUE[error.code].kind !== "input") fail(error);
        else if (error) sayError(error);
        else if (!raw) sendOn(ws, timingMessage(seconds));
      },
      dropped(sequences) {
        for (const sequence of sequences) asText.delete(sequence);
      },
      resumed(lost) {
        if (!raw) sendOn(ws, resumedMessage(lost));
      },
      failed: fail,
    },
  );

  const idle: NodeJS.Timeout = setTimeout(() => {
    if (session.busy) return void idle.refresh();
    timeOut();
  }, api.realtime.idleMs);
  const lifetime = setTimeout(timeOut, LIMITS.sessionMs);
  const checking = setInterval(() => {
    api.keyRing.recall(caller.keyId).then(
      (known) => {
        if (known) return;
        if (!raw) sendOn(ws, UNAUTHORIZED);
        void end(raw ? 1008 : 1000, "The key was revoked.");
      },
      () => {}, // The store is away: looked at again next time.
    );
  }, LIMITS.sessionKeyCheckMs);

  ws.on("message", (data: RawData, isBinary: boolean) => {
    idle.refresh();
    const bytes = data as Buffer;
    if (raw) return void session.send(bytes, !isBinary);
    try {
      const checked = isBinary
        ? checkFrame(route, decodeFrame(bytes))
        : checkJson(route, decodeJsonFrame(bytes.toString("utf8")) as JsonObject);
      if ("faults" in checked)
        return sayError({
          code: "input_invalid",
          message: CATALOGUE.input_invalid.says,
          faults: checked.faults,
        });
      const payload = encodeFrame(checked.input);
      const sequence = session.send(payload, false);
      if (!isBinary) asText.add(sequence);
    } catch (error) {
      if (!(error instanceof FrameFault)) throw error;
      sayError({
        code: "input_invalid",
        message: error.message,
        faults: [{ loc: ["body"], msg: error.message, type: "value_error" }],
      });
    }
  });
  ws.once("close", () => {
    clearTimeout(idle);
    clearTimeout(lifetime);
    clearInterval(checking);
    void session.close().finally(() => held[Symbol.dispose]());
  });
  // fal's clients connect again at the next send after a clean close, and report any other code as an error
  // (contract §5.3).
  return { goAway: () => end(raw ? 1012 : 1000, "The gateway restarts; connect again.") };
}

const specOf = (
  model: ModelVersion,
  { ownerId, keyId }: Caller,
  place: Pick<SessionSpec, "sessionId" | "path" | "raw">,
): SessionSpec => ({
  ...place,
  ownerId,
  keyId,
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
});
