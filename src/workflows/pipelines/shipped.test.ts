import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { JsonObject } from "../../core/json/json.ts";
import { codePipeline } from "../../registry/code-pipeline.ts";
import { loadRegistry, type Registry } from "../../registry/registry.ts";
import { createSchemaCheck } from "../../registry/schema-check.ts";
import { filmWithSound } from "./video-with-audio.ts";
import { PIPELINES } from "./index.ts";
import { pictureToFilm } from "./image-to-video.ts";

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
const GIVES: Record<string, JsonObject> = {
  "fal-ai/qwen-image": { images: [{ url: "http://localhost/files/picture.png", width: 4, height: 2 }] },
  "fal-ai/wan/v2.2-a14b/image-to-video": { video: file("silent.mp4"), seed: 1 },
  "fal-ai/mmaudio-v2": { video: file("film.mp4") },
};

/**
 * Runs a pipeline on models that give what they are said to give. Each node's input must be one that its
 * model takes as it is.
 */
async function play(pipeline: (typeof PIPELINES)[number], input: JsonObject) {
  const checked = registry.route(pipeline.id)?.checkInput(input);
  if (!checked || "faults" in checked) throw new Error(JSON.stringify(checked));
  const nodes: { node: string | undefined; endpoint: string; input: JsonObject }[] = [];
  const output: JsonObject = await pipeline.work({
    input: checked.input,
    run: async (endpoint: string, given: JsonObject, { node }: { node?: string } = {}) => {
      expect(registry.route(endpoint)?.checkInput(given)).toMatchObject({ ignored: [] });
      nodes.push({ node, endpoint, input: given });
      return (GIVES[endpoint] ?? {}) as never;
    },
    all: () => Promise.reject(new Error("not needed here")),
  });
  expect(createSchemaCheck(pipeline.schemas.output, { every: true })(output)).toBeUndefined();
  return { nodes, output, seed: checked.input.seed as number };
}

describe("the pipelines that ship", () => {
  it("have the schemas that schemas/pipelines holds for their version", () => {
    for (const { id, version, schemas } of [pictureToFilm, filmWithSound]) {
      for (const name of ["input", "output"] as const) {
        const text = readFileSync(resolve(PROJECT, "schemas/pipelines", id, version, `${name}.json`), "utf8");
        expect(schemas[name]).toEqual(JSON.parse(text));
      }
    }
  });

  it("tempera/picture-to-film: a picture, and a film that begins with it", async () => {
    const { nodes, output, seed } = await play(pictureToFilm, { prompt: "a ball", aspect_ratio: "9:16" });
    expect(nodes).toMatchObject([
      { node: "image", input: { prompt: "a ball", image_size: "portrait_16_9", seed } },
      {
        node: "video",
        input: {
          prompt: "a ball",
          image_url: "http://localhost/files/picture.png",
          aspect_ratio: "9:16",
          seed,
        },
      },
    ]);
    expect(output).toMatchObject({ image: { width: 4 }, video: { file_name: "silent.mp4" }, seed });
  });

  it("tempera/film-with-sound: the same, with the sound of that film, as long as it", async () => {
    const input = {
      prompt: "a ball",
      video_prompt: "a ball, it falls",
      num_frames: 33,
      frames_per_second: 8,
      seed: 70_000,
    };
    const { nodes, output } = await play(filmWithSound, input);
    expect(nodes).toMatchObject([
      { node: "image", input: { seed: 70_000 } },
      {
        node: "video",
        input: { prompt: "a ball, it falls", num_frames: 33, frames_per_second: 8, seed: 70_000 },
      },
      {
        node: "sound",
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
      video: { file_name: "film.mp4" },
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
      sound_steps: 4,
    },
    {
      num_frames: 161,
      frames_per_second: 4,
      seed: 0,
      image_steps: 250,
      video_steps: 40,
      sound_steps: 50,
      video_prompt: null,
    },
  ])("make inputs that their models take at the ends of what they take themselves: %j", async (ends) => {
    await play(filmWithSound, { prompt: "", ...ends });
  });
});
