import { expect, it } from "vitest";
import { addPayloadVerbs } from "./payloads.ts";

it("deletes the bytes of a request, but none that another one names", async () => {
  const deleted: string[] = [];
  const erased: string[] = [];
  const job = { input: { ref: "inputs/first.json" } };
  const outcome = { ok: true, output: { ref: "outcomes/first.json" }, metrics: {} };
  const nothing = async (): Promise<undefined> => undefined;
  const api = {
    requests: { find: async () => ({ requestId: "first", ownerId: "o", endpoint: "a/b", outcome }) },
    deliveries: { find: nothing },
    requestSearch: {
      payloads: async () => new Map([["first", { job, outcome }]]),
      // A dead letter that is tried again has the same input.
      keysElsewhere: async (keys: string[], requestId: string) => {
        expect([keys, requestId]).toEqual([["inputs/first.json", "outcomes/first.json"], "first"]);
        return new Set(["inputs/first.json"]);
      },
      erasePayloads: async (requestId: string) => void erased.push(requestId),
    },
    objects: { head: nothing, delete: async (key: string) => void deleted.push(key) },
    nodeResults: { forgetMadeBy: nothing },
    events: { drop: nothing },
    jobs: { forget: nothing },
  };
  let handle: (asked: object) => Promise<unknown> = nothing;
  addPayloadVerbs(
    ((_: object, given: typeof handle) => {
      handle = given;
    }) as never,
    api as never,
  );
  await handle({ params: { request_id: "first" }, change: (_: object, make: () => Promise<unknown>) => make() });
  expect(deleted).toEqual(["outcomes/first.json"]);
  expect(erased).toEqual(["first"]);
});
