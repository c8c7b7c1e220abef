import { expect, it } from "vitest";
import type { TemperaError } from "../../core/errors/tempera-error.ts";
import type { PipelineVersion } from "../../core/pipelines/pipeline.ts";
import { pipelineJob } from "./pipeline-job.ts";

const PIPELINE = {
  endpoint: "acme/pipe",
  version: "1.0.0",
  digest: "d",
  calls: ["acme/model"],
  plan: { code: "acme/pipe@1.0.0" },
} as unknown as PipelineVersion;

/** A pipeline that calls one model, with what `off` names switched off. */
async function job(off: string[]) {
  const routed: (string | undefined)[] = [];
  const model = { endpoint: "acme/model", version: "1.0.0", digest: "d", retry: {}, timeouts: {} };
  const api = {
    registry: {
      route: (_: string, requestId?: string) => {
        routed.push(requestId);
        return { model };
      },
    },
    flags: { isOn: (_: string, name: string) => !off.includes(name) },
    findPipeline: async () => undefined,
    clock: { nowMs: () => 0 },
  };
  const made = await pipelineJob(api as unknown as Parameters<typeof pipelineJob>[0], {
    pipeline: PIPELINE,
    requestId: "r-1",
    caller: { ownerId: "o" },
    input: {},
    cache: true,
    values: { store: async (_, value) => ({ inline: value }) },
  });
  return { made, routed };
}

it("resolves its targets by its own request id, so that a rollout gives a run one version", async () => {
  const { made, routed } = await job([]);
  expect(routed).toEqual(["r-1"]);
  expect(made.pipeline.cache).toBe(true);
});

it("does not use the cache of nodes while a flag disables it", async () =>
  expect((await job(["node_cache"])).made.pipeline.cache).toBe(false));

it("is refused when a flag disables a model that it calls", async () => {
  const error = await job(["acme/model"]).catch((thrown: TemperaError) => thrown);
  expect(error).toMatchObject({
    code: "disabled_by_operator",
    message: expect.stringContaining("acme/model"),
  });
});
