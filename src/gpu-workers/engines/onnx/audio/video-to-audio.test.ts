import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { JsonObject } from "../../../../core/json/json.ts";
import type { RunState } from "../../../contract/checkpoint.ts";
import { type TestClip, testClip } from "../media/clip.fixture.ts";
import { decodeClip } from "../media/decode-clip.ts";
import { temporaryFile } from "../media/ffmpeg.ts";
import { writeVideo } from "../media/write-video.ts";
import type { LoadedModel } from "../runtime/loaded-model.ts";
import { loadVideoToAudio } from "./video-to-audio.ts";

/** Networks with known results, loud where the video is bright: tiny-models.fixtures/make.py. */
const TINY = join(import.meta.dirname, "../tiny-models.fixtures/mmaudio");
const parameters: JsonObject = {
  threads: 1,
  sampleRate: 16_000,
  fft: 64,
  hop: 256 / 8,
  latentsPerSecond: 250,
  latentChannels: 1,
  visualSide: 8,
  textTokensMax: 8,
  secondsMax: 30,
  logFloor: 0.01,
};
const load = (change: JsonObject = {}) =>
  loadVideoToAudio(
    {
      endpoint: "e",
      version: "1.0.0",
      runner: "video_to_audio",
      folder: TINY,
      parameters: { ...parameters, ...change },
    },
    () => {},
  );

const defaults: JsonObject = {
  video_url: "attachment:0",
  prompt: "",
  negative_prompt: "",
  seed: 5,
  num_steps: 4,
  duration: 8,
  cfg_strength: 1,
  mask_away_clip: false,
};

let folder: string;
let model: LoadedModel;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-audio-"));
  model = await load();
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Options {
  signal?: AbortSignal;
  resume?: RunState;
  keep?: (state: RunState) => void;
}

async function run(path: string, change: JsonObject = {}, { signal, resume, keep }: Options = {}) {
  const logs: string[] = [];
  const steps: string[] = [];
  let bytes = Buffer.alloc(0);
  let head: object = {};
  const { output } = await model.run(
    {
      requestId: "request",
      attempt: 1,
      input: { ...defaults, ...change },
      files: [{ path, contentType: "video/mp4", bytes: 1, sha256: "" }],
      ...(resume && { resume }),
    },
    {
      log: (level, message) => logs.push(`${level} ${message}`),
      progress: (step, total) => steps.push(`${step}/${total}`),
      artifact: async (file, content) => {
        [head, bytes] = [file, Buffer.from(content)];
        return { $artifact: 0 };
      },
      ...(keep && { checkpoint: (step, state) => keep({ step, ...state() }) }),
    },
    signal ?? new AbortController().signal,
  );
  await using file = await temporaryFile("made.mp4");
  await writeFile(file.path, bytes);
  const clip = await decodeClip(file.path);
  const { samples = new Float32Array(), sampleRate = 1 } = clip.audio ?? {};
  /** Root mean square between two times, in seconds. */
  const loudness = (from: number, to: number) => {
    const part = samples.subarray(from * sampleRate, to * sampleRate);
    return Math.sqrt(part.reduce((sum, value) => sum + value ** 2, 0) / part.length);
  };
  return { output, logs, steps, head, bytes, clip, loudness, audioSeconds: samples.length / sampleRate };
}

/** Writes two seconds of video, black until `brightFrom`, then white. */
async function flash(brightFrom: number): Promise<string> {
  const size = { width: 64, height: 64 };
  const frames = Array.from({ length: 50 }, (_, i) =>
    Buffer.alloc(64 * 64 * 3, i / 25 < brightFrom ? 0 : 255),
  );
  const bytes = await writeVideo({
    frames,
    from: size,
    size,
    fps: 25,
    quality: "high",
    writeMode: "fast",
    threads: 1,
    signal: new AbortController().signal,
  });
  const path = join(folder, `flash-${brightFrom}.mp4`);
  await writeFile(path, bytes);
  return path;
}

