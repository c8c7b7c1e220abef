/** `npm run demo`: one whole job on the platform, from a prompt to a picture, through the public HTTP API. */
import { mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { Command } from "commander";
import { type Platform, startPlatform } from "../bin/platform.ts";
import { refuseStart } from "../bin/role.ts";
import { loadConfig } from "../config/load-config.ts";
import { createLogger } from "../config/logger.ts";
import { watch } from "./commands/requests.ts";
import { type Connection, createPlatformClient, findKey } from "./platform-client.ts";

const ENDPOINT = "fal-ai/qwen-image";

interface Options {
  prompt: string;
  seed?: string;
  steps: string;
  out: string;
  json?: boolean;
}

interface Picture {
  images: { url: string; width: number; height: number; content_type: string }[];
  seed: number;
  timings: Record<string, number>;
}

/** A running platform at the configured address, or one started for this demo. */
async function reachPlatform(): Promise<Connection & { platform?: Platform; temporalUi: string | undefined }> {
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
    createLogger({ ...config.log, level: config.log.level === "info" ? "warn" : config.log.level }, "tempera"),
    (line) => process.stderr.write(`  ${line}\n`),
  );
  return { ...platform, platform };
}

async function demo({ prompt, seed, steps, out, json }: Options): Promise<void> {
  const { platform, temporalUi, ...connection } = await reachPlatform();
  try {
    const client = createPlatformClient(connection);
    process.stderr.write(`  ${ENDPOINT}: “${prompt}”\n`);
    const startedAtMs = Date.now();
    const input = { prompt, num_inference_steps: Number(steps), ...(seed !== undefined && { seed: Number(seed) }) };
    const { request_id: requestId } = await client.submit(ENDPOINT, input);
    process.stderr.write(`  request ${requestId}\n`);
    const last = await watch(client, ENDPOINT, requestId);
    const output = (await client.result(ENDPOINT, requestId)) as Picture;
    const totalSeconds = (Date.now() - startedAtMs) / 1000;

    const image = output.images[0];
    if (!image) throw new Error("The output holds no picture.");
    const file = await fetch(image.url);
    if (!file.ok)
      throw new Error(`The picture at ${image.url} cannot be fetched (HTTP ${file.status}); TEMPERA_PUBLIC_URL must lead to the gateway.`);
    const bytes = Buffer.from(await file.arrayBuffer());
    const path = resolve(out.endsWith(".png") ? out : join(out, `${requestId}.png`));
    await mkdir(resolve(path, ".."), { recursive: true });
    await writeFile(path, bytes);

    const { queue_time: queue = 0, inference_time: inference = 0 } = last.metrics;
    const workflow = temporalUi && `${temporalUi}/namespaces/${loadConfig().temporal.namespace}/workflows/${requestId}`;
    if (json) {
      const report = { path, request_id: requestId, seed: output.seed, width: image.width, height: image.height, bytes: bytes.length };
      process.stdout.write(
        `${JSON.stringify({ ...report, seconds: { queue, inference, total: totalSeconds }, temporal_ui: workflow ?? null })}\n`,
      );
      return;
    }
    process.stdout.write(
      [
        "",
        `  picture   ${path}  (${image.width}x${image.height}, ${bytes.length} bytes, seed ${output.seed})`,
        `  request   ${requestId}`,
        `  timings   queue ${queue.toFixed(2)} s, inference ${inference.toFixed(2)} s, in all ${totalSeconds.toFixed(2)} s`,
        ...(workflow ? [`  Temporal   ${workflow}${platform ? "  (while the platform runs: npm start)" : ""}`] : []),
        "",
        "",
      ].join("\n"),
    );
  } finally {
    await platform?.stop();
  }
}

const program = new Command("demo")
  .description("one whole job, from a prompt to a picture")
  .option("--prompt <text>", "what to draw", "a large red circle on a blue background")
  .option("--seed <number>", "the same seed makes the same picture; default: drawn")
  .option("--steps <number>", "denoising steps", "30")
  .option("--out <folder or file.png>", "where to save the picture", "out")
  .option("--json", "print the result as one JSON line")
  .action(demo);
try {
  await program.parseAsync();
  process.exit();
} catch (error) {
  refuseStart(error);
}
