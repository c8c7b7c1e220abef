import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createMemoryEventLog } from "../adapters/memory/event-log.ts";
import type { EventLog } from "../core/ports/event-log.ts";
import type { Outcome, RequestIdentity } from "../core/request.ts";
import { newRequestId } from "../core/request-id.ts";
import { createFindRequest } from "./find-request.ts";

const CALLER = { ownerId: "ann", keyId: "k", scope: "API" } as const;
const OK: Outcome = { ok: true, output: { inline: { a: 1 } }, metrics: {} };

let now: number;
let events: EventLog;
let recorded: Outcome | undefined;
let asked: string[];
let request: RequestIdentity;
beforeEach(async () => {
  now = 1_000_000;
  events = createMemoryEventLog({ clock: { nowMs: () => now } });
  recorded = undefined;
  asked = [];
  request = { requestId: newRequestId(), ownerId: "ann", endpoint: "a/b", version: "1.0.0", taskQueue: "q", priority: "normal" };
  await events.append(request, { type: "queued", attempt: 0 });
  await events.append(request, { type: "started", attempt: 1, worker: "w" });
});
afterEach(() => events.close());

const find = () =>
  createFindRequest({
    clock: { nowMs: () => now },
    events,
    requests: {
      find: async () => {
        asked.push("requests");
        return recorded && { ...request, keyId: "k", submittedAtMs: 0, attempts: 1, logs: [], outcome: recorded };
      },
    } as never,
    jobs: {
      outcome: async () => {
        asked.push("jobs");
        return undefined;
      },
      describe: async () => undefined,
    } as never,
  });

describe("a request whose end the event log has not heard of", () => {
  it("is found out within seconds, and made known to the log", async () => {
    const findRequest = find();
    recorded = OK;
    expect((await findRequest(CALLER, request.requestId)).state).toBe("IN_PROGRESS");
    expect(asked).toEqual([]);
    now += 11_000;
    expect(await findRequest(CALLER, request.requestId)).toMatchObject({ state: "COMPLETED", outcome: OK });
    expect((await events.outcome(request.requestId))?.outcome).toEqual(OK);
  });

  it("a request that does run costs the other stores one look in ten seconds", async () => {
    const findRequest = find();
    for (let poll = 0; poll < 300; poll++) {
      now += 100;
      expect((await findRequest(CALLER, request.requestId)).state).toBe("IN_PROGRESS");
    }
    expect(asked.length).toBeLessThanOrEqual(6);
  });
});
