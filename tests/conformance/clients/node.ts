/** Clients in JavaScript: fal's own, and packages of others that speak fal's protocol. */
import { join } from "node:path";
import { cachedBuild } from "../../setup/cached-build.ts";
import { type Client, checksOf, falNamesAt, type Surroundings } from "./check.ts";
import { IMAGE, WAITING_MODEL } from "./inputs.ts";

const FOLDER = join(import.meta.dirname, "node");

export const js: Client = {
  title: "JavaScript, @fal-ai/client 1.10.1",
  async run(surroundings) {
    const { url: HOOK_URL, called } = surroundings.hook();
    const checks = await program("js.mjs", surroundings, { HOOK_URL, WAITING_MODEL, IMAGE });
    return [...checks, await called()];
  },
};

export const aiSdk: Client = {
  title: "AI SDK, @ai-sdk/fal 3.0.41",
  run: async (surroundings) =>
    program("ai-sdk.mjs", surroundings, { PACKAGES: await packages(surroundings) }),
};

export const huggingface: Client = {
  title: "Hugging Face in JavaScript, @huggingface/inference 4.13.30",
  run: async (surroundings) =>
    program("huggingface.mjs", surroundings, { IMAGE, PACKAGES: await packages(surroundings) }),
};

const program = (name: string, surroundings: Surroundings, env: Record<string, string>) =>
  checksOf(process.execPath, ["--import", join(FOLDER, "resolve-fal.mjs"), join(FOLDER, name)], {
    ...falNamesAt(surroundings),
    TEMPERA_URL: surroundings.url,
    ...env,
  });

/** Installs the packages of others in the cache, and resolves to their folder. */
async function packages({ log }: Surroundings): Promise<string> {
  const folder = await cachedBuild({
    builder: "npm",
    project: join(FOLDER, "packages"),
    prefix: "npm",
    steps: [["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]],
    log,
  });
  return join(folder, "node_modules");
}
