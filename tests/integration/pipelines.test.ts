/** Pipelines on a platform of their own: what callers see of them and of their nodes. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createJobs } from "../../src/adapters/temporal/jobs.ts";
import { pipelineJob } from "../../src/api/pipelines/pipeline-job.ts";
import { openRegistry } from "../../src/bin/open-registry.ts";
import { inputHash } from "../../src/core/json/input-hash.ts";
import type { JsonObject } from "../../src/core/json/json.ts";
import { systemClock } from "../../src/core/operations/clock.ts";
import type { PipelinePart, PipelineVersion, ReusedNode } from "../../src/core/pipelines/pipeline.ts";
import type { JobSpec } from "../../src/core/requests/job.ts";
import { isRequestId } from "../../src/core/requests/request.ts";
import { newRequestId } from "../../src/core/requests/request-id.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const STUB = "tempera/stub";
const PIPELINE = "tempera/stub-pipeline";
let test: TestPlatform;
beforeAll(async () => {
  test = await startTestPlatform({
    TEMPERA_WORKER_MODELS: STUB,
    TEMPERA_ALLOW_PRIVATE_ADDRESSES: "127.0.0.0/8",
  });
});
afterAll(() => test[Symbol.asyncDispose]());

type Body = Record<string, unknown>;
type StreamEvent = {
  type: string;
  node_id?: string;
  request_id?: string;
  output?: Body;
  error?: { status: number; body: Body };
};

const json = async (response: Promise<Response> | Response): Promise<Body> =>
  (await (await response).json()) as Body;
const post = (path: string, input: unknown, headers: Record<string, string> = {}): Promise<Response> =>
  test.call(path, {
    method: "POST",
    body: JSON.stringify(input),
    headers: { "content-type": "application/json", ...headers },
  });
const submit = async (
  stages: unknown[][],
  query = "",
  headers: Record<string, string> = {},
): Promise<string> =>
  (await json(post(`/queue/${PIPELINE}${query}`, { stages }, headers))).request_id as string;
const at = (id: string, rest = "", endpoint = PIPELINE): string => `/queue/${endpoint}/requests/${id}${rest}`;
const finished = async (id: string, endpoint = PIPELINE): Promise<void> => {
  for await (const status of test.client.follow(endpoint, id)) if (status.status === "COMPLETED") return;
};
const logLines = async (id: string): Promise<string[]> =>
  ((await json(test.call(at(id, "/status?logs=1")))).logs as { message: string }[] | null)?.map(
    ({ message }) => message,
  ) ?? [];

/** Reads the request ids of a pipeline's nodes from its log, by node, once there are `count` of them. */
async function nodeIds(id: string, count: number): Promise<Map<string, string>> {
  for (;;) {
    const named = (await logLines(id)).flatMap((line) => [
      ...line.matchAll(/^Node (\S+): \S+, request (\S+)\.$/g),
    ]);
    if (named.length >= count)
      return new Map(named.map(([, node = "", requestId = ""]) => [node, requestId]));
  }
}

async function* streamed(input: unknown): AsyncGenerator<StreamEvent> {
  const response = await post(`/run/${PIPELINE}/stream`, input);
  expect(response.status).toBe(200);
  let text = "";
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    text += Buffer.from(chunk).toString();
    const parts = text.split("\n\n");
    text = parts.pop() ?? "";
    for (const part of parts) {
      const data = part.split("\n").find((line) => line.startsWith("data:"));
      if (data) yield JSON.parse(data.slice(5)) as StreamEvent;
    }
  }
}

