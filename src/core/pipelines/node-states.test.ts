import { expect, it } from "vitest";
import type { LoggedEvent, RequestEvent } from "../requests/events.ts";
import type { JobSpec } from "../requests/job.ts";
import type { Outcome } from "../requests/request.ts";
import { nodesOfEvents, nodesOfRecords } from "./node-states.ts";

const logged = (events: RequestEvent[]): LoggedEvent[] =>
  events.map((event, index) => ({ id: `${index}-0`, atMs: index, event }));
const about = (node: string) => ({
  type: "node" as const,
  attempt: 1,
  node,
  endpoint: `t/${node}`,
  requestId: `id-${node}`,
});
const error = { code: "internal_error", message: "no" } as const;
const EXPECTED = [
  { node: "b", endpoint: "t/b", requestId: "id-b", ended: true, cache: "hit" },
  { node: "a", endpoint: "t/a", requestId: "id-a", ended: true, error },
  { node: "c", endpoint: "t/c", requestId: "id-c", ended: false },
];

it("nodesOfEvents lists nodes in the order of their begin, each in its last state", () => {
  const events = logged([
    { type: "queued", attempt: 0 },
    { ...about("b"), change: "submitted" },
    { ...about("a"), change: "submitted" },
    { ...about("a"), change: "failed", error },
    { ...about("b"), change: "completed", output: { inline: {} }, cache: "hit", nodes: { done: 1, of: 3 } },
    { ...about("c"), change: "submitted" },
  ]);
  expect(nodesOfEvents(events)).toEqual(EXPECTED);
});

it("nodesOfRecords computes the same from the records", () => {
  const run = (id: string, outcome?: Outcome) => ({
    job: { requestId: `id-${id}`, endpoint: `t/${id}`, node: { pipelineId: "p", id } } as JobSpec,
    ...(outcome && { outcome }),
  });
  const records = [
    run("b", { ok: true, output: { inline: {} }, metrics: {}, cache: "hit" }),
    run("a", { ok: false, error, metrics: {} }),
    run("c"),
  ];
  expect(nodesOfRecords(records)).toEqual(EXPECTED);
});
