import type { Command } from "commander";
import type { EngineView, RequestedView } from "../../../api/admin/routes/engines/engines.ts";
import type { LiftedView, QuarantineView } from "../../../api/admin/routes/engines/quarantines.ts";
import { table } from "../../table.ts";
import { listed, print } from "../listing.ts";
import { type Connect, JSON_OPTION } from "../options.ts";

const HEADER = [
  "ENDPOINT",
  "VERSION",
  "WORKER",
  "DEVICE",
  "STATE",
  "POLLED",
  "PID",
  "MIB",
  "RUNNING",
  "WAITING",
  "FAILURES",
  "LAST FAILURE",
];

const rowOf = (engine: EngineView): string[] => [
  engine.endpoint_id,
  engine.version,
  engine.worker,
  engine.device,
  engine.state,
  engine.polled ? "yes" : engine.drained ? "drained" : "no",
  String(engine.pid ?? ""),
  String(engine.memory_mib ?? ""),
  String(engine.running),
  String(engine.waiting),
  String(engine.failures),
  (engine.last_failure ?? "").slice(0, 100),
];

/**
 * Adds `engines list|reset|drain|resume|quarantines|lift`: the engines of the GPU workers. Needs a key of
 * scope ADMIN.
 */
export function addEngineCommands(program: Command, connect: Connect): void {
  const engines = program
    .command("engines")
    .description("list, reset and drain the engines of the GPU workers (needs a key of scope ADMIN)");
  engines
    .command("list")
    .description("list every model on every GPU worker; an `unhealthy` one has its last failure")
    .option(...JSON_OPTION)
    .action(async ({ json }: { json?: boolean }, command: Command) => {
      const { engines: all } = await connect(command).admin<{ engines: EngineView[] }>("GET", "/v1/engines");
      if (json) return print(all);
      process.stdout.write(`${table(HEADER, all.map(rowOf))}\n`);
    });
  addActions(engines, connect);
  addQuarantineCommands(engines, connect);
}

function addQuarantineCommands(engines: Command, connect: Connect): void {
  engines
    .command("quarantines")
    .description("list the inputs and owners that are refused because they crashed engines")
    .option("--limit <n>", "the most to list", "100")
    .option(...JSON_OPTION)
    .action(async ({ limit, json }: { limit: string; json?: boolean }, command: Command) => {
      const path = "/v1/engines/quarantines";
      const all = await listed<QuarantineView>(connect(command), path, "quarantines", limit);
      if (json) return print(all);
      const rows = all.map((each) => [
        each.endpoint_id,
        each.version,
        each.owner,
        each.input_digest ?? "all",
        String(Math.ceil(each.seconds_left / 60)),
        each.message,
      ]);
      process.stdout.write(
        `${table(["ENDPOINT", "VERSION", "OWNER", "INPUT", "MINUTES LEFT", "REASON"], rows)}\n`,
      );
    });
  engines
    .command("lift")
    .description("forget the crashes of an owner for a model version, of one input or of all")
    .argument("<endpoint>")
    .argument("<version>")
    .argument("<owner>")
    .option("--input <digest>", "only this input, as `engines quarantines` shows it")
    .action(
      async (
        endpoint: string,
        version: string,
        owner: string,
        { input }: { input?: string },
        command: Command,
      ) => {
        const { lifted } = await connect(command).admin<LiftedView>("POST", "/v1/engines/quarantines/lift", {
          endpoint_id: endpoint,
          version,
          owner,
          ...(input !== undefined && { input_digest: input }),
        });
        const of = `of ${owner} with ${endpoint} ${version}`;
        const done = lifted === 1 ? `1 crash ${of} is forgotten.` : `${lifted} crashes ${of} are forgotten.`;
        process.stderr.write(`${lifted === 0 ? `There were no crashes ${of} to forget.` : done}\n`);
      },
    );
}

const ACTIONS = {
  reset: ["serve an unhealthy model again", "asked to serve it again"],
  drain: [
    "take no new requests of a model; running requests finish, or continue on another worker",
    "asked to take no new requests of it",
  ],
  resume: ["take requests of a drained model again", "asked to take requests of it again"],
};

function addActions(engines: Command, connect: Connect): void {
  for (const [action, [description, done]] of Object.entries(ACTIONS)) {
    engines
      .command(action)
      .description(`${description}; on all GPU workers that have it, or on one`)
      .argument("<endpoint>")
      .option("--model-version <version>", "only this version")
      .option("--worker <name>", "only on this GPU worker")
      .action(
        async (
          endpoint: string,
          { modelVersion, worker }: { modelVersion?: string; worker?: string },
          command: Command,
        ) => {
          const { requested } = await connect(command).admin<RequestedView>("POST", `/v1/engines/${action}`, {
            endpoint_id: endpoint,
            ...(modelVersion !== undefined && { version: modelVersion }),
            ...(worker !== undefined && { worker }),
          });
          for (const each of requested)
            process.stderr.write(`${endpoint} ${each.version} on ${each.worker}: ${done}.\n`);
        },
      );
  }
}
