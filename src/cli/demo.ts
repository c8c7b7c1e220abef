/**
 * `npm run demo`: one whole pipeline on the platform, from a prompt to a film with sound, through the public
 * HTTP API.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { Command } from "commander";
import { type Platform, startPlatform } from "../bin/platform.ts";
import { refuseStart } from "../bin/role.ts";
import { loadConfig } from "../config/load-config.ts";
import { createLogger } from "../config/logger.ts";
import { type Connection, createPlatformClient, findKey } from "./platform-client.ts";
import { watchNodes } from "./watch-nodes.ts";

const ENDPOINT = "tempera/text-to-video-with-audio";

interface Options {
  prompt: string;
  motion: string;
  sound: string;
  seed?: string;
  steps: string;
  frames: string;
  cache: boolean;
  out: string;
  json?: boolean;
}

interface MadeFile {
  url: string;
}

interface Film {
  image: MadeFile & { width: number; height: number };
  silent_video: MadeFile;
  video: MadeFile;
  seed: number;
}

/** A running platform at the configured address, or one started for this demo. */
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
  if (running)
    return {
      url,
      adminUrl,
      key: findKey(config.keys.admin),
      temporalUi: config.temporal.address ? undefined : `http://localhost:${config.temporal.uiPort}`,
    };
  process.stderr.write("  starting Tempera …\n");
  const platform = await startPlatform(
    config,
    createLogger(
      { ...config.log, level: config.log.level === "info" ? "warn" : config.log.level },
      "tempera",
    ),
    (line) => process.stderr.write(`  ${line}\n`),
  );
  return { ...platform, platform };
}

/** The steps of all three models, each within what it takes. */
function stepsOf(steps: string): object {
  const wanted = Number(steps);
  return {
    image_steps: wanted,
    video_steps: Math.min(wanted, 40),
    audio_steps: Math.min(Math.max(wanted, 4), 50),
  };
}

async function save(path: string, { url }: MadeFile): Promise<{ path: string; bytes: number }> {
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

/** What all three files are called, without their ends. */
const stemOf = (out: string, requestId: string): string =>
  resolve(/\.(png|mp4)$/.test(out) ? out.slice(0, -4) : join(out, requestId));

async function demo({
  prompt,
  motion,
  sound,
  seed,
  steps,
  frames,
  cache,
  out,
  json,
}: Options): Promise<void> {
  const { platform, temporalUi, ...connection } = await reachPlatform();
  try {
    const client = createPlatformClient(connection);
    process.stderr.write(`  ${ENDPOINT}: “${prompt}, ${motion}”\n`);
    const startedAtMs = Date.now();
    const input = {
      prompt,
      video_prompt: motion === "" ? null : `${prompt}, ${motion}`,
      audio_prompt: sound,
      num_frames: Number(frames),
      ...stepsOf(steps),
      ...(seed !== undefined && { seed: Number(seed) }),
    };
    const { request_id: requestId } = await client.submit(
      ENDPOINT,
      input,
      cache ? {} : { "x-tempera-cache": "off" },
    );
    process.stderr.write(`  request ${requestId}\n`);
    const { last, nodes } = await watchNodes(client, ENDPOINT, requestId, process.stderr);
    const film = (await client.result(ENDPOINT, requestId)) as Film;
    const totalSeconds = (Date.now() - startedAtMs) / 1000;

    const stem = stemOf(out, requestId);
    const [picture, silent, whole] = await Promise.all([
      save(`${stem}.png`, film.image),
      save(`${stem}-silent.mp4`, film.silent_video),
      save(`${stem}.mp4`, film.video),
    ]);
    const { queue_time: queue = 0, inference_time: inference = 0 } = last.metrics;
    const workflow =
      temporalUi && `${temporalUi}/namespaces/${loadConfig().temporal.namespace}/workflows/${requestId}`;
    if (json) {
      const { width, height } = film.image;
      const files = { picture, silent_film: silent, film: whole };
      const report = {
        path: whole.path,
        request_id: requestId,
        seed: film.seed,
        width,
        height,
        bytes: whole.bytes,
        files,
      };
      const told = nodes.map(({ node, endpoint, requestId: id, ...rest }) => ({
        node,
        endpoint,
        request_id: id,
        ...rest,
      }));
      const seconds = { queue, inference, total: totalSeconds };
      process.stdout.write(
        `${JSON.stringify({ ...report, nodes: told, seconds, temporal_ui: workflow ?? null })}\n`,
      );
      return;
    }
    process.stdout.write(
      [
        "",
        `  picture    ${picture.path}  (${film.image.width}x${film.image.height}, ${picture.bytes} bytes, seed ${film.seed})`,
        `  film       ${silent.path}  (${silent.bytes} bytes)`,
        `  with sound ${whole.path}  (${whole.bytes} bytes)`,
        `  request    ${requestId}`,
        ...nodes.map(
          ({ node, endpoint, requestId: id }) => `             ${node.padEnd(7)} ${endpoint}  ${id}`,
        ),
        `  timings    inference ${inference.toFixed(2)} s, in all ${totalSeconds.toFixed(2)} s`,
        ...(workflow
          ? [`  Temporal   ${workflow}${platform ? "  (while the platform runs: npm start)" : ""}`]
          : []),
        "",
        "",
      ].join("\n"),
    );
  } finally {
    await platform?.stop();
  }
}

const program = new Command("demo")
  .description("one whole pipeline, from a prompt to a picture to a film to a film with sound")
  .option("--prompt <text>", "what to draw", "a large red circle on a blue background")
  .option("--motion <text>", "what happens in the film", "it bounces on the floor")
  .option("--sound <text>", "what is heard; default: what the film shows", "")
  .option("--seed <number>", "the same seed makes the same film; default: drawn")
  .option("--steps <number>", "denoising steps of each model", "30")
  .option("--frames <number>", "frames of the film, 17 to 161", "81")
  .option("--no-cache", "run every node, though this very film was made before")
  .option(
    "--out <folder or file>",
    "where to save the files; x.png is saved beside x-silent.mp4 and x.mp4",
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
