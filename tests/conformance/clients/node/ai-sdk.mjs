/** Checks of `@ai-sdk/fal`: images by its `baseURL`, the rest by fal's names (resolve-fal.mjs). */
import { check, failure, load, STUB, same } from "./checks.mjs";

const { FAL_KEY, TEMPERA_URL } = process.env;
const { createFal } = await load("@ai-sdk/fal");
const byUrl = createFal({ apiKey: FAL_KEY, baseURL: `${TEMPERA_URL}/run` });
const byName = createFal({ apiKey: FAL_KEY });
const providerOptions = { fal: { num_inference_steps: 2 } };
const image = { prompt: "a red zebra", n: 1, size: "256x256", seed: 7, providerOptions };

await check("an image by baseURL, whose files are of the same origin", async () => {
  const { images, providerMetadata } = await byUrl.image("fal-ai/qwen-image").doGenerate(image);
  same([images.length, images[0].length > 1000], [1, true]);
  same([providerMetadata.fal.images[0].width, providerMetadata.fal.seed], [256, 7]);
});
await check("an image by fal's names: a file at a private address is refused, as documented", async () => {
  const error = await failure(() => byName.image("fal-ai/qwen-image").doGenerate(image));
  same(error.message.includes("disallowed IP address"), true);
});
await check("a video is started, polled while it is pending, and read", async () => {
  const model = byName.video("fal-ai/wan/v2.2-a14b/text-to-video");
  const fal = { num_inference_steps: 2, num_frames: 17, resolution: "480p" };
  const { operation } = await model.doStart({ prompt: "a zebra", n: 1, seed: 7, providerOptions: { fal } });
  let state = await model.doStatus({ operation });
  while (state.status === "pending") state = await model.doStatus({ operation });
  const [video] = state.videos;
  const bytes = Buffer.from(await (await fetch(video.url)).arrayBuffer());
  same([video.mediaType, bytes.toString("latin1", 4, 8)], ["video/mp4", "ftyp"]);
});
await check(
  "the result of a running request says so, as polls of videos and transcriptions need",
  async () => {
    const headers = { authorization: `Key ${FAL_KEY}`, "content-type": "application/json" };
    const body = '{"delay_ms":5000}';
    const submitted = await fetch(`https://queue.fal.run/${STUB}`, { method: "POST", headers, body });
    const answer = await fetch((await submitted.json()).response_url, { headers });
    same([answer.ok, (await answer.json()).detail], [false, "Request is still in progress"]);
  },
);
await check("a wrong key is an error with status 401", async () => {
  const stranger = createFal({ apiKey: "wrong:key", baseURL: `${TEMPERA_URL}/run` });
  const error = await failure(() => stranger.image("fal-ai/qwen-image").doGenerate(image));
  same([error.name, error.statusCode], ["AI_APICallError", 401]);
});
await check("an unknown model is an error with status 404: image, speech, transcription, video", async () => {
  const audio = { audio: new Uint8Array(4), mediaType: "audio/mpeg" };
  const calls = [
    () => byUrl.image("nobody/nothing").doGenerate(image),
    () => byName.speech("nobody/nothing").doGenerate({ text: "x" }),
    () => byName.transcription("nothing").doGenerate(audio),
    () => byName.video("fal-ai/nothing").doStart({ prompt: "x", n: 1 }),
  ];
  for (const call of calls) same((await failure(call)).statusCode, 404);
});
await check("an input that does not fit is an error with the place and the reason", async () => {
  const error = await failure(() =>
    byUrl.image("fal-ai/qwen-image").doGenerate({ ...image, size: "99999x256" }),
  );
  same([error.statusCode, error.message.startsWith("body.image_size")], [422, true]);
});