describe("a pipeline that succeeds", () => {
  it("answers its output, stage after stage, on queue and run", async () => {
    const stages = [[{ prompt: "a" }], [{ prompt: "b" }, { prompt: "c" }]];
    const expected = { stages: [[{ echo: "a" }], [{ echo: "b" }, { echo: "c" }]] };
    const run = await post(`/run/${PIPELINE}`, { stages });
    expect(run.status).toBe(200);
    expect(await json(run)).toMatchObject(expected);

    const id = await submit(stages);
    await finished(id);
    expect(await json(test.call(at(id)))).toMatchObject(expected);
    const status = await json(test.call(at(id, "/status")));
    expect(status).toMatchObject({ status: "COMPLETED" });
  });

  it("makes each node a request of its own, on the queue API and under the pipeline's record", async () => {
    const id = await submit([[{ prompt: "a" }], [{ prompt: "b" }]]);
    await finished(id);
    const nodes = await nodeIds(id, 2);
    expect([...nodes.keys()]).toEqual(["stage-1-1", "stage-2-1"]);
    for (const [node, requestId] of nodes) {
      expect(isRequestId(requestId)).toBe(true);
      expect(await json(test.call(at(requestId, "/status", STUB)))).toMatchObject({ status: "COMPLETED" });
      expect(await json(test.call(at(requestId, "", STUB)))).toMatchObject({
        echo: node === "stage-1-1" ? "a" : "b",
        attempt: 1,
      });
      const record = await test.record(requestId);
      expect(record).toMatchObject({ endpoint: STUB, node: { pipelineId: id, id: node }, attempts: 1 });
    }
  });

  it("streams submit and then completion of each node, then one output", async () => {
    const events: StreamEvent[] = [];
    for await (const event of streamed({ stages: [[{ prompt: "a" }, { prompt: "b" }], [{ prompt: "c" }]] }))
      events.push(event);
    const lines = events.map(({ type, node_id }) => (node_id ? `${type} ${node_id}` : type));
    for (const node of ["stage-1-1", "stage-1-2", "stage-2-1"]) {
      expect(lines.filter((line) => line === `submit ${node}`)).toHaveLength(1);
      expect(lines.indexOf(`submit ${node}`)).toBeLessThan(lines.indexOf(`completion ${node}`));
    }
    expect(lines.indexOf("completion stage-1-1")).toBeLessThan(lines.indexOf("submit stage-2-1"));
    expect(lines.at(-1)).toBe("output");
    expect(lines.filter((line) => line === "output")).toHaveLength(1);
    expect(events.at(-1)?.output).toMatchObject({
      stages: [[{ echo: "a" }, { echo: "b" }], [{ echo: "c" }]],
    });
    expect(events.find(({ type }) => type === "completion")?.output).toMatchObject({
      echo: expect.any(String),
    });
  });

  it("carries values that are too big for Temporal from node to caller", async () => {
    const payload = "x".repeat(100_000);
    const output = await json(post(`/run/${PIPELINE}`, { stages: [[{ payload }], [{ payload }]] }));
    expect(output).toMatchObject({ stages: [[{ echo: payload }], [{ echo: payload }]] });
  });

  it("calls a pipeline as a node: a workflow of its own, with nodes of its own", async () => {
    const id = await submit([[{ stages: [[{ prompt: "inner" }]] }, { prompt: "outer" }]]);
    await finished(id);
    expect(await json(test.call(at(id)))).toMatchObject({
      stages: [[{ stages: [[{ echo: "inner" }]] }, { echo: "outer" }]],
    });
    const inner = (await nodeIds(id, 2)).get("stage-1-1") as string;
    expect(await test.record(inner)).toMatchObject({
      endpoint: PIPELINE,
      node: { pipelineId: id, id: "stage-1-1" },
    });
    await expect.poll(() => test.workflow(inner)).toBe("COMPLETED");
    expect((await nodeIds(inner, 1)).size).toBe(1);
  });

  it("retries a node that fails once", async () => {
    const id = await submit([[{ prompt: "a" }], [{ fail: "crash", fail_attempts: 1, prompt: "b" }]]);
    await finished(id);
    expect(await json(test.call(at(id)))).toMatchObject({
      stages: [[{ echo: "a", attempt: 1 }], [{ echo: "b", attempt: 2 }]],
    });
  });
});

