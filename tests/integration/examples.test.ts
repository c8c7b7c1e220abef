/** Every example, and the two calls of the README, run as a reader runs them. */
import { execFile, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openClipFiles } from "../../src/evaluation/clip-files.ts";
import { freePort } from "../../src/dev/services/port.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const PROMPT = 'a large "red" circle on a blue background';

let test: TestPlatform;
beforeAll(async () => {
  test = await startTestPlatform({ TEMPERA_ALLOW_PRIVATE_ADDRESSES: "127.0.0.0/8" });
});
afterAll(() => test[Symbol.asyncDispose]());

interface Ran {
  code: number;
  /** What it printed, both streams. */
  said: string;
}

/**
 * Runs a program of this machine in the project's folder, told where the platform is. Rejects when there is
 * no such program.
 */
const run = (program: string, args: string[], env: Record<string, string> = {}): Promise<Ran> =>
  new Promise((done, fail) => {
    const child = { ...process.env, TEMPERA_URL: test.platform.url, TEMPERA_KEY: test.platform.key, ...env };
    execFile(program, args, { cwd: PROJECT, env: child }, (error, stdout, stderr) => {
      if (error && typeof error.code !== "number")
        return fail(new Error(`${program} cannot be run; install it. ${error.message}`));
      done({ code: error ? Number(error.code) : 0, said: stdout + stderr });
    });
  });

const curl = (args: string[], env?: Record<string, string>): Promise<Ran> =>
  run("sh", ["examples/curl/queue.sh", ...args], env);
const node = (name: string, ...args: string[]): Promise<Ran> =>
  run(process.execPath, [`examples/javascript/${name}.mjs`, ...args]);
const python = (args: string[], env?: Record<string, string>): Promise<Ran> =>
  run("python3", ["examples/python/submit_and_poll.py", ...args], env);

async function expectPicture(file: string): Promise<void> {
  expect(await sharp(file).metadata()).toMatchObject({ format: "png", width: 1024, height: 768 });
}

describe("curl/queue.sh", () => {
  it("prints each change and saves the picture", async () => {
    const file = join(test.folder, "curl.png");
    const { code, said } = await curl([PROMPT, file]);
    expect(said).toMatch(/^data: .*"status":"COMPLETED"/m);
    expect(said).toContain(`saved ${file}`);
    expect(code).toBe(0);
    await expectPicture(file);
  });

  it("ends with the platform's words when it is refused", async () => {
    const { code, said } = await curl([PROMPT], { TEMPERA_KEY: "wrong" });
    expect(code).toBe(1);
    expect(said).toContain("Invalid Key Authorization header format");
  });
});

