import type { Command } from "commander";
import type { PlatformClient } from "../../platform-client.ts";
import { table } from "../../table.ts";
import { print } from "../listing.ts";

interface WorkerView {
  worker: string;
  device: string;
  state: string;
  budget_mib: number;
  memory_mib: number;
  models: number;
  ready: number;
  running: number;
  waiting: number;
}

/** `workers list|drain|resume`: the GPU workers. Needs a key of scope ADMIN. */
export function addWorkerCommands(program: Command, connect: (command: Command) => PlatformClient): void {
  const workers = program.command("workers").description("the GPU workers (needs a key of scope ADMIN)");
  workers
    .command("list")
    .description("list the GPU workers")
    .option("--json", "print the answer as JSON")
    .action(async ({ json }: { json?: boolean }, command: Command) => {
      const { workers: all } = await connect(command).admin<{ workers: WorkerView[] }>(
        "GET",
        "/v1/tempera/workers",
      );
      if (json) return print(all);
      const rows = all.map(
        ({ worker, device, state, models, ready, running, waiting, memory_mib, budget_mib }) => [
          worker,
          device,
          state,
          `${ready}/${models}`,
          String(running),
          String(waiting),
          `${memory_mib}/${budget_mib}`,
        ],
      );
      process.stdout.write(
        `${table(["WORKER", "DEVICE", "STATE", "LOADED", "RUNS", "WAIT", "MIB"], rows)}\n`,
      );
    });
  for (const [verb, says] of [
    [
      "drain",
      "take no new requests; what is running ends, or goes on elsewhere after the worker's time of grace",
    ],
    ["resume", "take requests again"],
  ] as const) {
    workers
      .command(verb)
      .description(says)
      .argument("<worker>", "its name, as `workers list` shows it")
      .option("--json", "print the answer as JSON")
      .action(async (worker: string, { json }: { json?: boolean }, command: Command) => {
        const path = `/v1/tempera/workers/${encodeURIComponent(worker)}/${verb}`;
        const answer = await connect(command).admin<{ worker: string; drained: boolean }>("POST", path);
        if (json) return print(answer);
        process.stderr.write(
          verb === "drain"
            ? "Asked to drain; `workers list` shows when it is drained.\n"
            : "Asked to go on.\n",
        );
      });
  }
}
