import { relative } from "node:path";
import type { Command } from "commander";

/** Adds `init engine`, which writes an engine to begin with. Calls no platform. */
export function addInitCommands(program: Command): void {
  program
    .command("init")
    .description("write the files of something new")
    .command("engine")
    .description("write an engine in Python: its types, setup and predict, a model, a test, a Dockerfile")
    .argument("<name>", "the engine's name, such as my-engine")
    .option("--folder <path>", "the folder to write (default: one of that name, here)")
    .option("--endpoint <owner/alias>", "the endpoint of its model (default: acme/<name>)")
    .action(async (name: string, options: { folder?: string; endpoint?: string }) => {
      const { initEngine } = await import("../../init-engine.ts");
      const folder = initEngine({ name, ...options });
      process.stdout.write(`${folder}: ${relative(process.cwd(), folder)}/README.md has the next steps\n`);
    });
}