describe("typescript/webhook-receiver.ts", () => {
  it("says what is signed and refuses what is not, in under thirty lines", async () => {
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
  it("prints logs and progress and saves the picture", async () => {
    const file = join(test.folder, "subscribe.png");
    const { code, said } = await node("subscribe", PROMPT, file);
    expect(said).toMatch(/^step \d+\/30$/m);
    expect(said).toContain("has_nsfw_concepts is always false");
    expect(said).toContain(`saved ${file} (1024x768`);
    expect(code).toBe(0);
    await expectPicture(file);
  });
});

describe("javascript/film.mjs", () => {
  it("goes from a prompt to a film with sound", async () => {
    const file = join(test.folder, "film.mp4");
    const { code, said } = await node("film", "a large red circle on a blue background", "bounces", file);
    expect(said).toMatch(
      /^fal-ai\/qwen-image\n.*^fal-ai\/wan\/v2\.2-a14b\/image-to-video\n.*^fal-ai\/mmaudio-v2\n/ms,
    );
    expect(said).toContain(`saved ${file} (`);
    expect(code).toBe(0);
    await using clips = openClipFiles();
    const film = await clips.decode(file, { width: 64, height: 36 });
    expect(film).toMatchObject({ fps: 32, codecs: ["avc1", "mp4a"] });
    expect(film.frames).toHaveLength(161);
  }, 120_000);
});

describe("javascript/workflow.mjs", () => {
  it("tells of each node and saves the film; the same definition can be saved and called", async () => {
    const file = join(test.folder, "workflow.mp4");
    const { code, said } = await node(
      "workflow",
      "a large red circle on a blue background",
      "it bounces",
      file,
    );
    expect(said).toMatch(
      /^picture runs fal-ai\/qwen-image, request \S+\npicture is done\nfilm runs \S+image-to-video, request \S+\nfilm is done\n/,
    );
    expect(said).toContain(`saved ${file}`);
    expect(code).toBe(0);
    await using clips = openClipFiles();
    expect((await clips.decode(file, { width: 64, height: 36 })).codecs).toEqual(["avc1"]);

    const definition = readFileSync(join(PROJECT, "examples/workflows/picture-to-film.json"), "utf8");
    const body = `{"name": "picture-to-film", "title": "Picture to film", "contents": ${definition}}`;
    const saved = await test.call("/rest/workflows/", { method: "POST", body });
    expect([saved.status, ((await saved.json()) as { name?: string }).name]).toEqual([
      201,
      "picture-to-film",
    ]);
  }, 120_000);
});

describe("javascript/pipeline.mjs", () => {
  it("is told what the nodes do, and saves the film", async () => {
    const file = join(test.folder, "pipeline.mp4");
    const { code, said } = await node(
      "pipeline",
      "a large red circle on a blue background",
      "it bounces on the floor",
      file,
    );
    expect(said).toMatch(
      /^image: fal-ai\/qwen-image, request \S+\nimage: done\nvideo: .*^video: done\nsound: .*^sound: done\nsaved /ms,
    );
    expect(code).toBe(0);
    await using clips = openClipFiles();
    expect(await clips.decode(file, { width: 64, height: 36 })).toMatchObject({ codecs: ["avc1", "mp4a"] });
  }, 120_000);
});

describe("curl/rerun.sh", () => {
  it("runs a pipeline, and again with another sound: the other nodes are kept", async () => {
    const { code, said } = await run("sh", ["examples/curl/rerun.sh", 'a "large" red circle']);
    const statuses = said.split("\n").filter((line) => line.startsWith('{"status"'));
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
    expect(said).toMatch(/"silent_video":/);
    expect(code).toBe(0);
  }, 120_000);

  it("ends with the platform's words when it is refused", async () => {
    const { code, said } = await run("sh", ["examples/curl/rerun.sh"], { TEMPERA_KEY: "wrong" });
    expect(code).toBe(1);
    expect(said).toContain("Invalid Key Authorization header format");
  });
});

describe("javascript/queue.mjs", () => {
  it("submits now, collects later", async () => {
    const submitted = await node("queue", "submit", PROMPT);
    const requestId = submitted.said.trim();
    const { code, said } = await node("queue", "collect", requestId);
    expect(JSON.parse(said)).toMatchObject({ prompt: PROMPT, images: [{ width: 1024, height: 768 }] });
    expect(code).toBe(0);
    expect((await node("queue", "status", requestId)).said).toBe("COMPLETED\n");
    expect(await node("queue", "cancel", requestId)).toMatchObject({
      code: 1,
      said: expect.stringMatching(/^400 .*ALREADY_COMPLETED/),
    });
  });

  it("cancels; what is collected then is the cancel", async () => {
    const input = { prompt: PROMPT, num_inference_steps: 250, num_images: 4 };
    const { request_id: requestId } = await test.client.submit("fal-ai/qwen-image", input);
    expect(await node("queue", "cancel", requestId)).toEqual({ code: 0, said: "cancel requested\n" });
    expect(await node("queue", "collect", requestId)).toMatchObject({
      code: 1,
      said: expect.stringMatching(/^499 .*client_cancelled/),
    });
  });
});

describe("python/submit_and_poll.py", () => {
  it("prints states and logs and saves the picture", async () => {
    const file = join(test.folder, "python.png");
    const { code, said } = await python([PROMPT, file]);
    expect(said).toContain("has_nsfw_concepts is always false");
    expect(said).toContain(`saved ${file} (1024x768`);
    expect(code).toBe(0);
    await expectPicture(file);
  });

  it("ends with the platform's words when it is refused", async () => {
    const { code, said } = await python([""], { TEMPERA_KEY: "wrong" });
    expect(code).toBe(1);
    expect(said).toMatch(/^401 .*Invalid Key/);
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

  it("the curl call works as it is pasted", async () => {
    const { code, said } = await run("sh", ["-c", block("sh", "curl")], { TEMPERA_KEY: "" });
    expect(code).toBe(0);
    expect(JSON.parse(said)).toMatchObject({ status: "IN_QUEUE", queue_position: expect.any(Number) });
  });

  it("the JavaScript call works as it is pasted", async () => {
    const { code, said } = await run(process.execPath, [
      "--input-type=module",
      "--eval",
      block("js", "fal.subscribe"),
    ]);
    expect(said).toMatch(new RegExp(`^${test.platform.url}/files/[0-9a-f]{2}/[0-9a-f]{64}\\.png\n$`));
    expect(code).toBe(0);
  });
});
