import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { JsonObject } from "../../core/json/json.ts";
import { codePipeline } from "../../registry/code-pipeline.ts";
import { loadRegistry, type Registry } from "../../registry/registry.ts";
import { createSchemaCheck } from "../../registry/schema-check.ts";
import { PIPELINES } from "./index.ts";
import { textToVideo } from "./text-to-video.ts";
import { textToVideoWithAudio } from "./text-to-video-with-audio.ts";

const PROJECT = resolve(import.meta.dirname, "../../..");

let registry: Registry;
beforeAll(async () => {
  const folders = { modelsFolder: resolve(PROJECT, "models"), schemasFolder: resolve(PROJECT, "schemas") };
  registry = await loadRegistry({ ...folders, pipelines: PIPELINES.map(codePipeline) });
});

const file = (name: string) => ({
  url: `http://localhost/files/${name}`,
  content_type: null,
  file_name: name,
  file_size: 1,
});
const OUTPUTS: Record<string, JsonObject> = {
  "fal-ai/qwen-image": { images: [{ url: "http://localhost/files/image.png", width: 4, height: 2 }] },
  "fal-ai/wan/v2.2-a14b/image-to-video": { video: file("silent.mp4"), seed: 1 },
  "fal-ai/mmaudio-v2": { video: file("with-audio.mp4") },
};

/**
 * Runs a pipeline on models with canned outputs. Checks that each model accepts its node's input without
 * changes.
 */
async function play(pipeline: (typeof PIPELINES)[number], input: JsonObject) {
  const checked = await registry.route(pipeline.id)?.checkInput(input);
  if (!checked || "faults" in checked) throw new Error(JSON.stringify(checked));
  const nodes: { node: string | undefined; endpoint: string; input: JsonObject }[] = [];
  const output: JsonObject = await pipeline.work({
    input: checked.input,
    run: async (endpoint: string, nodeInput: JsonObject, { node }: { node?: string } = {}) => {
      expect(await registry.route(endpoint)?.checkInput(nodeInput)).toMatchObject({ ignored: [] });
      nodes.push({ node, endpoint, input: nodeInput });
      return (OUTPUTS[endpoint] ?? {}) as never;
    },
    all: () => Promise.reject(new Error("no pipeline here calls it")),
  });
  expect(createSchemaCheck(pipeline.schemas.output, { every: true })(output)).toBeUndefined();
  return { nodes, output, seed: checked.input.seed as number };
}

describe("the pipelines that ship", () => {
  it("have the schemas in schemas/pipelines of their version", () => {
    for (const { id, version, schemas } of [textToVideo, textToVideoWithAudio]) {
      for (const name of ["input", "output"] as const) {
        const text = readFileSync(resolve(PROJECT, "schemas/pipelines", id, version, `${name}.json`), "utf8");
        expect(schemas[name]).toEqual(JSON.parse(text));
      }
    }
  });

  it("tempera/text-to-video generates an image and a video that begins with it", async () => {
    const { nodes, output, seed } = await play(textToVideo, { prompt: "a ball", aspect_ratio: "9:16" });
    expect(nodes).toMatchObject([
      { node: "image", input: { prompt: "a ball", image_size: "portrait_16_9", seed } },
      {
        node: "video",
        input: {
          prompt: "a ball",
          image_url: "http://localhost/files/image.png",
          aspect_ratio: "9:16",
          seed,
        },
      },
    ]);
    expect(output).toMatchObject({ image: { width: 4 }, video: { file_name: "silent.mp4" }, seed });
  });

  it("tempera/text-to-video-with-audio adds audio of the length of the video", async () => {
    const input = {
      prompt: "a ball",
      video_prompt: "a ball, it falls",
      num_frames: 33,
      frames_per_second: 8,
      seed: 70_000,
    };
    const { nodes, output } = await play(textToVideoWithAudio, input);
    expect(nodes).toMatchObject([
      { node: "image", input: { seed: 70_000 } },
      {
        node: "video",
        input: { prompt: "a ball, it falls", num_frames: 33, frames_per_second: 8, seed: 70_000 },
      },
      {
        node: "audio",
        input: {
          prompt: "",
          video_url: "http://localhost/files/silent.mp4",
          duration: 33 / 8,
          seed: 70_000 - 65_536,
        },
      },
    ]);
    expect(output).toMatchObject({
      silent_video: { file_name: "silent.mp4" },
      video: { file_name: "with-audio.mp4" },
      seed: 70_000,
    });
  });

  it.each([
    {
      num_frames: 17,
      frames_per_second: 60,
      seed: 2 ** 32 - 1,
      image_steps: 2,
      video_steps: 2,
      audio_steps: 4,
    },
    {
      num_frames: 161,
      frames_per_second: 4,
      seed: 0,
      image_steps: 250,
      video_steps: 40,
      audio_steps: 50,
      video_prompt: null,
    },
  ])("make inputs that their models accept when their own inputs are at the limits: %j", async (limits) => {
    await play(textToVideoWithAudio, { prompt: "", ...limits });
  });
});
