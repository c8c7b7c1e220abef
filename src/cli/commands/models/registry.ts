import { statSync } from "node:fs";
import { resolve } from "node:path";
import type { Command } from "commander";
import { PROJECT } from "../../../bin/open-registry.ts";
import { loadConfig } from "../../../config/load-config.ts";
import { packModel } from "../../pack-model.ts";
import type { PlatformClient } from "../../platform-client.ts";
import { table } from "../../table.ts";
import { print, shortTime } from "../listing.ts";

export interface VersionView {
  endpoint_id: string;
  version: string;
  digest: string;
  state: string;
  source: string;
  serves: boolean;
  title: string;
  pushed_at: string | null;
}

interface Pushed {
  endpoint_id: string;
  version: string;
  digest: string;
  state: string;
  already_there: boolean;
  breaks: string[];
}

/** Where a version is found: `acme/echo 1.0.0` or `acme/echo@1.0.0`. */
function versionPath(endpoint: string, version: string | undefined): string {
  const [name, at] = endpoint.split("@") as [string, string | undefined];
  const which = version ?? at;
  if (!which) throw new Error(`Say which version: ${endpoint} 1.0.0`);
  return `/v1/registry/versions/${encodeURIComponent(which)}/${name.split("/").map(encodeURIComponent).join("/")}`;
}

/** Every version, whatever its state, as rows. */
export async function versionsTable(client: PlatformClient): Promise<string> {
  const { versions } = await client.admin<{ versions: VersionView[] }>("GET", "/v1/registry/versions");
  const rows = versions.map((each) => [
    each.endpoint_id,
    each.version,
    each.state,
    each.serves ? "serves" : "",
    each.source,
    shortTime(each.pushed_at),
    each.digest.slice(0, 12),
    each.title,
  ]);
  return table(["ENDPOINT", "VERSION", "STATE", "", "FROM", "PUSHED", "DIGEST", "TITLE"], rows);
}

/** `models push|show|enable|disable|remove`: models that come and go while everything runs. */
export function addRegistryCommands(models: Command, connect: (command: Command) => PlatformClient): void {
  models
    .command("push")
    .description("publish a model package, a folder or its tar.gz; served within 5 s")
    .argument("<folder-or-archive>")
    .option("--breaking", "although its schemas break callers of the version before")
    .option("--disabled", "take no requests yet")
    .option("--share <percent>", "only for this share of the requests: begins a rollout")
    .option("--json", "print the answer as JSON")
    .action(
      async (
        path: string,
        options: { breaking?: boolean; disabled?: boolean; share?: string; json?: boolean },
        command: Command,
      ) => {
        const client = connect(command);
        const found = statSync(path, { throwIfNoEntry: false });
        if (!found) throw new Error(`There is no ${path}.`);
        const query = new URLSearchParams({
          ...(options.breaking && { breaking: "true" }),
          ...((options.disabled || options.share !== undefined) && { state: "disabled" }),
        });
        const send = (file: string) =>
          client.sendFile<Pushed>(`/v1/registry/versions?${query}`, file, "application/gzip");
        let pushed: Pushed;
        if (found.isDirectory()) {
          await using packed = await packModel(path, resolve(PROJECT, loadConfig().folders.schemas));
          pushed = await send(packed.file);
        } else pushed = await send(path);
        if (options.share !== undefined) {
          const to = {
            endpoint_id: pushed.endpoint_id,
            to_version: pushed.version,
            share: Number(options.share),
          };
          await client.admin("POST", "/v1/rollouts", to);
        }
        if (options.json) return print(pushed);
        process.stdout.write(`${pushed.endpoint_id} ${pushed.version}  ${pushed.digest.slice(0, 12)}\n`);
        if (pushed.already_there) process.stderr.write("It was there already, with this content.\n");
        for (const text of pushed.breaks) process.stderr.write(`breaks  ${text}\n`);
      },
    );
  models
    .command("show")
    .description("all of one version: manifest, schemas, files")
    .argument("<endpoint>")
    .argument("[version]")
    .action(async (endpoint: string, version: string | undefined, _: object, command: Command) =>
      print(await connect(command).admin("GET", versionPath(endpoint, version))),
    );
  for (const [verb, state, says] of [
    ["enable", "enabled", "let a version take requests"],
    ["disable", "disabled", "let a version take no new requests; what runs on it finishes"],
    ["remove", "removed", "the same for good"],
  ] as const) {
    models
      .command(verb)
      .description(says)
      .argument("<endpoint>")
      .argument("[version]")
      .action(async (endpoint: string, version: string | undefined, _: object, command: Command) => {
        const now = await connect(command).admin<VersionView>("PUT", versionPath(endpoint, version), {
          state,
        });
        process.stderr.write(`${now.endpoint_id} ${now.version} is ${now.state}.\n`);
      });
  }
}
