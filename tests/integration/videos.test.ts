/** Videos, audio for them, and the whole chain image → video → audio, called as fal's clients do. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ClipFiles, openClipFiles } from "../../src/evaluation/clip-files.ts";
import { drawScene } from "../../src/evaluation/scene-drawing.ts";
import { structuralSimilarity } from "../../src/evaluation/video-judge.ts";
import { inBrowser } from "../conformance/fal/browser.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const TEXT_TO_VIDEO = "fal-ai/wan/v2.2-a14b/text-to-video";
const IMAGE_TO_VIDEO = "fal-ai/wan/v2.2-a14b/image-to-video";
const VIDEO_TO_AUDIO = "fal-ai/mmaudio-v2";
const PROMPT = "a large red circle moves to the right on a blue background";
/** Small settings, so that a test takes seconds. */
const SMALL = {
  num_frames: 17,
  num_inference_steps: 4,
  resolution: "480p",
  interpolator_model: "none",
  video_write_mode: "fast",
};

let test: TestPlatform;
let clips: ClipFiles;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-videos-"));
  clips = openClipFiles();
  test = await startTestPlatform();
});
afterAll(async () => {
  await test[Symbol.asyncDispose]();
  await clips[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** The part of the browser's element that is used. */
interface VideoElement extends EventTarget {
  muted: boolean;
  src: string;
  play(): Promise<void>;
  error: { message: string } | null;
  videoWidth: number;
  videoHeight: number;
  duration: number;
  getVideoPlaybackQuality(): { totalVideoFrames: number };
  webkitAudioDecodedByteCount: number;
}

interface VideoOutput {
  video: { url: string; content_type: string; file_name: string; file_size: number };
  prompt?: string;
  seed?: number;
}

async function run(endpoint: string, input: object) {
  const { request_id: requestId } = await test.client.submit(endpoint, input);
  for await (const status of test.client.follow(endpoint, requestId)) expect(status.error).toBeUndefined();
  const output = (await test.client.result(endpoint, requestId)) as VideoOutput;
  const bytes = Buffer.from(await (await fetch(output.video.url)).arrayBuffer());
  const path = join(folder, `${requestId}.mp4`);
  await writeFile(path, bytes);
  const { logs } = await test.client.status(endpoint, requestId);
  return { output, bytes, path, logs: (logs ?? []).map(({ message }) => message) };
}

describe(TEXT_TO_VIDEO, () => {
  it("makes a video of a prompt alone, with fal's defaults and output", async () => {
    const { output, bytes, path, logs } = await run(TEXT_TO_VIDEO, { prompt: PROMPT, seed: 3 });
    expect(output).toEqual({
      video: {
        url: expect.any(String),
        content_type: "video/mp4",
        file_name: "3.mp4",
        file_size: bytes.length,
      },
      prompt: PROMPT,
      seed: 3,
    });
    const video = await clips.decode(path, { width: 128, height: 72 });
    // 81 frames at 16 per second, and one between each pair at twice the rate.
    expect([video.frames.length, video.fps, video.codecs]).toEqual([161, 32, ["avc1"]]);
    expect(logs.join("\n")).toMatch(
      /Rendered at 112x64, scaled to 1280x720\.\n.*interpolator "film".*161 frames at 32 frames per second/,
    );
  });

  it.each([
    [
      { num_frames: 25, frames_per_second: 10, aspect_ratio: "9:16" },
      { width: 480, height: 854, fps: 10, frames: 25 },
    ],
    [
      { num_frames: 30, frames_per_second: 24, aspect_ratio: "1:1", resolution: "580p" },
      { width: 580, height: 580, fps: 24, frames: 30 },
    ],
    [
      {
        num_frames: 17,
        frames_per_second: 4,
        interpolator_model: "rife",
        num_interpolated_frames: 3,
        adjust_fps_for_interpolation: false,
      },
      { width: 854, height: 480, fps: 4, frames: 65 },
    ],
  ])("has the size, rate and length of %j", async (options, expected) => {
    const { path } = await run(TEXT_TO_VIDEO, { prompt: PROMPT, ...SMALL, ...options });
    const { width, height, fps, frames, timesSeconds } = await clips.decode(path);
    expect({ width, height, fps, frames: frames.length }).toEqual(expected);
    expect(timesSeconds.at(-1)).toBeCloseTo((expected.frames - 1) / expected.fps, 4);
  });

  it("gives the same bytes at the same URL for the same seed, and others for another", async () => {
    const [one, again, other] = await Promise.all(
      [4, 4, 5].map((seed) => run(TEXT_TO_VIDEO, { prompt: PROMPT, ...SMALL, seed })),
    );
    expect(again?.output.video.url).toBe(one?.output.video.url);
    expect(other?.output.video.url).not.toBe(one?.output.video.url);
  });

  it("stops soon after a cancel, and serves the next request at once", async () => {
    const { request_id: requestId } = await test.client.submit(TEXT_TO_VIDEO, {
      prompt: PROMPT,
      num_frames: 161,
      num_inference_steps: 40,
    });
    let cancelled = false;
    for await (const status of test.client.follow(TEXT_TO_VIDEO, requestId)) {
      if (cancelled || (status.progress?.step ?? 0) < 2) continue;
      cancelled = true;
      await test.client.cancel(TEXT_TO_VIDEO, requestId);
    }
    expect(cancelled).toBe(true);
    expect((await run(TEXT_TO_VIDEO, { prompt: PROMPT, ...SMALL })).bytes.length).toBeGreaterThan(0);
  });

  it("refuses inputs that it cannot make at submit, with fal's error types", async () => {
    const cases: [object, string, string][] = [
      [{ num_frames: 0 }, "num_frames", "greater_than_equal"],
      [{ num_frames: 1_000_000 }, "num_frames", "less_than_equal"],
      [{ frames_per_second: 61 }, "frames_per_second", "less_than_equal"],
      [{ resolution: "4k" }, "resolution", "one_of"],
      [{ enable_prompt_expansion: true }, "enable_prompt_expansion", "feature_not_supported"],
    ];
    for (const [options, field, type] of cases) {
      const response = await test.call(`/queue/${TEXT_TO_VIDEO}`, {
        method: "POST",
        body: JSON.stringify({ prompt: PROMPT, ...options }),
        headers: { "content-type": "application/json" },
      });
      expect(response.status).toBe(422);
      expect(await response.json()).toMatchObject({ detail: [{ loc: ["body", field], type }] });
    }
  });
});

describe("an image, a video that begins with it, and its audio", () => {
  it("passes each on to the next model by URL, and plays in a browser", async () => {
    const scene = {
      width: 448,
      height: 256,
      background: "blue",
      color: "red",
      shape: "circle",
      x: 100,
      y: 128,
      radius: 60,
    } as const;
    const { data, width, height } = drawScene(scene);
    const png = await sharp(data, { raw: { width, height, channels: 3 } })
      .png()
      .toBuffer();
    const video = await run(IMAGE_TO_VIDEO, {
      ...SMALL,
      prompt: PROMPT,
      image_url: `data:image/png;base64,${png.toString("base64")}`,
      num_frames: 33,
      num_inference_steps: 10,
    });
    const { frames, width: videoWidth } = await clips.decode(video.path, { width, height });
    expect(videoWidth).toBe(width);
    expect(
      structuralSimilarity({ data: frames[0] as Uint8Array, width, height }, drawScene(scene)),
    ).toBeGreaterThan(0.8);

    const { output, path, bytes } = await run(VIDEO_TO_AUDIO, {
      video_url: video.output.video.url,
      prompt: "drum",
      seed: 1,
      num_steps: 8,
    });
    expect(output).toEqual({
      video: {
        url: expect.any(String),
        content_type: "video/mp4",
        file_name: "1.mp4",
        file_size: bytes.length,
      },
    });
    const withAudio = await clips.decode(path);
    expect(withAudio.codecs).toEqual(["avc1", "mp4a"]);
    // The video stream is copied, bit for bit.
    const silent = await clips.decode(video.path);
    expect(Buffer.concat(withAudio.frames).equals(Buffer.concat(silent.frames))).toBe(true);
    const seconds = 33 / 16;
    expect((withAudio.audio?.samples.length ?? 0) / (withAudio.audio?.sampleRate ?? 1)).toBeCloseTo(
      seconds,
      1,
    );

    const played = await inBrowser(async (base64) => {
      const { document } = globalThis as unknown as {
        document: { createElement(name: "video"): VideoElement };
      };
      const element = document.createElement("video");
      element.muted = true;
      const blob = await (await fetch(`data:video/mp4;base64,${base64}`)).blob();
      element.src = URL.createObjectURL(blob);
      const until = (event: string) =>
        new Promise<void>((resolve, reject) => {
          element.addEventListener(event, () => resolve(), { once: true });
          element.addEventListener(
            "error",
            () => reject(new Error(element.error?.message ?? "it does not play")),
            { once: true },
          );
        });
      await until("canplay");
      const ended = until("ended");
      await element.play();
      await ended;
      const { videoWidth, videoHeight, duration } = element;
      const { totalVideoFrames } = element.getVideoPlaybackQuality();
      return {
        videoWidth,
        videoHeight,
        duration,
        totalVideoFrames,
        audioBytes: element.webkitAudioDecodedByteCount,
      };
    }, bytes.toString("base64"));
    expect(played).toMatchObject({ videoWidth: 854, videoHeight: 480, totalVideoFrames: 33 });
    const { duration, audioBytes } = played as { duration: number; audioBytes: number };
    expect(duration).toBeCloseTo(seconds, 1);
    expect(audioBytes).toBeGreaterThan(0);
  });
});
