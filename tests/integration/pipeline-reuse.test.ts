/**
 * Reuse of node results by later runs and by reruns, on the models that ship, in their smallest sizes.
 */
import { execFile } from "node:child_process";
import { readdir, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createPlatformClient, type NodeStatus, type Status } from "../../src/cli/platform-client.ts";
import { openClipFiles } from "../../src/evaluation/clip-files.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const VIDEO = "tempera/text-to-video-with-audio";
const SMALL = {
  prompt: "a large red circle",
  num_frames: 17,
  image_steps: 2,
  video_steps: 2,
  audio_steps: 4,
};

let test: TestPlatform;
let seeds = 0;
beforeAll(async () => {
  test = await startTestPlatform();
});
afterAll(() => test[Symbol.asyncDispose]());

interface Ran {
  id: string;
  output: { image: { url: string }; silent_video: { url: string }; video: { url: string }; seed: number };
  status: Status;
  nodes: Record<string, NodeStatus>;
}

/** Waits for a pipeline's request and reads its status, its nodes and its output. */
async function collect(id: string): Promise<Ran> {
  let last: Status | undefined;
  for await (const status of test.client.follow(VIDEO, id, { nodes: true })) last = status;
  const nodes = Object.fromEntries((last?.nodes ?? []).map((node) => [node.node_id, node]));
  const output = (await test.client.result(VIDEO, id)) as Ran["output"];
  return { id, status: last as Status, nodes, output };
}

const run = async (input: object, headers: Record<string, string> = {}): Promise<Ran> =>
  collect((await test.client.submit(VIDEO, input, headers)).request_id);
const rerun = async (id: string, body: object): Promise<Ran> =>
  collect((await test.client.rerun(VIDEO, id, body)).request_id);
const cacheOf = ({ nodes }: Ran): object =>
  Object.fromEntries(Object.values(nodes).map(({ node_id, cache }) => [node_id, cache]));
const requestsOf = ({ nodes }: Ran): Record<string, string> =>
  Object.fromEntries(Object.values(nodes).map(({ node_id, request_id }) => [node_id, request_id]));
/** Lists the nodes that an engine has run: only an engine begins an attempt. */
async function inferred(...runs: Ran[]): Promise<string[]> {
  const names: string[] = [];
  for (const { nodes } of runs) {
    for (const { node_id, request_id } of Object.values(nodes)) {
      if ((await test.record(request_id))?.startedAtMs !== undefined) names.push(node_id);
    }
  }
  return names.sort();
}

const MISS = { image: "miss", video: "miss", audio: "miss" };
const HIT = { image: "hit", video: "hit", audio: "hit" };

describe("a second run with the same input", () => {
  it("runs no inference, answers the same, and reports each node as reused", async () => {
    const input = { ...SMALL, seed: ++seeds };
    const first = await run(input);
    expect(cacheOf(first)).toEqual(MISS);
    expect(await inferred(first)).toEqual(["audio", "image", "video"]);
    const second = await run(input);
    expect(cacheOf(second)).toEqual(HIT);
    expect(await inferred(second)).toEqual([]);
    expect(second.output).toEqual(first.output);
    for (const [ran, cache] of [
      [first, "miss"],
      [second, "hit"],
    ] as const) {
      const result = await test.call(`/queue/fal-ai/qwen-image/requests/${ran.nodes.image?.request_id}`);
      expect(result.headers.get("x-tempera-cache")).toBe(cache);
      expect(result.headers.get("x-fal-billable-units")).toBe(cache === "hit" ? "0" : "1");
    }
  });

  it("of another owner runs every node", async () => {
    const input = { ...SMALL, seed: ++seeds };
    await run(input);
    const { key } = await test.client.admin<{ key: string }>("POST", "/v1/keys", { alias: "another owner" });
    const other = createPlatformClient({ ...test.platform, key });
    const { request_id: id } = await other.submit(VIDEO, input);
    let last: Status | undefined;
    for await (const status of other.follow(VIDEO, id, { nodes: true })) last = status;
    expect(last?.nodes?.map(({ cache }) => cache)).toEqual(["miss", "miss", "miss"]);
  });

  it("runs every node with X-Tempera-Cache: off, and stores no result", async () => {
    const input = { ...SMALL, seed: ++seeds };
    const off = { "x-tempera-cache": "off" };
    expect(await inferred(await run(input, off), await run(input, off))).toHaveLength(6);
    expect(cacheOf(await run(input))).toEqual(MISS);
    const refused = await test.call(`/queue/${VIDEO}`, {
      method: "POST",
      body: JSON.stringify(input),
      headers: { "x-tempera-cache": "no" },
    });
    expect([refused.status, await refused.text()]).toEqual([400, expect.stringContaining("X-Tempera-Cache")]);
  });

  it("runs a node again whose payloads were deleted", async () => {
    const input = { ...SMALL, seed: ++seeds };
    const first = await run(input);
    await test.client.admin("DELETE", `/v1/models/requests/${requestsOf(first).video}/payloads`);
    expect(cacheOf(await run(input))).toEqual({ image: "hit", video: "miss", audio: "hit" });
  });

  it("of two at once runs each node once", async () => {
    const input = { ...SMALL, seed: ++seeds };
    const both = await Promise.all([run(input), run(input)]);
    expect(await inferred(...both)).toEqual(["audio", "image", "video"]);
    expect(both[0].output).toEqual(both[1].output);
  });

  it("runs the nodes again whose results were lost, and no others", async () => {
    const input = { ...SMALL, seed: ++seeds };
    const first = await run(input);
    const lost = new URL(first.output.silent_video.url).pathname.slice("/files/".length);
    await rm(join(test.folder, "objects/artifacts", lost));
    expect(await readdir(join(test.folder, "objects/artifacts", lost, ".."))).not.toContain(
      lost.split("/")[1],
    );
    const second = await run(input);
    // The same bytes are made of the same seed, so the audio that was made for them still fits.
    expect(cacheOf(second)).toEqual({ image: "hit", video: "miss", audio: "hit" });
    expect(second.output).toEqual(first.output);
  });
});

