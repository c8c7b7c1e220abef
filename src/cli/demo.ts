/**
 * `npm run demo`: runs one whole pipeline on the platform, from a prompt to a video with audio, through the
 * public HTTP API.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { Command } from "commander";
import { type Platform, startPlatform } from "../bin/platform.ts";
import { refuseStart } from "../bin/role.ts";
import { loadConfig } from "../config/load-config.ts";
import { createLogger } from "../config/logger.ts";
import { createMask } from "../config/masked.ts";
import { writeJson } from "../core/json/exact-json.ts";
import { readPorts } from "../dev/kept-ports.ts";
import {
  type Connection,
  createPlatformClient,
  findKey,
  type PlatformClient,
  type Status,
} from "./platform-client.ts";
import { type EndedNode, watchNodes } from "./watch-nodes.ts";

const ENDPOINT = "tempera/text-to-video-with-audio";

interface Options {
  prompt: string;
  motion: string;
  audio: string;
  seed?: string;
  steps: string;
  frames: string;
  cache: boolean;
  out: string;
  json?: boolean;
}

interface OutputFile {
  url: string;
}

interface Output {
  image: OutputFile & { width: number; height: number };
  silent_video: OutputFile;
  video: OutputFile;
  seed: number;
}

interface SavedFile {
  path: string;
  bytes: number;
}

/** The result of one demo, with its saved files and its durations. */
interface Report {
  requestId: string;
  output: Output;
  files: { image: SavedFile; silentVideo: SavedFile; video: SavedFile };
  nodes: EndedNode[];
  seconds: { queue: number; inference: number; total: number };
  /** The page of the pipeline's workflow in the Temporal UI, if the UI's address is known. */
  workflowPage: string | undefined;
  /** True if the platform was started for this demo and stops with it. */
  isTemporary: boolean;
}

/** Connects to the platform at the configured address, or starts one for this demo. */
async function reachPlatform(): Promise<
  Connection & { platform?: Platform; temporalUi: string | undefined }
> {
  const config = loadConfig();
  const url = process.env.TEMPERA_URL ?? `http://localhost:${config.server.port}`;
  const adminUrl = `http://localhost:${config.server.adminPort}`;
  const running = await fetch(`${url}/health/live`, { signal: AbortSignal.timeout(1_000) }).then(
    (response) => response.ok,
    () => false,
  );
  if (running) {
    const { temporalUi } = await readPorts(config.folders.data);
    return {
      url,
      adminUrl,
      key: findKey(config.keys.admin),
      temporalUi: config.temporal.address ? undefined : `http://localhost:${temporalUi}`,
    };
  }
  process.stderr.write("  starting Tempera …\n");
  const platform = await startPlatform(
    config,
    createLogger({ ...config.log, level: config.log.level === "info" ? "warn" : config.log.level }, "demo", {
      mask: createMask(config),
    }),
    (line) => process.stderr.write(`  ${line}\n`),
  );
  return { ...platform, platform, temporalUi: platform.temporalUi?.url };
}

/** Returns the pipeline's input. The steps are limited to what each of the three models accepts. */
function inputOf({ prompt, motion, audio, seed, steps, frames }: Options): object {
  const stepCount = Number(steps);
  return {
    prompt,
    video_prompt: motion === "" ? null : `${prompt}, ${motion}`,
    audio_prompt: audio,
    num_frames: Number(frames),
    image_steps: stepCount,
    video_steps: Math.min(stepCount, 40),
    audio_steps: Math.min(Math.max(stepCount, 4), 50),
    ...(seed !== undefined && { seed: Number(seed) }),
  };
}

async function save(path: string, { url }: OutputFile): Promise<SavedFile> {
  const file = await fetch(url);
  if (!file.ok)
    throw new Error(
      `${url} cannot be fetched (HTTP ${file.status}); TEMPERA_PUBLIC_URL must lead to the gateway.`,
    );
  const bytes = Buffer.from(await file.arrayBuffer());
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, bytes);
  return { path, bytes: bytes.length };
}

async function saveAll(
  out: string,
  requestId: string,
  { image, silent_video, video }: Output,
): Promise<Report["files"]> {
  // All three files have the same name up to the extension.
  const stem = resolve(/\.(png|mp4)$/.test(out) ? out.slice(0, -4) : join(out, requestId));
  const [savedImage, silentVideo, savedVideo] = await Promise.all([
    save(`${stem}.png`, image),
    save(`${stem}-silent.mp4`, silent_video),
    save(`${stem}.mp4`, video),
  ]);
  return { image: savedImage, silentVideo, video: savedVideo };
}

