import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Config } from "../../src/config/settings.ts";
import { findProgram } from "../../src/dev/services/program.ts";
import { TEMPORAL_CLI } from "../../src/dev/services/temporal.ts";

/** Writes the history of a workflow to `histories/<name>.json`, without what depends on this machine. */
export async function saveHistory(
  { port, namespace }: Config["temporal"],
  workflowId: string,
  name: string,
): Promise<void> {
  const temporalCli = await findProgram(TEMPORAL_CLI, { log: () => {} });
  const server = ["--address", `127.0.0.1:${port}`, "--namespace", namespace];
  const command = ["workflow", "show", "-w", workflowId, "-o", "json", ...server];
  const { stdout } = await promisify(execFile)(temporalCli, command);
  const history = JSON.parse(stdout, (key, value) => {
    if (key === "identity") return "tempera";
    // Stack traces name this machine, and replay does not compare them.
    return key === "stackTrace" ? "" : value;
  });
  const file = join(import.meta.dirname, "histories", `${name}.json`);
  await writeFile(file, `${JSON.stringify(history, null, 1)}\n`);
  process.stdout.write(`${name}: ${history.events.length} events\n`);
}
