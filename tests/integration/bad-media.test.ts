/** Files that do not fit the input's field: fal's 422 before a model runs, and the engine stays usable. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LIMITS } from "../../src/core/limits.ts";
import { openClipFiles } from "../../src/evaluation/clip-files.ts";
import { HEIC } from "../../src/gpu-workers/engines/onnx/image/heic.fixture.ts";
import { hugePng } from "../../src/gpu-workers/engines/onnx/image/huge-png.fixture.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const IMAGE_TO_IMAGE = "fal-ai/qwen-image/image-to-image";
const IMAGE_TO_VIDEO = "fal-ai/wan/v2.2-a14b/image-to-video";
const VIDEO_TO_AUDIO = "fal-ai/mmaudio-v2";

let test: TestPlatform;
let server: Server;
let base: string;
let folder: string;
let video: Buffer;
const routes: Record<string, RequestListener> = {};
const missing: RequestListener = (_, response) => void response.writeHead(404).end();

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-bad-media-"));
  await using clips = openClipFiles();
  const frame = new Uint8Array(64 * 48 * 3).fill(90);
  await clips.write(join(folder, "video.mp4"), { width: 64, height: 48 }, 10, Array(12).fill(frame));
  video = await readFile(join(folder, "video.mp4"));
  server = createServer((request, response) => (routes[request.url ?? ""] ?? missing)(request, response));
  await new Promise<void>((open) => server.listen(0, "127.0.0.1", open));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  test = await startTestPlatform({ TEMPERA_ALLOW_PRIVATE_ADDRESSES: "127.0.0.1" });
});
afterAll(async () => {
  await test[Symbol.asyncDispose]();
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true, force: true });
});

/** Serves these bytes with a content type; gives the URL. */
function served(name: string, bytes: Buffer | string, contentType: string): string {
  routes[`/${name}`] = (_, response) =>
    void response.writeHead(200, { "content-type": contentType }).end(bytes);
  return `${base}/${name}`;
}

/** Runs a request that must be refused before its first step; gives the one fault of its result. */
async function refusal(endpoint: string, input: object) {
  const { request_id: requestId } = await test.client.submit(endpoint, input);
  let steps = 0;
  for await (const status of test.client.follow(endpoint, requestId)) steps = status.progress?.step ?? steps;
  const response = await test.call(
    `/queue/${endpoint.split("/").slice(0, 2).join("/")}/requests/${requestId}`,
  );
  expect(response.status).toBe(422);
  expect(response.headers.get("x-fal-retryable")).toBe("false");
  expect(steps).toBe(0);
  const { detail } = (await response.json()) as {
    detail: { loc: unknown[]; type: string; msg: string; ctx?: Record<string, unknown> }[];
  };
  expect(detail).toHaveLength(1);
  return detail[0];
}

describe.each([IMAGE_TO_IMAGE, IMAGE_TO_VIDEO])("image_url of %s", (endpoint) => {
  const refused = (url: string) => refusal(endpoint, { prompt: "a red circle", image_url: url });

  it("refuses a text file, a zip and a gzip bomb", async () => {
    const zip = Buffer.concat([Buffer.from("PK\x03\x04"), Buffer.alloc(20_000)]);
    const bomb = gzipSync(Buffer.alloc(64 * 2 ** 20));
    for (const [name, bytes] of [
      ["text", "not an image"],
      ["zip", zip],
      ["bomb", bomb],
    ] as const) {
      expect(await refused(served(`${name}.png`, bytes, "image/png"))).toMatchObject({
        loc: ["body", "image_url"],
        type: "image_load_error",
      });
    }
    expect(await refused("data:image/png;base64,iVBORw0KGgo=")).toMatchObject({ type: "image_load_error" });
  });

  it("names the format of a HEIC photograph and of a video, with those that it reads", async () => {
    for (const [name, bytes, format] of [
      ["photograph", HEIC, "HEIC"],
      ["video", video, "MP4"],
    ] as const) {
      expect(await refused(served(`${name}.png`, bytes, "image/png"))).toMatchObject({
        loc: ["body", "image_url"],
        type: "unsupported_image_format",
        msg: expect.stringContaining(format),
        ctx: { supported_formats: expect.arrayContaining([".png", ".jpg"]) },
      });
    }
  });

  it("refuses a PNG of 30,000 x 30,000 pixels", async () => {
    const fault = await refused(served("huge.png", hugePng(30_000), "image/png"));
    expect(fault).toMatchObject({
      loc: ["body", "image_url"],
      type: "image_too_large",
      ctx: { max_width: 8000, max_height: 8000 },
    });
    expect(fault?.msg).toBe(
      "The image has 30000x30000 pixels, more than the 64,000,000 that are read; scale it down.",
    );
  });

  it("refuses an SVG that refers to a local file", async () => {
    const svg =
      '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///etc/passwd"/></svg>';
    expect(await refused(served("a.svg", svg, "image/svg+xml"))).toMatchObject({
      type: "unsupported_image_format",
    });
  });

  it("refuses a URL that answers 404, and a local file", async () => {
    expect(await refused(`${base}/nothing`)).toMatchObject({ type: "file_download_error" });
    expect(await refused("file:///etc/passwd")).toMatchObject({ type: "file_download_error" });
  });
});

