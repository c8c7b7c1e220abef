import type { Context } from "hono";
import { newRequestId } from "../../core/requests/request-id.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { answerJson } from "./answer-json.ts";

/**
 * Answers the readiness probe: 200 when Temporal answers, so that submits can be accepted, and 503 otherwise.
 * Names the state of the other services too; without one of them the gateway degrades, but does not stop.
 */
export function createReady(api: Pick<ApiDependencies, "jobs" | "events" | "requests" | "objects">) {
  return async (c: Context): Promise<Response> => {
    const probe = newRequestId();
    const state = async (check: Promise<unknown>): Promise<"ok" | "away"> =>
      check.then(
        () => "ok" as const,
        () => "away" as const,
      );
    const [temporal, eventLog, postgres, objectStore] = await Promise.all([
      state(api.jobs.describe(probe)),
      state(api.events.snapshot(probe)),
      state(api.requests.find(probe)),
      state(api.objects.head(`artifacts/${probe}`)),
    ]);
    const services = { temporal, event_log: eventLog, postgres, object_store: objectStore };
    return answerJson(
      c,
      { status: temporal === "ok" ? "ready" : "unready", services },
      temporal === "ok" ? 200 : 503,
    );
  };
}
