import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { afterAll, expect, it, vi } from "vitest";
import { openSafetyCheck } from "../../../src/gpu-workers/engines/onnx/image/safety-check.ts";

const work = mkdtempSync(join(tmpdir(), "tempera-safety-"));
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(work, { recursive: true, force: true });
});

/** Prints the path of the installed network and the scores of the image files of its arguments. */
const SCORES = `
import json, sys
from PIL import Image
from tempera_diffusers.safety_check import installed_network, open_safety_check
scores = open_safety_check(0.5).scores([Image.open(path) for path in sys.argv[1:]])
print(json.dumps({"path": str(installed_network()), "scores": scores}))`;

/** The color of a pixel, at a part of the width and of the height from 0 to 1. */
type Drawing = (x: number, y: number) => readonly [number, number, number];
const drawings: [width: number, height: number, Drawing][] = [
  [
    640,
    480,
    (x, y) => (((x - 0.5) / 0.14) ** 2 + ((y - 0.54) / 0.42) ** 2 < 1 ? [214, 160, 130] : [70, 60, 90]),
  ],
  [100, 37, (x, y) => [255 * x, 255 * y, 127 * (x + y)]],
  [
    333,
    511,
    (x, y) => [128 + 120 * Math.sin(90 * x), 128 + 120 * Math.cos(70 * y), 128 + 99 * Math.sin(50 * x * y)],
  ],
  [256, 256, () => [224, 172, 140]],
];

it("gives the scores of the diffusers engine, with the real network", async () => {
  const images = drawings.map(([width, height, draw]) => {
    const pixels = Array.from({ length: width * height }, (_, i) =>
      draw((i % width) / width, Math.floor(i / width) / height).map(Math.round),
    );
    return { rgb: Buffer.from(pixels.flat()), width, height };
  });
  const paths = await Promise.all(
    images.map(async ({ rgb, ...size }, i) => {
      const path = join(work, `${i}.png`);
      await sharp(rgb, { raw: { ...size, channels: 3 } }).toFile(path);
      return path;
    }),
  );
  const printed = execFileSync(process.env.TEMPERA_PYTHON || "python3", ["-c", SCORES, ...paths], {
    cwd: fileURLToPath(new URL("..", import.meta.url)),
    env: { ...process.env, TEMPERA_SAFETY_CHECKER: "" },
  });
  const { path, scores } = JSON.parse(printed.toString()) as { path: string; scores: number[] };
  expect(new Set(scores.map((score) => score.toFixed(3))).size).toBe(drawings.length);

  vi.stubEnv("TEMPERA_SAFETY_CHECKER", path);
  const check = await openSafetyCheck({ threads: 1, safetyThreshold: 0.5 });
  for (const [i, { rgb, ...size }] of images.entries())
    expect(await check?.score(rgb, size)).toBeCloseTo(scores[i] as number, 4);
});