describe("npm run demo", () => {
  interface Report {
    path: string;
    request_id: string;
    seed: number;
    files: Record<string, { path: string; bytes: number }>;
    nodes: { node: string; request_id: string; cache: string; seconds: { inference: number } }[];
  }

  it("shows the nodes as they finish, and saves an image, a video, and the video with audio", async () => {
    const env = { ...process.env, TEMPERA_URL: test.platform.url, TEMPERA_KEY: test.platform.key };
    const demo = (...more: string[]) =>
      new Promise<{ out: string; err: string }>((done, fail) => {
        const args = ["scripts/run.mjs", "demo", "--steps", "2", "--frames", "17", "--seed", "4711", ...more];
        execFile(process.execPath, args, { cwd: PROJECT, env }, (error, out, err) =>
          error ? fail(new Error(err)) : done({ out, err }),
        );
      });
    const first = await demo("--json", "--out", join(test.folder, "demo"));
    const report = JSON.parse(first.out) as Report;
    expect(report.nodes.map(({ node, cache }) => [node, cache])).toEqual([
      ["image", "miss"],
      ["video", "miss"],
      ["audio", "miss"],
    ]);
    expect(first.err).toMatch(
      new RegExp(
        "^ {2}image {3}fal-ai/qwen-image, request [0-9a-f-]{36}$.*" +
          "^ {2}video {3}step 2/2.*^ {2}audio {3}done: cache miss, ",
        "ms",
      ),
    );
    expect(report).toMatchObject({ seed: 4711, path: join(test.folder, `demo/${report.request_id}.mp4`) });
    expect(await sharp(report.files.image?.path).metadata()).toMatchObject({
      format: "png",
      width: 1024,
      height: 576,
    });
    await using clips = openClipFiles();
    const silent = await clips.decode(report.files.silent_video?.path ?? "", { width: 64, height: 36 });
    const whole = await clips.decode(report.files.video?.path ?? "", { width: 64, height: 36 });
    expect([silent.codecs, whole.codecs]).toEqual([["avc1"], ["avc1", "mp4a"]]);

    const again = await demo("--out", join(test.folder, "again.png"));
    expect(again.err.match(/done: cache hit/g)).toHaveLength(3);
    for (const name of ["again.png", "again-silent.mp4", "again.mp4"])
      expect(again.out).toContain(join(test.folder, name));
  });
});

