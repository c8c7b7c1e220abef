/** Checks of `@huggingface/inference` with the provider fal-ai (resolve-fal.mjs). */
import { check, failure, load, same } from "./checks.mjs";

const { FAL_KEY, IMAGE } = process.env;
const { InferenceClient } = await load("@huggingface/inference", "dist/esm/index.js");
const { HARDCODED_MODEL_INFERENCE_MAPPING } = await load(
  "@huggingface/inference",
  "dist/esm/providers/consts.js",
);
/** Maps a name of the hub to an endpoint, as the hub's own address of mappings does. */
const serve = (model, providerId, task) => {
  HARDCODED_MODEL_INFERENCE_MAPPING["fal-ai"][model] = {
    provider: "fal-ai",
    hfModelId: model,
    providerId,
    task,
    status: "live",
  };
};
serve("Qwen/Qwen-Image", "fal-ai/qwen-image", "text-to-image");
serve("Qwen/Qwen-Image-Edit", "fal-ai/qwen-image/image-to-image", "image-to-image");
serve("Wan-AI/Wan2.2-T2V-A14B", "fal-ai/wan/v2.2-a14b/text-to-video", "text-to-video");
serve("nobody/nothing", "nobody/nothing", "text-to-image");
const client = new InferenceClient(FAL_KEY);
const provider = "fal-ai";
const type = async (blob) => [blob.type, blob.size > 1000];

await check("textToImage goes through the queue and answers with an image", async () => {
  const parameters = { num_inference_steps: 2, width: 256, height: 256 };
  const blob = await client.textToImage({
    provider,
    model: "Qwen/Qwen-Image",
    inputs: "a red zebra",
    parameters,
  });
  same(await type(blob), ["image/png", true]);
});
await check("imageToImage goes through the queue and answers with an image", async () => {
  const inputs = await (await fetch(IMAGE)).blob();
  const parameters = { prompt: "a zebra", num_inference_steps: 2 };
  const blob = await client.imageToImage({ provider, model: "Qwen/Qwen-Image-Edit", inputs, parameters });
  same(await type(blob), ["image/png", true]);
});
await check("textToVideo goes through the queue and answers with a video", async () => {
  const parameters = { num_inference_steps: 2, num_frames: 17, resolution: "480p" };
  const model = "Wan-AI/Wan2.2-T2V-A14B";
  same(await type(await client.textToVideo({ provider, model, inputs: "a red zebra", parameters })), [
    "video/mp4",
    true,
  ]);
});
await check("errors have their status: 401, 404, 422", async () => {
  const stranger = new InferenceClient("00000000-0000-4000-8000-000000000000:wrong");
  const call = (from, model, parameters) => () =>
    from.textToImage({ provider, model, inputs: "x", parameters });
  const status = async (work) => (await failure(work)).httpResponse?.status;
  same(await status(call(stranger, "Qwen/Qwen-Image")), 401);
  same(await status(call(client, "nobody/nothing")), 404);
  same(await status(call(client, "Qwen/Qwen-Image", { num_inference_steps: -1 })), 422);
});
