/**
 * Measures the diffusers engine on this machine's GPU, with random weights: `npm run gpu:prove`, or one phase
 * of it: `npm run gpu:prove -- qwen`, `wan` or `cold`. `-- --small` tries the same code on a CPU.
 *
 * TEMPERA_PYTHON names the Python, as for engines; without it one is set up in the cache. Without a GPU the
 * command says so, and its exit code is 0.
 */
import { spawn, spawnSync } from "node:child_process";
import { delimiter, join } from "node:path";
import "tsx";

const ROOT = join(import.meta.dirname, "..");
const ENGINES = join(ROOT, "engines/python");
const given = process.argv.slice(2);

if (given.some((word) => word === "--small" || word.startsWith("--device")) || hasGpu()) await measure();
else
  process.stdout.write(
    "gpu:prove: nvidia-smi finds no GPU, so nothing was measured; run it on a machine with a GPU, name " +
      "another device with --device, or try the same code on this CPU with --small.\n",
  );

function hasGpu() {
  return spawnSync("nvidia-smi", ["-L"], { stdio: "ignore" }).status === 0;
}

async function measure() {
  const { pythonEnv } = await import("../src/dev/services/python-env.ts");
  const log = (line) => process.stderr.write(`${line}\n`);
  try {
    const python =
      process.env.TEMPERA_PYTHON || (await pythonEnv(join(ENGINES, "requirements.txt"), { log }));
    const out = join(ROOT, ".tempera/gpu-prove");
    const child = spawn(python, ["-m", "gpu_prove", "--out", out, ...given], {
      env: { ...process.env, PYTHONPATH: [ENGINES, join(ENGINES, "tests")].join(delimiter) },
      stdio: "inherit",
    });
    process.exitCode = await new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code) => resolve(code ?? 1));
    });
  } catch (error) {
    log(`gpu:prove: ${error.message}`);
    process.exitCode = 1;
  }
}
