import { describe, expect, it } from "vitest";
import type { RequestEvent } from "../../core/requests/events.ts";
import type { RequestRecord } from "../../core/requests/request-store.ts";
import { createPipelineTeller } from "./pipeline-stream.ts";

const node = (id: string) => ({
  type: "node" as const,
  attempt: 1,
  node: id,
  endpoint: "a/b",
  requestId: `r-${id}`,
});
const submitted = (id: string): RequestEvent => ({ ...node(id), change: "submitted" });
const completed = (id: string): RequestEvent => ({
  ...node(id),
  change: "completed",
  output: { inline: { of: id } },
  cache: "miss",
  nodes: { done: 1, of: 3 },
});
const done: RequestEvent = {
  type: "done",
  outcome: { ok: true, output: { inline: { all: true } }, metrics: {} },
};

const record = (id: string, ok = true) =>
  ({
    requestId: `r-${id}`,
    endpoint: "a/b",
    node: { pipelineId: "p", id },
    outcome: ok
      ? { ok, output: { inline: { of: id } }, metrics: {} }
      : { ok, error: { code: "internal_error", message: "" }, metrics: {} },
  }) as unknown as RequestRecord;

/** What a stream tells of these events, when the records of nodes are these. */
async function told(
  events: RequestEvent[],
  records: RequestRecord[],
  known: RequestEvent[] = [],
): Promise<string[]> {
  const requests = { nodes: async () => records };
  const teller = createPipelineTeller({ objects: {}, requests } as never, "p");
  for (const event of known) teller.known(event);
  const lines: string[] = [];
  for (const event of events)
    for await (const body of teller.tell(event))
      lines.push([body.type, body.node_id].filter(Boolean).join(" "));
  return lines;
}

describe("a pipeline's stream", () => {
  it("tells of each node once, and of the output last", async () => {
    expect(await told([submitted("a"), completed("a"), done], [record("a")])).toEqual([
      "submit a",
      "completion a",
      "output",
    ]);
  });

  it("says nothing twice that its log says twice", async () => {
    const twice = [submitted("a"), submitted("a"), completed("a"), submitted("a"), completed("a"), done];
    expect(await told(twice, [])).toEqual(["submit a", "completion a", "output"]);
  });

  it("tells of a node's submit before its completion, though the log has lost it", async () => {
    expect(await told([completed("a"), done], [])).toEqual(["submit a", "completion a", "output"]);
  });

  it("makes good what the event log has lost, before the end", async () => {
    expect(await told([submitted("a"), done], [record("a"), record("b"), record("c", false)])).toEqual([
      "submit a",
      "completion a",
      "submit b",
      "completion b",
      "output",
    ]);
  });

  it("of a caller who came back does not repeat what it was told", async () => {
    expect(
      await told(
        [completed("b"), done],
        [record("a"), record("b")],
        [submitted("a"), completed("a"), submitted("b")],
      ),
    ).toEqual(["completion b", "output"]);
  });

  it("ends with one error, the failing node's status and body in it", async () => {
    const failed: RequestEvent = {
      type: "done",
      outcome: {
        ok: false,
        node: "b",
        error: { code: "runner_server_error", message: "It broke." },
        metrics: {},
      },
    };
    const requests = { nodes: async () => [] };
    const bodies: unknown[] = [];
    for await (const body of createPipelineTeller({ objects: {}, requests } as never, "p").tell(failed))
      bodies.push(body);
    expect(bodies).toEqual([
      {
        type: "error",
        node_id: "b",
        message: "It broke.",
        error: { status: 500, body: { detail: "It broke.", error_type: "runner_server_error" } },
      },
    ]);
  });
});