describe("a rerun", () => {
  let first: Ran;
  beforeAll(async () => {
    first = await run({ ...SMALL, seed: ++seeds });
  });

  it("reuses the nodes that a change does not affect, and names the request that it repeats", async () => {
    const second = await rerun(first.id, { overrides: { nodes: { video: { num_inference_steps: 3 } } } });
    expect(requestsOf(second).image).toBe(requestsOf(first).image);
    expect(await inferred(second)).toEqual(["audio", "image", "video"]);
    expect(cacheOf(second)).toEqual({ image: "hit", video: "miss", audio: "miss" });
    expect(second.output.image).toEqual(first.output.image);
    expect(second.output.video).not.toEqual(first.output.video);
    expect(second.status.rerun_of).toBe(first.id);
    const rerunStatus = (await (
      await test.call(`/queue/${VIDEO}/requests/${second.id}/status?nodes=1`)
    ).json()) as Status;
    expect(rerunStatus).toMatchObject({ rerun_of: first.id, nodes: second.status.nodes });

    // A rerun of a rerun begins with what that one changed.
    const third = await rerun(second.id, { overrides: { input: { audio_prompt: "bell" } } });
    expect(requestsOf(third)).toMatchObject({
      image: requestsOf(first).image,
      video: requestsOf(second).video,
    });
    expect(third.output.silent_video).toEqual(second.output.silent_video);
    expect(third.output.video).not.toEqual(second.output.video);
  });

  it("reuses every node without a change; with `from`, that node runs again", async () => {
    const nothing = await rerun(first.id, {});
    expect(requestsOf(nothing)).toEqual(requestsOf(first));
    expect(nothing.output).toEqual(first.output);
    const fromVideo = await rerun(first.id, { from: "video" });
    expect(requestsOf(fromVideo).image).toBe(requestsOf(first).image);
    expect(requestsOf(fromVideo).video).not.toBe(requestsOf(first).video);
    expect(fromVideo.nodes.video?.cache).toBe("miss");
    expect(fromVideo.output).toEqual(first.output);
  });

  it("runs the nodes again whose results no longer exist", async () => {
    const once = await run({ ...SMALL, seed: ++seeds });
    const lost = new URL(once.output.image.url).pathname.slice("/files/".length);
    await rm(join(test.folder, "objects/artifacts", lost));
    const again = await rerun(once.id, {});
    expect(requestsOf(again)).toEqual({
      ...requestsOf(once),
      image: expect.not.stringMatching(requestsOf(once).image ?? ""),
    });
    expect(again.output).toEqual(once.output);
  });

  it("works from the command line", async () => {
    const child = { ...process.env, TEMPERA_URL: test.platform.url, TEMPERA_KEY: test.platform.key };
    const args = [
      "pipelines",
      "rerun",
      first.id,
      "--from",
      "image",
      "--set",
      "audio.num_steps=5",
      "--input",
      "num_frames=21",
      "--wait",
    ];
    const out = await new Promise<string>((done, fail) => {
      execFile(
        process.execPath,
        [join(PROJECT, "scripts/tempera.mjs"), ...args],
        { cwd: PROJECT, env: child },
        (error, stdout, stderr) => (error ? fail(new Error(stderr)) : done(stdout)),
      );
    });
    expect(JSON.parse(out)).toMatchObject({ image: first.output.image, seed: first.output.seed });
  });

  describe("is refused", () => {
    const answer = async (path: string, body: unknown, key?: string) => {
      const headers = key ? { authorization: `Key ${key}` } : {};
      const response = await test.call(`/queue/${VIDEO}/requests/${path}`, {
        method: "POST",
        body: JSON.stringify(body),
        headers,
      });
      return { status: response.status, body: (await response.json()) as { detail: unknown } };
    };
    const locations = ({ body }: { body: { detail: unknown } }): string[] =>
      (body.detail as { loc: string[] }[]).map(({ loc }) => loc.join("."));

    it("for unknown nodes and unknown fields of the input, all named", async () => {
      const nodes = await answer(`${first.id}/rerun`, {
        from: "nowhere",
        overrides: { nodes: { video: {}, nothing: { seed: 1 } } },
      });
      expect([nodes.status, locations(nodes)]).toEqual([422, ["body.from", "body.overrides.nodes.nothing"]]);
      expect(JSON.stringify(nodes.body)).toContain("image, video, audio");
      const input = await answer(`${first.id}/rerun`, {
        overrides: { input: { num_frames: 5, resolution: "9p" } },
      });
      expect([input.status, locations(input).sort()]).toEqual([
        422,
        ["body.overrides.input.num_frames", "body.overrides.input.resolution"].sort(),
      ]);
      const unknown = await answer(`${first.id}/rerun`, { overrides: { input: { colour: "red" } } });
      expect([unknown.status, locations(unknown)]).toEqual([422, ["body.overrides.input.colour"]]);
    });

    it("for a request that is not a pipeline's, is another owner's, or has not ended", async () => {
      const node = await answer(`${requestsOf(first).image}/rerun`, {});
      expect(node).toMatchObject({
        status: 400,
        body: { detail: expect.stringContaining(`node image of ${first.id}`) },
      });
      const model = await test.client.submit("tempera/stub", {});
      for await (const _ of test.client.follow("tempera/stub", model.request_id));
      expect(await answer(`${model.request_id}/rerun`, {})).toMatchObject({
        status: 400,
        body: { detail: expect.stringContaining("tempera/stub") },
      });
      const { key } = await test.client.admin<{ key: string }>("POST", "/v1/keys", {
        alias: "somebody else",
      });
      expect(await answer(`${first.id}/rerun`, {}, key)).toMatchObject({ status: 404 });
      const running = await test.client.submit("tempera/stub", { delay_ms: 600_000 });
      expect(await answer(`${running.request_id}/rerun`, {})).toMatchObject({ status: 400 });
      await test.client.cancel("tempera/stub", running.request_id);
    });
  });
});
