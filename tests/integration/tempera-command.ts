import { execFile } from "node:child_process";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import type { TestPlatform } from "./platform.ts";

const PROJECT = resolve(import.meta.dirname, "../..");

/** Runs the `tempera` command against a platform, with its key. Rejects when the command fails. */
export function runTempera(
  { platform, folder }: Pick<TestPlatform, "platform" | "folder">,
  ...args: string[]
): Promise<{ stdout: string; stderr: string }> {
  return promisify(execFile)(process.execPath, [join(PROJECT, "scripts/tempera.mjs"), ...args], {
    cwd: PROJECT,
    env: {
      ...process.env,
      TEMPERA_URL: platform.url,
      TEMPERA_ADMIN_URL: platform.adminUrl,
      TEMPERA_KEY: platform.key,
      TEMPERA_DATA: folder,
    },
  });
}
