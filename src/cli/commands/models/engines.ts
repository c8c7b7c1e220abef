import type { Command } from "commander";
import type { PlatformClient } from "../../platform-client.ts";
import { table } from "../../table.ts";
import { print } from "../listing.ts";

interface EngineView {
  endpoint_id: string;
  version: string;
  worker: string;
  device: string;
  state: "stopped" | "loading" | "ready" | "out" | "lost";
  polled: boolean;
  drained: boolean;
  pid: number | null;
  memory_mib: number | null;
  running: number;
  waiting: number;
  failures: number;
  last_failure: string | null;
}

/**
 * `engines list|reset|drain|resume`: what GPU workers have loaded, and what they take requests of. Needs a
 * key of scope ADMIN.
 */
export function addEngineCommands(program: Command, connect: (command: Command) => PlatformClient): void {
  const engines = program
    .command("engines")
    .description("the engines of the GPU workers (needs a key of scope ADMIN)");
  engines
    .command("list")
    .description("list every model on every GPU worker; `out` is out of rotation, with the reason")
    .option("--json", "print the answer as JSON")
    .action(async ({ json }: { json?: boolean }, command: Command) => {
      const { engines: all } = await connect(command).admin<{ engines: EngineView[] }>("GET", "/v1/engines");
      if (json) return print(all);
      const rows = all.map((each) => [
        each.endpoint_id,
        each.version,
        each.worker,
        each.device,
        each.state,
        each.polled ? "yes" : each.drained ? "drained" : "no",
        String(each.pid ?? ""),
        String(each.memory_mib ?? ""),
        String(each.running),
        String(each.waiting),
        String(each.failures),
        (each.last_failure ?? "").slice(0, 100),
      ]);
      const header = [
        "ENDPOINT",
        "VERSION",
        "WORKER",
        "DEVICE",
        "STATE",
        "POLLED",
        "PID",
        "MIB",
        "RUNS",
        "WAIT",
        "FAILS",
        "LAST FAILURE",
      ];
      process.stdout.write(`${table(header, rows)}\n`);
    });
  const verbs = {
    reset: ["put a model back into rotation", "asked to serve it again"],
    drain: [
      "take no new requests of a model; what is running ends, or goes on elsewhere",
      "asked to take nothing new of it",
    ],
    resume: ["take requests of a drained model again", "asked to take its requests again"],
  };
  for (const [verb, [says, done]] of Object.entries(verbs)) {
    engines
      .command(verb)
      .description(`${says}, on every GPU worker that has it or on one`)
      .argument("<endpoint>")
      .option("--model-version <version>", "this version only")
      .option("--worker <name>", "on this GPU worker only")
      .action(
        async (
          endpoint: string,
          { modelVersion, worker }: { modelVersion?: string; worker?: string },
          command: Command,
        ) => {
          const { asked } = await connect(command).admin<{ asked: { worker: string; version: string }[] }>(
            "POST",
            `/v1/engines/${verb}`,
            {
              endpoint_id: endpoint,
              ...(modelVersion !== undefined && { version: modelVersion }),
              ...(worker !== undefined && { worker }),
            },
          );
          for (const each of asked)
            process.stderr.write(`${endpoint} ${each.version} on ${each.worker}: ${done}.\n`);
        },
      );
  }
}
