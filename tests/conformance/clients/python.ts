/** Clients in Python: fal's client, fal's SDK, and Hugging Face's. */
import { delimiter, join } from "node:path";
import { pythonEnv } from "../../../src/dev/services/python-env.ts";
import { type Check, type Client, checksOf, falNamesAt, type Surroundings } from "./check.ts";
import { IMAGE, WAITING_MODEL } from "./inputs.ts";

/** The modules of the programs, and the one that resolves fal's names. */
const MODULES = [join(import.meta.dirname, "python"), join(import.meta.dirname, "../fal/python")];

export const python: Client = {
  title: "Python, fal-client 1.0.3",
  async run(surroundings) {
    const { url: HOOK_URL, called } = surroundings.hook();
    const checks = await program("fal_client_checks.py", "fal-client", surroundings, { HOOK_URL });
    return [...checks, await called()];
  },
};

export const falSdk: Client = {
  title: "fal's SDK, fal.apps of fal 1.83.0",
  run: (surroundings) => program("fal_sdk_checks.py", "fal", surroundings),
};

export const huggingfaceHub: Client = {
  title: "Hugging Face in Python, huggingface_hub 2.4.0",
  run: (surroundings) => program("huggingface_checks.py", "huggingface", surroundings),
};

async function program(
  name: string,
  list: "fal-client" | "fal" | "huggingface",
  surroundings: Surroundings,
  env: Record<string, string> = {},
): Promise<Check[]> {
  const lists = join(import.meta.dirname, "../../setup/python");
  const command = await pythonEnv(join(lists, `${list}.txt`), { log: surroundings.log });
  return checksOf(command, [join(import.meta.dirname, "python", name)], {
    ...falNamesAt(surroundings),
    PYTHONPATH: MODULES.join(delimiter),
    PYTHONDONTWRITEBYTECODE: "1",
    WAITING_MODEL,
    IMAGE,
    ...env,
  });
}