/** Submits the pipeline and follows it to its end. */
async function runPipeline(
  client: PlatformClient,
  options: Options,
): Promise<{ requestId: string; output: Output; last: Status; nodes: EndedNode[] }> {
  const headers: Record<string, string> = options.cache ? {} : { "x-tempera-cache": "off" };
  const { request_id: requestId } = await client.submit(ENDPOINT, inputOf(options), headers);
  process.stderr.write(`  request ${requestId}\n`);
  const { last, nodes } = await watchNodes(client, ENDPOINT, requestId, process.stderr);
  const output = (await client.result(ENDPOINT, requestId)) as Output;
  return { requestId, output, last, nodes };
}

async function demo(options: Options): Promise<void> {
  const { platform, temporalUi, ...connection } = await reachPlatform();
  try {
    const { prompt, motion, out, json } = options;
    process.stderr.write(`  ${ENDPOINT}: “${prompt}, ${motion}”\n`);
    const startedAtMs = Date.now();
    const client = createPlatformClient(connection);
    const { requestId, output, last, nodes } = await runPipeline(client, options);
    const total = (Date.now() - startedAtMs) / 1000;
    const { queue_time: queue = 0, inference_time: inference = 0 } = last.metrics;
    const { namespace } = loadConfig().temporal;
    const report: Report = {
      requestId,
      output,
      files: await saveAll(out, requestId, output),
      nodes,
      seconds: { queue, inference, total },
      workflowPage: temporalUi && `${temporalUi}/namespaces/${namespace}/workflows/${requestId}`,
      isTemporary: platform !== undefined,
    };
    process.stdout.write(json ? reportJson(report) : reportText(report));
  } finally {
    await platform?.stop();
  }
}

function reportJson({ requestId, output, files, nodes, seconds, workflowPage }: Report): string {
  const { width, height } = output.image;
  return `${writeJson({
    path: files.video.path,
    request_id: requestId,
    seed: output.seed,
    width,
    height,
    bytes: files.video.bytes,
    files: { image: files.image, silent_video: files.silentVideo, video: files.video },
    nodes: nodes.map(({ node, endpoint, requestId: id, ...rest }) => ({
      node,
      endpoint,
      request_id: id,
      ...rest,
    })),
    seconds,
    temporal_ui: workflowPage ?? null,
  })}\n`;
}

function reportText({ requestId, output, files, nodes, seconds, workflowPage, isTemporary }: Report): string {
  const { image, silentVideo, video } = files;
  const { width, height } = output.image;
  const lines = [
    "",
    `  image      ${image.path}  (${width}x${height}, ${image.bytes} bytes, seed ${output.seed})`,
    `  silent     ${silentVideo.path}  (${silentVideo.bytes} bytes)`,
    `  with audio ${video.path}  (${video.bytes} bytes)`,
    `  request    ${requestId}`,
    ...nodes.map(({ node, endpoint, requestId: id }) => `             ${node.padEnd(7)} ${endpoint}  ${id}`),
    `  durations  inference ${seconds.inference.toFixed(2)} s, total ${seconds.total.toFixed(2)} s`,
  ];
  if (workflowPage)
    lines.push(`  Temporal   ${workflowPage}${isTemporary ? "  (while the platform runs: npm start)" : ""}`);
  return [...lines, "", ""].join("\n");
}

const program = new Command("demo")
  .description("run one whole pipeline: from a prompt to an image, to a video, to a video with audio")
  .option("--prompt <text>", "content of the image", "a large red circle on a blue background")
  .option("--motion <text>", "motion in the video", "it bounces on the floor")
  .option("--audio <text>", "content of the audio; default: derived from the video", "")
  .option("--seed <number>", "seed of the results: the same seed makes the same video; default: random")
  .option("--steps <number>", "denoising steps of each model", "30")
  .option("--frames <number>", "frames of the video, 17 to 161", "81")
  .option("--no-cache", "run every node, even if its result is cached")
  .option(
    "--out <folder or file>",
    "folder of the files; with x.png they are x.png, x-silent.mp4 and x.mp4",
    "out",
  )
  .option("--json", "print the result as one JSON line")
  .action(demo);
try {
  await program.parseAsync();
  process.exit();
} catch (error) {
  refuseStart(error);
}
