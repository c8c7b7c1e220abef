/** Runs every example, and the two calls of the README, as a reader does. */
import { execFile, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { freePort } from "../../src/dev/services/port.ts";
import { openClipFiles } from "../../src/evaluation/clip-files.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const PROMPT = 'a large "red" circle on a blue background';

let test: TestPlatform;
beforeAll(async () => {
  test = await startTestPlatform({ TEMPERA_ALLOW_PRIVATE_ADDRESSES: "127.0.0.0/8" });
});
afterAll(() => test[Symbol.asyncDispose]());

interface ProgramRun {
  code: number;
  /** Standard output and standard error. */
  output: string;
}

/**
 * Runs a program of this machine in the project's folder, with the address and a key of the platform. Rejects
 * when there is no such program.
 */
const run = (program: string, args: string[], env: Record<string, string> = {}): Promise<ProgramRun> =>
  new Promise((done, fail) => {
    const child = { ...process.env, TEMPERA_URL: test.platform.url, TEMPERA_KEY: test.platform.key, ...env };
    execFile(program, args, { cwd: PROJECT, env: child }, (error, stdout, stderr) => {
      if (error && typeof error.code !== "number")
        return fail(new Error(`${program} cannot be run; install it. ${error.message}`));
      done({ code: error ? Number(error.code) : 0, output: stdout + stderr });
    });
  });

const curl = (args: string[], env?: Record<string, string>): Promise<ProgramRun> =>
  run("sh", ["examples/curl/queue.sh", ...args], env);
const node = (name: string, ...args: string[]): Promise<ProgramRun> =>
  run(process.execPath, [`examples/javascript/${name}.mjs`, ...args]);
const python = (args: string[], env?: Record<string, string>): Promise<ProgramRun> =>
  run("python3", ["examples/python/submit_and_poll.py", ...args], env);

async function expectImage(file: string): Promise<void> {
  expect(await sharp(file).metadata()).toMatchObject({ format: "png", width: 1024, height: 768 });
}

describe("curl/queue.sh", () => {
  it("prints each change and saves the image", async () => {
    const file = join(test.folder, "curl.png");
    const { code, output } = await curl([PROMPT, file]);
    expect(output).toMatch(/^data: .*"status":"COMPLETED"/m);
    expect(output).toContain(`saved ${file}`);
    expect(code).toBe(0);
    await expectImage(file);
  });

  it("ends with the platform's error when it is refused", async () => {
    const { code, output } = await curl([PROMPT], { TEMPERA_KEY: "wrong" });
    expect(code).toBe(1);
    expect(output).toContain("Invalid Key Authorization header format");
  });
});

describe("typescript/webhook-receiver.ts", () => {
  it("prints signed webhooks and refuses unsigned ones, in under thirty lines", async () => {
    const file = join(PROJECT, "examples/typescript/webhook-receiver.ts");
    expect(
      readFileSync(file, "utf8")
        .split("\n")
        .filter((line) => line.trim() !== "" && !/^\s*(\/\/|\/\*\*)/.test(line)).length,
    ).toBeLessThan(30);
    const port = await freePort();
    const receiver = spawn(process.execPath, ["--import", "tsx", file], {
      cwd: PROJECT,
      env: { ...process.env, TEMPERA_URL: test.platform.url, PORT: String(port) },
    });
    try {
      const lines = createInterface({ input: receiver.stdout })[Symbol.asyncIterator]();
      expect((await lines.next()).value).toBe("listening");
      const url = `http://127.0.0.1:${port}/`;
      const forged = await fetch(url, {
        method: "POST",
        body: "{}",
        headers: {
          "x-fal-webhook-timestamp": String(Math.floor(Date.now() / 1000)),
          "x-fal-webhook-signature": "00".repeat(64),
        },
      });
      expect(forged.status).toBe(401);
      const submitted = await test.call(`/queue/tempera/stub?fal_webhook=${encodeURIComponent(url)}`, {
        method: "POST",
        body: "{}",
      });
      const { request_id } = (await submitted.json()) as { request_id: string };
      expect((await lines.next()).value).toBe(`${request_id} OK`);
    } finally {
      receiver.kill();
    }
  });
});

describe("javascript/subscribe.mjs", () => {
  it("prints logs and progress and saves the image", async () => {
    const file = join(test.folder, "subscribe.png");
    const { code, output } = await node("subscribe", PROMPT, file);
    expect(output).toMatch(/^step \d+\/30$/m);
    expect(output).toContain("has_nsfw_concepts is always false");
    expect(output).toContain(`saved ${file} (1024x768`);
    expect(code).toBe(0);
    await expectImage(file);
  });
});

describe("javascript/video.mjs", () => {
  it("generates a video with audio from a prompt", async () => {
    const file = join(test.folder, "video.mp4");
    const { code, output } = await node("video", "a large red circle on a blue background", "bounces", file);
    expect(output).toMatch(
      /^fal-ai\/qwen-image\n.*^fal-ai\/wan\/v2\.2-a14b\/image-to-video\n.*^fal-ai\/mmaudio-v2\n/ms,
    );
    expect(output).toContain(`saved ${file} (`);
    expect(code).toBe(0);
    await using clips = openClipFiles();
    const video = await clips.decode(file, { width: 64, height: 36 });
    expect(video).toMatchObject({ fps: 32, codecs: ["avc1", "mp4a"] });
    expect(video.frames).toHaveLength(161);
  });
});

describe("javascript/workflow.mjs", () => {
  it("prints each node and saves the video; the same definition can be saved and called", async () => {
    const file = join(test.folder, "workflow.mp4");
    const { code, output } = await node(
      "workflow",
      "a large red circle on a blue background",
      "it bounces",
      file,
    );
    expect(output).toMatch(
      new RegExp(
        /^image runs fal-ai\/qwen-image, request \S+\nimage is done\n/.source +
          /video runs \S+image-to-video, request \S+\nvideo is done\n/.source,
      ),
    );
    expect(output).toContain(`saved ${file}`);
    expect(code).toBe(0);
    await using clips = openClipFiles();
    expect((await clips.decode(file, { width: 64, height: 36 })).codecs).toEqual(["avc1"]);

    const definition = readFileSync(join(PROJECT, "examples/workflows/text-to-video.json"), "utf8");
    const body = `{"name": "text-to-video", "title": "Text to video", "contents": ${definition}}`;
    const saved = await test.call("/rest/workflows/", { method: "POST", body });
    expect([saved.status, ((await saved.json()) as { name?: string }).name]).toEqual([201, "text-to-video"]);
  });
});

describe("javascript/pipeline.mjs", () => {
  it("prints the progress of the nodes and saves the video", async () => {
    const file = join(test.folder, "pipeline.mp4");
    const { code, output } = await node(
      "pipeline",
      "a large red circle on a blue background",
      "it bounces on the floor",
      file,
    );
    expect(output).toMatch(
      new RegExp(
        /^image: fal-ai\/qwen-image, request \S+\nimage: done\n/.source +
          /video: .*^video: done\naudio: .*^audio: done\nsaved /.source,
        "ms",
      ),
    );
    expect(code).toBe(0);
    await using clips = openClipFiles();
    expect(await clips.decode(file, { width: 64, height: 36 })).toMatchObject({ codecs: ["avc1", "mp4a"] });
  });
});

describe("curl/rerun.sh", () => {
  it("runs a pipeline, then a rerun with other audio that reuses the other nodes", async () => {
    const { code, output } = await run("sh", ["examples/curl/rerun.sh", 'a "large" red circle']);
    const statuses = output.split("\n").filter((line) => line.startsWith('{"status"'));
    const [first, again] = statuses.map(
      (line) =>
        JSON.parse(line) as { request_id: string; rerun_of?: string; nodes: { request_id: string }[] },
    );
    expect(again?.rerun_of).toBe(first?.request_id);
    const [requests, anew] = [first, again].map((status) =>
      status?.nodes.map(({ request_id }) => request_id),
    );
    expect(requests).toHaveLength(3);
    expect(anew).toEqual([requests?.[0], requests?.[1], expect.not.stringMatching(requests?.[2] ?? "")]);
    expect(output).toMatch(/"silent_video":/);
    expect(code).toBe(0);
  });

  it("ends with the platform's error when it is refused", async () => {
    const { code, output } = await run("sh", ["examples/curl/rerun.sh"], { TEMPERA_KEY: "wrong" });
    expect(code).toBe(1);
    expect(output).toContain("Invalid Key Authorization header format");
  });
});

describe("javascript/queue.mjs", () => {
  it("submits now, collects later", async () => {
    const submitted = await node("queue", "submit", PROMPT);
    const requestId = submitted.output.trim();
    const { code, output } = await node("queue", "collect", requestId);
    expect(JSON.parse(output)).toMatchObject({ prompt: PROMPT, images: [{ width: 1024, height: 768 }] });
    expect(code).toBe(0);
    expect((await node("queue", "status", requestId)).output).toBe("COMPLETED\n");
    expect(await node("queue", "cancel", requestId)).toMatchObject({
      code: 1,
      output: expect.stringMatching(/^400 .*ALREADY_COMPLETED/),
    });
  });

  it("cancels, and collects the cancel", async () => {
    const input = { prompt: PROMPT, num_inference_steps: 250, num_images: 4 };
    const { request_id: requestId } = await test.client.submit("fal-ai/qwen-image", input);
    expect(await node("queue", "cancel", requestId)).toEqual({ code: 0, output: "cancel requested\n" });
    expect(await node("queue", "collect", requestId)).toMatchObject({
      code: 1,
      output: expect.stringMatching(/^499 .*client_cancelled/),
    });
  });
});

describe("python/submit_and_poll.py", () => {
  it("prints states and logs and saves the image", async () => {
    const file = join(test.folder, "python.png");
    const { code, output } = await python([PROMPT, file]);
    expect(output).toContain("has_nsfw_concepts is always false");
    expect(output).toContain(`saved ${file} (1024x768`);
    expect(code).toBe(0);
    await expectImage(file);
  });

  it("ends with the platform's error when it is refused", async () => {
    const { code, output } = await python([""], { TEMPERA_KEY: "wrong" });
    expect(code).toBe(1);
    expect(output).toMatch(/^401 .*Invalid Key/);
  });
});

describe("README.md", () => {
  /**
   * The first code block of a language that holds `word`, with this platform's address and data folder in it.
   */
  const block = (language: string, word: string): string => {
    const blocks = [...readFileSync(join(PROJECT, "README.md"), "utf8").matchAll(/^```(\w+)\n(.*?)^```/gms)];
    const [, , text = ""] =
      blocks.find(([, named, body]) => named === language && body?.includes(word)) ?? [];
    return text
      .replaceAll("http://localhost:8080", test.platform.url)
      .replaceAll(".tempera/key", join(test.folder, "key"));
  };

  it("has a curl call that works as it is pasted", async () => {
    const { code, output } = await run("sh", ["-c", block("sh", "curl")], { TEMPERA_KEY: "" });
    expect(code).toBe(0);
    expect(JSON.parse(output)).toMatchObject({ status: "IN_QUEUE", queue_position: expect.any(Number) });
  });

  it("has a JavaScript call that works as it is pasted", async () => {
    const { code, output } = await run(process.execPath, [
      "--input-type=module",
      "--eval",
      block("js", "fal.subscribe"),
    ]);
    expect(output).toMatch(new RegExp(`^${test.platform.url}/files/[0-9a-f]{2}/[0-9a-f]{64}\\.png\n$`));
    expect(code).toBe(0);
  });
});