describe("video_to_audio", () => {
  it("returns the clip with audio that follows the video", async () => {
    const { output, head, clip, loudness, steps, logs, audioSeconds } = await run(await flash(1));
    expect(output).toEqual({ video: { $artifact: 0 } });
    expect(head).toEqual({ contentType: "video/mp4", fileName: "5.mp4", width: 64, height: 64 });
    expect(clip.codecs).toEqual(["avc1", "mp4a"]);
    expect(clip.frames).toHaveLength(50);
    expect(audioSeconds).toBeCloseTo(2, 1);
    expect(loudness(0.1, 0.9)).toBeLessThan(0.02);
    expect(loudness(1.1, 1.9)).toBeGreaterThan(5 * loudness(0.1, 0.9));
    expect(steps).toEqual(["1/4", "2/4", "3/4", "4/4"]);
    expect(logs).toEqual([
      "INFO The clip lasts 2.00 s, less than the requested 8 s; the audio ends with it.",
    ]);
  });

  it("makes the flash audible when it is visible", async () => {
    const { clip } = await run(await flash(0.52));
    const { samples = new Float32Array() } = clip.audio ?? {};
    const onset =
      samples.findIndex((_, i) => Math.max(...samples.subarray(i, i + 40).map(Math.abs)) > 0.1) / 16_000;
    expect(Math.abs(onset - 0.52)).toBeLessThan(0.03);
  });

  it("uses the beginning of a longer clip", async () => {
    const { clip, audioSeconds, logs } = await run(await flash(1), { duration: 1.2 });
    expect(audioSeconds).toBeCloseTo(1.2, 1);
    expect(clip.frames).toHaveLength(30);
    expect(logs).toEqual(["INFO The clip is longer than 1.2 s; its beginning is used."]);
  });

  it("is guided by the video and the prompt, away from the negative prompt", async () => {
    const path = await flash(0.5);
    const [plain, strong] = [await run(path), await run(path, { cfg_strength: 3 })];
    expect(strong.loudness(0.7, 1.8)).toBeGreaterThan(1.3 * plain.loudness(0.7, 1.8));
    const [prompted, negative] = [
      await run(path, { prompt: "loud loud loud", cfg_strength: 3 }),
      await run(path, { negative_prompt: "loud loud loud", cfg_strength: 3 }),
    ];
    expect(prompted.loudness(0.7, 1.8)).toBeGreaterThan(strong.loudness(0.7, 1.8));
    expect(negative.bytes.equals(strong.bytes)).toBe(false);
  });

  it("follows the prompt alone when the clip is masked away", async () => {
    const { loudness, logs } = await run(await flash(1), { mask_away_clip: true, prompt: "loud" });
    expect(loudness(1.1, 1.9)).toBeLessThan(2 * loudness(0.1, 0.9));
    expect(logs.at(-1)).toBe("INFO The audio follows the prompt alone, as requested.");
  });

  it("gives the same bytes for the same seed, and others for another", async () => {
    const path = await flash(1);
    const [one, again, other] = [await run(path), await run(path), await run(path, { seed: 6 })];
    expect(again.bytes.equals(one.bytes)).toBe(true);
    expect(other.bytes.equals(one.bytes)).toBe(false);
  });

  it("resumes from a checkpoint to the same bytes", async () => {
    const path = await flash(1);
    const states: RunState[] = [];
    const whole = await run(path, {}, { keep: (state) => states.push(structuredClone(state)) });
    const resumed = await run(path, {}, { resume: states[1] as RunState });
    expect(resumed.steps).toEqual(["3/4", "4/4"]);
    expect(resumed.bytes.equals(whole.bytes)).toBe(true);
  });

  it("encodes a video again that is not H.264 in MP4, and logs that", async () => {
    const change: Partial<TestClip> = { container: "webm", encoder: "libvpx-vp9" };
    await using clip = await testClip(change);
    const made = await run(clip.path);
    expect(made.clip.codecs).toEqual(["avc1", "mp4a"]);
    expect(made.logs).toContain("INFO The video was encoded again as H.264.");
  });

  it("refuses a file that is not a clip before it generates anything", async () => {
    const path = join(folder, "text");
    await writeFile(path, "not a clip");
    await expect(run(path)).rejects.toMatchObject({
      code: "input_invalid",
      faults: [{ loc: ["body", "video_url"], type: "unsupported_video_format" }],
    });
    await expect(run(path, { video_url: "file:///etc/passwd" })).rejects.toMatchObject({
      faults: [{ loc: ["body", "video_url"] }],
    });
    await expect(run(path, { num_steps: 0 })).rejects.toMatchObject({
      faults: [{ loc: ["body", "num_steps"] }],
    });
    await expect(load({ fft: 1 })).rejects.toThrow(/parameters of model.yaml: fft/);
  });

  it("stops between two steps", async () => {
    const controller = new AbortController();
    const running = run(await flash(1), { num_steps: 1000 }, { signal: controller.signal });
    setTimeout(() => controller.abort(new Error("cancelled")), 30);
    await expect(running).rejects.toThrow("cancelled");
  });
});
