import { statSync } from "node:fs";
import type { Command } from "commander";
import type { PushedView, VersionView } from "../../../api/admin/routes/models/registry.ts";
import type { PlatformClient } from "../../platform-client.ts";
import { table } from "../../table.ts";
import { print, shortTime } from "../listing.ts";
import { type Connect, JSON_OPTION } from "../options.ts";
import { schemasFolder } from "./signing.ts";

/** Returns the path of a version: `acme/echo 1.0.0` or `acme/echo@1.0.0`. */
function versionPath(endpoint: string, version: string | undefined): string {
  const [name, suffix] = endpoint.split("@") as [string, string | undefined];
  const number = version ?? suffix;
  if (!number) throw new Error(`Name the version: ${endpoint} 1.0.0`);
  const path = name.split("/").map(encodeURIComponent).join("/");
  return `/v1/registry/versions/${encodeURIComponent(number)}/${path}`;
}

/** Returns a table of every version in any state, also of those that are refused. */
export async function versionsTable(client: PlatformClient): Promise<string> {
  const { versions } = await client.admin<{ versions: VersionView[] }>("GET", "/v1/registry/versions");
  const rows = versions.map((each) => [
    each.endpoint_id,
    each.version,
    each.state,
    each.refused !== null ? "refused" : each.serves ? "serves" : "",
    each.source,
    shortTime(each.pushed_at),
    each.digest.slice(0, 12),
    each.refused ?? each.title ?? "",
  ]);
  return table(["ENDPOINT", "VERSION", "STATE", "", "SOURCE", "PUSHED", "DIGEST", "TITLE OR REASON"], rows);
}

interface PushOptions {
  breaking?: boolean;
  disabled?: boolean;
  share?: string;
  signKey?: string;
  json?: boolean;
}

/** Adds `models push|show|enable|disable|remove`, which change what a running platform serves. */
export function addRegistryCommands(models: Command, connect: Connect): void {
  models
    .command("push")
    .description("publish a model package: a folder or its tar.gz; it is served within 5 s")
    .argument("<folder-or-archive>")
    .option("--breaking", "publish although the schemas break callers of the version before")
    .option("--disabled", "publish without taking requests yet")
    .option("--share <percent>", "start a rollout with this share of the requests")
    .option("--sign-key <file>", "sign the package with this private key, instead of its own signature")
    .option(...JSON_OPTION)
    .action((path: string, options: PushOptions, command: Command) => push(connect(command), path, options));
  models
    .command("show")
    .description("show one version: manifest, schemas, files")
    .argument("<endpoint>")
    .argument("[version]")
    .action(async (endpoint: string, version: string | undefined, _: object, command: Command) =>
      print(await connect(command).admin("GET", versionPath(endpoint, version))),
    );
  for (const [action, state, description] of [
    ["enable", "enabled", "let a version take requests"],
    ["disable", "disabled", "let a version take no new requests; running requests finish"],
    ["remove", "removed", "disable a version for good"],
  ] as const) {
    models
      .command(action)
      .description(description)
      .argument("<endpoint>")
      .argument("[version]")
      .action(async (endpoint: string, version: string | undefined, _: object, command: Command) => {
        const path = versionPath(endpoint, version);
        const changed = await connect(command).admin<VersionView>("PUT", path, { state });
        process.stderr.write(`${changed.endpoint_id} ${changed.version} is ${changed.state}.\n`);
      });
  }
}

async function push(client: PlatformClient, path: string, options: PushOptions): Promise<void> {
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found) throw new Error(`There is no ${path}.`);
  const query = new URLSearchParams({
    ...(options.breaking && { breaking: "true" }),
    ...((options.disabled || options.share !== undefined) && { state: "disabled" }),
  });
  const send = (file: string) =>
    client.sendFile<PushedView>(`/v1/registry/versions?${query}`, file, "application/gzip");
  let pushed: PushedView;
  if (found.isDirectory()) {
    const { packModel, readModelFolder } = await import("../../pack-model.ts");
    const { signatureOf } = await import("../../sign-model.ts");
    const folder = readModelFolder(path, await schemasFolder());
    const { signKey } = options;
    await using packed = await packModel(folder, signKey && signatureOf(folder, signKey));
    pushed = await send(packed.file);
  } else if (options.signKey === undefined) pushed = await send(path);
  else throw new Error(`${path} is an archive, and folders are signed; name the folder of the package.`);
  if (options.share !== undefined) {
    const rollout = {
      endpoint_id: pushed.endpoint_id,
      to_version: pushed.version,
      share: Number(options.share),
    };
    await client.admin("POST", "/v1/rollouts", rollout);
  }
  if (options.json) return print(pushed);
  process.stdout.write(`${pushed.endpoint_id} ${pushed.version}  ${pushed.digest.slice(0, 12)}\n`);
  if (pushed.already_there) process.stderr.write("This version was already published, with this content.\n");
  for (const text of pushed.breaks) process.stderr.write(`breaks  ${text}\n`);
}
