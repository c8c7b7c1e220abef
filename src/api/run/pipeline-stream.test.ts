import { describe, expect, it } from "vitest";
import type { RequestEvent } from "../../core/requests/events.ts";
import type { RequestRecord } from "../../core/requests/request-store.ts";
import { createPipelineStream } from "./pipeline-stream.ts";

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

/** Lists the lines of a stream of these events, given these records of nodes and these events sent before. */
async function linesOf(
  events: RequestEvent[],
  records: RequestRecord[],
  sent: RequestEvent[] = [],
): Promise<string[]> {
  const requests = { nodes: async () => records };
  const stream = createPipelineStream({ objects: {}, requests } as never, "p");
  for (const event of sent) stream.markSent(event);
  const lines: string[] = [];
  for (const event of events)
    for await (const body of stream.translate(event))
      lines.push([body.type, body.node_id].filter(Boolean).join(" "));
  return lines;
}

describe("a pipeline's stream", () => {
  it("shows each node once, and the output last", async () => {
    expect(await linesOf([submitted("a"), completed("a"), done], [record("a")])).toEqual([
      "submit a",
      "completion a",
      "output",
    ]);
  });

  it("shows an event once that its log has twice", async () => {
    const twice = [submitted("a"), submitted("a"), completed("a"), submitted("a"), completed("a"), done];
    expect(await linesOf(twice, [])).toEqual(["submit a", "completion a", "output"]);
  });

  it("shows a node's submit before its completion, even when the log has lost it", async () => {
    expect(await linesOf([completed("a"), done], [])).toEqual(["submit a", "completion a", "output"]);
  });

  it("adds the nodes that the event log has lost, before the end", async () => {
    expect(await linesOf([submitted("a"), done], [record("a"), record("b"), record("c", false)])).toEqual([
      "submit a",
      "completion a",
      "submit b",
      "completion b",
      "output",
    ]);
  });

  it("does not repeat events for a caller who returned", async () => {
    expect(
      await linesOf(
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
    for await (const body of createPipelineStream({ objects: {}, requests } as never, "p").translate(failed))
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
