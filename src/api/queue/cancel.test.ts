/** The cancel of a request while PostgreSQL and the event log are away. */
import { Hono } from "hono";
import { expect, it } from "vitest";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { JobDescription } from "../../core/requests/jobs.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { answerError } from "../http/answer-error.ts";
import { createCancel } from "./cancel.ts";

const REQUEST_ID = "019a1b2c-0000-7000-8000-000000000000";
const RUNNING = {
  requestId: REQUEST_ID,
  ownerId: "ann",
  endpoint: "a/b",
  version: "1.0.0",
  taskQueue: "q",
  priority: "normal",
  state: "IN_PROGRESS",
  attempt: 1,
} as unknown as JobDescription;

/** Cancels a request that Temporal alone can be asked about. */
async function cancelWith(job: JobDescription | undefined): Promise<[number, unknown, string[]]> {
  const cancelled: string[] = [];
  const away = () => Promise.reject(new TemperaError("store_unavailable"));
  const log = { warn: () => {}, error: () => {}, debug: () => {} } as never;
  const cancel = createCancel({
    clock: { nowMs: () => 0 },
    keyRing: { authenticate: async () => ({ ownerId: "ann" }) },
    events: { snapshot: away, outcome: away, announceCancel: away },
    requests: { find: away },
    jobs: {
      describe: async () => job,
      outcome: async () => undefined,
      cancel: async (id: string) => {
        cancelled.push(id);
        return "requested";
      },
    },
  } as unknown as ApiDependencies);
  const app = new Hono()
    .put("/", (c) => cancel(c, { endpoint: "a/b", requestId: REQUEST_ID, action: "cancel" } as never))
    .onError((error, c) => answerError(c, error, { log, action: "cancel" }));
  const answer = await app.request("/", { method: "PUT" });
  return [answer.status, await answer.json(), cancelled];
}

it("202: Temporal runs the job", async () =>
  expect(await cancelWith(RUNNING)).toEqual([202, { status: "CANCELLATION_REQUESTED" }, [REQUEST_ID]]));

it("404: another owner's", async () =>
  expect(await cancelWith({ ...RUNNING, ownerId: "bob" })).toEqual([404, { status: "NOT_FOUND" }, []]));

it.each([
  ["its end is being recorded", { ...RUNNING, recording: true } as JobDescription],
  ["Temporal does not know it", undefined],
])("503: %s", async (_name, job) => {
  const [status, , cancelled] = await cancelWith(job);
  expect([status, cancelled]).toEqual([503, []]);
});
