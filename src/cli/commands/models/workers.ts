import type { Command } from "commander";
import type { WorkerView } from "../../../api/admin/routes/engines/workers.ts";
import { table } from "../../table.ts";
import { print } from "../listing.ts";
import { type Connect, JSON_OPTION } from "../options.ts";

const HEADER = ["WORKER", "DEVICE", "STATE", "LOADED", "RUNNING", "WAITING", "MIB"];

const rowOf = (worker: WorkerView): string[] => [
  worker.worker,
  worker.device,
  worker.state,
  `${worker.ready}/${worker.models}`,
  String(worker.running),
  String(worker.waiting),
  `${worker.memory_mib}/${worker.budget_mib}`,
];

/** Adds `workers list|drain|resume`: the GPU workers. Needs a key of scope ADMIN. */
export function addWorkerCommands(program: Command, connect: Connect): void {
  const workers = program
    .command("workers")
    .description("list and drain the GPU workers (needs a key of scope ADMIN)");
  workers
    .command("list")
    .description("list the GPU workers")
    .option(...JSON_OPTION)
    .action(async ({ json }: { json?: boolean }, command: Command) => {
      const { workers: all } = await connect(command).admin<{ workers: WorkerView[] }>(
        "GET",
        "/v1/tempera/workers",
      );
      if (json) return print(all);
      process.stdout.write(`${table(HEADER, all.map(rowOf))}\n`);
    });
  for (const [action, description] of [
    [
      "drain",
      "take no new requests; running requests finish, or continue on another worker after the grace period",
    ],
    ["resume", "take requests again"],
  ] as const) {
    workers
      .command(action)
      .description(description)
      .argument("<worker>", "name of the worker, as `workers list` shows it")
      .option(...JSON_OPTION)
      .action(async (worker: string, { json }: { json?: boolean }, command: Command) => {
        const path = `/v1/tempera/workers/${encodeURIComponent(worker)}/${action}`;
        const reply = await connect(command).admin<{ worker: string; drained: boolean }>("POST", path);
        if (json) return print(reply);
        process.stderr.write(
          action === "drain"
            ? "The worker drains; `workers list` shows when it is drained.\n"
            : "The worker takes requests again.\n",
        );
      });
  }
}