describe("a stream that does not end", () => {
  it("is aborted at the limit, whatever its content type", async () => {
    let sent = 0;
    routes["/endless"] = (_, response) => {
      response.writeHead(200, { "content-type": "video/mp4" });
      const chunk = Buffer.alloc(4 * 2 ** 20);
      const push = (): void => {
        while (response.writable && response.write(chunk)) sent += chunk.length;
        response.once("drain", push);
      };
      push();
    };
    const before = process.memoryUsage.rss();
    const fault = await refusal(VIDEO_TO_AUDIO, { prompt: "drum", video_url: `${base}/endless` });
    expect(fault).toMatchObject({
      loc: ["body", "video_url"],
      type: "file_too_large",
      ctx: { max_size: LIMITS.inputFileBytesMax },
    });
    expect(sent).toBeLessThan(2 * LIMITS.inputFileBytesMax);
    expect(process.memoryUsage.rss() - before).toBeLessThan(256 * 2 ** 20);
  });
});

describe("video_url", () => {
  const refused = (url: string) => refusal(VIDEO_TO_AUDIO, { prompt: "drum", video_url: url });

  it("refuses a text file, an image, and a playlist that refers to a local file", async () => {
    const local = `file://${join(folder, "video.mp4")}`;
    const playlist = `#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n${local}\n#EXT-X-ENDLIST\n`;
    for (const [name, bytes] of [
      ["text.mp4", "not a video"],
      ["image.mp4", hugePng(30_000)],
      ["list.m3u8", playlist],
    ] as const) {
      expect(await refused(served(name, bytes, "video/mp4"))).toMatchObject({
        loc: ["body", "video_url"],
        type: "unsupported_video_format",
        ctx: { supported_formats: expect.arrayContaining([".mp4", ".webm"]) },
      });
    }
  });

  it("refuses a video whose frames are missing", async () => {
    const broken = Buffer.from(video);
    const data = broken.indexOf("mdat") + 4;
    broken.fill(0, data, data - 8 + broken.readUInt32BE(data - 8));
    expect(await refused(served("zeros.mp4", broken, "video/mp4"))).toMatchObject({
      type: "unsupported_video_format",
    });
    expect(
      await refused(served("cut.mp4", video.subarray(0, video.indexOf("mdat") + 4), "video/mp4")),
    ).toMatchObject({
      loc: ["body", "video_url"],
      type: expect.stringMatching(/^(video_duration_too_short|unsupported_video_format)$/),
    });
  });

  it("leaves the engine usable: the next clip gets its audio", async () => {
    const { request_id: requestId } = await test.client.submit(VIDEO_TO_AUDIO, {
      prompt: "drum",
      num_steps: 4,
      video_url: served("video.mp4", video, "video/mp4"),
    });
    for await (const status of test.client.follow(VIDEO_TO_AUDIO, requestId))
      expect(status.error).toBeUndefined();
    expect(await test.client.result(VIDEO_TO_AUDIO, requestId)).toMatchObject({
      video: { content_type: "video/mp4" },
    });
  });
});