describe("a pipeline that fails", () => {
  it("ends with its node's status and body and begins no more; finished nodes keep results", async () => {
    const id = await submit([[{ prompt: "kept" }], [{ fail: "invalid" }], [{ prompt: "never" }]]);
    await finished(id);
    const answer = await test.call(at(id));
    expect(answer.status).toBe(422);
    const nodes = await nodeIds(id, 2);
    expect([...nodes.keys()]).toEqual(["stage-1-1", "stage-2-1"]);
    const failed = await test.call(at(nodes.get("stage-2-1") as string, "", STUB));
    expect(failed.status).toBe(422);
    const [fault] = (await json(failed)).detail as { msg: string }[];
    const msg = `Node stage-2-1 (${STUB}): ${fault?.msg}`;
    const ctx = { node: "stage-2-1", endpoint: STUB };
    expect(await json(answer)).toEqual({ detail: [{ ...fault, msg, ctx }] });
    expect(await json(test.call(at(nodes.get("stage-1-1") as string, "", STUB)))).toMatchObject({
      echo: "kept",
    });
    expect((await test.record(id))?.outcome).toMatchObject({ ok: false, node: "stage-2-1" });
  });

  it("ends its stream with the node's error", async () => {
    const events: StreamEvent[] = [];
    for await (const event of streamed({ stages: [[{ fail: "error" }]] })) events.push(event);
    expect(events.map(({ type }) => type)).toEqual(["submit", "error"]);
    expect(events[1]).toMatchObject({
      node_id: "stage-1-1",
      error: { status: 500, body: { error_type: "runner_server_error" } },
    });
  });

  it("refuses an input that does not fit the node's model with 422, without an engine", async () => {
    const id = await submit([[{ steps: "many", delay_ms: -1 }]]);
    await finished(id);
    const answer = await test.call(at(id));
    expect(answer.status).toBe(422);
    const { detail } = (await json(answer)) as { detail: { loc: string[] }[] };
    expect(detail.map(({ loc }) => loc.at(-1)).sort()).toEqual(["delay_ms", "steps"]);
    expect((await test.record(id))?.outcome?.metrics.inference_time).toBe(0);
  });

  it("cancels the nodes that still run, and records them as cancelled", async () => {
    const id = await submit([
      [
        { delay_ms: 60_000, steps: 600 },
        { fail: "error", delay_ms: 300 },
      ],
    ]);
    await finished(id);
    expect((await test.call(at(id))).status).toBe(500);
    const nodes = await nodeIds(id, 2);
    expect((await test.record(nodes.get("stage-1-1") as string))?.outcome).toMatchObject({
      error: { code: "client_cancelled" },
    });
  });

  it("shows its author the file and line of an error of its own code, in Temporal", async () => {
    const id = ((await json(post(`/queue/${PIPELINE}`, { stages: [], throws: "broken" }))) as Body)
      .request_id;
    await finished(id as string);
    const answer = await test.call(at(id as string));
    expect([answer.status, JSON.stringify(await answer.json())]).toEqual([
      500,
      expect.stringMatching(/The pipeline's own code failed: broken(?!.*stub-pipeline\.ts)/),
    ]);
    const failure = await test.temporal.workflow
      .getHandle(id as string)
      .result()
      .catch((error) => error.cause.cause);
    expect(failure).toMatchObject({
      message: "broken",
      stack: expect.stringMatching(/stub-pipeline\.ts:\d+:\d+/),
    });
  });

  it("fails with the failure of a nested pipeline, with the inner node's body", async () => {
    const id = await submit([[{ stages: [[{ fail: "model", error_type: "internal_server_error" }]] }]]);
    await finished(id);
    const answer = await test.call(at(id));
    expect(answer.status).toBe(500);
    expect((await json(answer)).detail).toMatchObject([{ type: "internal_server_error" }]);
    expect((await test.record(id))?.outcome).toMatchObject({ node: "stage-1-1" });
  });

  it("checks a nested pipeline's input as that of a submit", async () => {
    const id = await submit([[{ stages: "none" as never }]]);
    await finished(id);
    const answer = await test.call(at(id));
    expect(answer.status).toBe(422);
    expect((await json(answer)).detail).toMatchObject([{ loc: ["body", "stages"] }]);
  });

  it("leaves one dead letter when a node's attempts are used up, and is retried as a whole", async () => {
    const id = await submit([[{ prompt: "a" }], [{ fail: "crash" }]], "", { "x-fal-no-retry": "1" });
    await finished(id);
    await test.record(id);
    const letters = (await test.deadLetters()).filter(
      ({ endpoint }) => endpoint === PIPELINE || endpoint === STUB,
    );
    expect(letters.map(({ requestId }) => requestId)).toEqual([id]);

    const authorization = `Key ${test.platform.key}`;
    const retry = await fetch(`${test.platform.adminUrl}/v1/dead-letters/${id}/retry`, {
      method: "POST",
      headers: { authorization },
    });
    const again = (await json(retry)).request_id as string;
    await finished(again);
    expect((await test.call(at(again))).status).toBe(503);
    expect([...(await nodeIds(again, 2)).keys()]).toEqual(["stage-1-1", "stage-2-1"]);
  });
});

describe("payload deletion", () => {
  it("of a pipeline deletes the inputs, outputs and files of its nodes too", async () => {
    const id = await submit([[{ prompt: "a secret", artifact_bytes: 700, seed: 70_001 }]]);
    await finished(id);
    await test.record(id);
    const node = (await nodeIds(id, 1)).get("stage-1-1") as string;
    await test.record(node);
    const authorization = `Key ${test.platform.key}`;
    const erase = async (): Promise<Body> =>
      json(
        await fetch(`${test.platform.adminUrl}/v1/models/requests/${id}/payloads`, {
          method: "DELETE",
          headers: { authorization },
        }),
      );
    const [deleted, ...more] = (await erase()).cdn_delete_results as {
      link: string;
      exception: string | null;
    }[];
    expect({ exception: deleted?.exception, more }).toEqual({ exception: null, more: [] });
    expect((await fetch(deleted?.link as string)).status).toBe(404);
    for (const each of [id, node]) expect(JSON.stringify(await test.record(each))).not.toContain("secret");
    expect((await test.call(at(id))).status).toBe(404);
    expect(await erase()).toEqual({ cdn_delete_results: [] });
  });
});

describe("limits", () => {
  it("end more than 500 nodes with pipeline_limit and its reason", async () => {
    const id = await submit([Array.from({ length: 501 }, () => ({}))]);
    await finished(id);
    const answer = await test.call(at(id));
    expect(answer.status).toBe(400);
    const body = await json(answer);
    expect(body.error_type).toBe("pipeline_limit");
    expect(body.detail).toContain("500 nodes");
  });

  it("end a pipeline that calls itself at a depth of 8", async () => {
    const nest = (depth: number): Body =>
      depth === 0 ? { prompt: "bottom" } : { stages: [[nest(depth - 1)]] };
    const deep = await submit([[nest(8)]]);
    const fits = await submit([[nest(7)]]);
    await finished(deep);
    expect(await json(test.call(at(deep)))).toMatchObject({
      error_type: "pipeline_limit",
      detail: expect.stringContaining("8 deep"),
    });
    await finished(fits);
    expect((await test.call(at(fits))).status).toBe(200);
  });

  it("refuse an input that is too large for a workflow at submit, with the remedy", async () => {
    const answer = await post(`/queue/${PIPELINE}`, {
      stages: [[{ payload: Array.from({ length: 500 }, () => "x".repeat(1_000)) }]],
    });
    expect(answer.status).toBe(400);
    expect(await json(answer)).toMatchObject({
      error_type: "pipeline_limit",
      detail: expect.stringContaining("upload large files"),
    });
  });

  it("refuse an invalid input at submit, and nothing is queued", async () => {
    expect((await post(`/queue/${PIPELINE}`, {})).status).toBe(422);
    expect((await post(`/queue/${PIPELINE}`, { stages: [["x"]] })).status).toBe(422);
  });
});

describe("cancel", () => {
  const running = async (id: string, endpoint = STUB): Promise<void> => {
    for await (const { status } of test.client.follow(endpoint, id)) if (status !== "IN_QUEUE") return;
  };

  it("of a pipeline ends its running nodes and begins no more", async () => {
    const id = await submit([
      [{ delay_ms: 60_000, steps: 600 }, { stages: [[{ delay_ms: 60_000, steps: 600 }]] }],
      [{ prompt: "never" }],
    ]);
    const nodes = await nodeIds(id, 2);
    const nested = nodes.get("stage-1-2") as string;
    const inner = (await nodeIds(nested, 1)).get("stage-1-1") as string;
    await running(nodes.get("stage-1-1") as string);
    await running(inner);
    expect((await test.call(at(id, "/cancel"), { method: "PUT" })).status).toBe(202);
    await finished(id);
    expect((await test.call(at(id))).status).toBe(499);
    for (const node of [...nodes.values(), inner]) {
      expect((await test.record(node))?.outcome).toMatchObject({ error: { code: "client_cancelled" } });
    }
    expect([...(await nodeIds(id, 2)).keys()]).toEqual(["stage-1-1", "stage-1-2"]);
    await expect.poll(() => test.workflow(id)).toBe("CANCELLED");
  });

  it("of one node ends the pipeline as cancelled, since its code does not catch it", async () => {
    const id = await submit([[{ delay_ms: 60_000, steps: 600 }]]);
    const node = (await nodeIds(id, 1)).get("stage-1-1") as string;
    await running(node);
    expect((await test.call(at(node, "/cancel", STUB), { method: "PUT" })).status).toBe(202);
    await finished(node, STUB);
    await finished(id);
    expect((await test.call(at(id))).status).toBe(499);
    expect((await test.record(id))?.outcome).toMatchObject({ node: "stage-1-1" });
  });
});

describe("webhook", () => {
  it("is delivered once, for the pipeline", async () => {
    const lines: Body[] = [];
    let heard = (): void => {};
    const first = new Promise<void>((resolve) => {
      heard = resolve;
    });
    const receiver = createServer((incoming, response) => {
      let text = "";
      incoming.on("data", (chunk) => (text += chunk));
      incoming.on("end", () => {
        lines.push(JSON.parse(text));
        response.end();
        heard();
      });
    });
    await new Promise<void>((open) => receiver.listen(0, "127.0.0.1", open));
    const hook = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`;
    const id = await submit(
      [[{ prompt: "a" }], [{ prompt: "b" }]],
      `?fal_webhook=${encodeURIComponent(hook)}`,
    );
    await first;
    await finished(id);
    await expect.poll(() => test.workflow(`${id}/webhook`)).toBe("COMPLETED");
    receiver.close();
    expect(lines).toMatchObject([
      { request_id: id, status: "OK", payload: { stages: [[{ echo: "a" }], [{ echo: "b" }]] } },
    ]);
  });
});

describe("a job as the gateway makes it", () => {
  /** Starts a pipeline's workflow with a changed pipeline part, for the owner of the request `like`. */
  async function startJob(
    like: string,
    stages: JsonObject[][],
    over: Partial<PipelinePart>,
    allowedMs = 60_000,
  ): Promise<string> {
    const registry = await openRegistry(test.config);
    const record = await test.record(like);
    const requestId = newRequestId();
    const { ownerId, keyId } = record as NonNullable<typeof record>;
    const api = {
      clock: systemClock,
      registry,
      findPipeline: async () => undefined,
      flags: { isOn: () => true },
    };
    const pipeline = registry.route(PIPELINE)?.pipeline as PipelineVersion;
    const work = await pipelineJob(api, {
      pipeline,
      requestId,
      caller: { ownerId },
      input: {},
      cache: false,
      values: { store: async (_, value) => ({ inline: value }) },
    });
    const job: JobSpec = {
      requestId,
      ownerId,
      keyId,
      priority: "normal",
      input: { inline: { stages } },
      submittedAtMs: Date.now(),
      ...work,
      pipeline: { ...work.pipeline, deadlineMs: Date.now() + allowedMs, ...over },
    };
    await createJobs(test.temporal).start(job);
    return requestId;
  }

  it("that exceeds its time ends with 504, its nodes cancelled", async () => {
    const like = await submit([]);
    await finished(like);
    const id = await startJob(like, [[{ delay_ms: 60_000, steps: 600 }]], {}, 1_500);
    await finished(id);
    const answer = await test.call(at(id));
    expect(answer.status).toBe(504);
    expect((await json(answer)).detail).toMatch(/^The pipeline did not end by 2\d{3}-/);
    const [node = ""] = (await nodeIds(id, 1)).values();
    expect((await test.record(node))?.outcome).toMatchObject({
      error: { code: "client_cancelled", message: "Its pipeline ended before it did." },
    });
  });

  it("that reuses results runs only the nodes that the change affects", async () => {
    const steps: JsonObject[] = [{ prompt: "a" }, { prompt: "b" }, { prompt: "c" }];
    const stages = steps.map((step) => [step]);
    const first = await submit(stages);
    await finished(first);
    const before = await nodeIds(first, 3);
    const results: Record<string, ReusedNode> = {};
    for (const [i, step] of steps.entries()) {
      const requestId = before.get(`stage-${i + 1}-1`) as string;
      const outcome = (await test.record(requestId))?.outcome;
      if (!outcome?.ok) throw new Error("it did not end well");
      results[`stage-${i + 1}-1`] = {
        requestId,
        endpoint: STUB,
        version: "1.0.0",
        inputHash: inputHash(step),
        output: outcome.output,
      };
    }

    const changed = await startJob(first, stages, {
      kept: { inline: results },
      overrides: { "stage-2-1": { prompt: "B" } },
    });
    await finished(changed);
    expect(await json(test.call(at(changed)))).toMatchObject({
      stages: [[{ echo: "a" }], [{ echo: "B" }], [{ echo: "c" }]],
    });
    expect(await ran(changed)).toEqual(["stage-2-1"]);
    expect((await logLines(changed)).join("\n")).toContain(
      "Node stage-1-1 is done (1 of 1), from an earlier result.",
    );

    const from = await startJob(first, stages, { kept: { inline: results }, from: "stage-1-1" });
    await finished(from);
    expect(await ran(from)).toEqual(["stage-1-1"]);

    // The pipeline now gives the second node another input.
    const other = await startJob(first, [[{ prompt: "a" }], [{ prompt: "other" }]], {
      kept: { inline: results },
    });
    await finished(other);
    expect(await ran(other)).toEqual(["stage-2-1"]);
  });

  /** Lists the nodes that have run under a pipeline. */
  const ran = async (id: string): Promise<string[]> =>
    (
      await test.sql<
        { node_id: string }[]
      >`SELECT node_id FROM requests WHERE parent_id = ${id} ORDER BY node_id`
    ).map(({ node_id }) => node_id);
});
