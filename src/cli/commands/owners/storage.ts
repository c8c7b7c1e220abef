import type { Command } from "commander";
import { parseJson } from "../../../core/json/exact-json.ts";
import { type PlatformClient, PlatformError } from "../../platform-client.ts";
import { print } from "../listing.ts";
import type { Connect } from "../options.ts";

interface Settings {
  expiration_duration_seconds: number | null;
  initial_acl: object | null;
}

const jsonOf = (text: string, option: string): object => {
  try {
    return parseJson(text) as object;
  } catch (error) {
    throw new PlatformError(`${option} is not JSON: ${(error as Error).message}`);
  }
};

const secondsOf = (text: string, option: string): number => {
  const seconds = Number(text);
  if (!(seconds > 0)) throw new PlatformError(`${option} ${text} is not a number of seconds above 0.`);
  return seconds;
};

/** Adds `storage settings|acl|sign`: the access to files, and the settings of new ones. */
export function addStorageCommands(program: Command, connect: Connect): void {
  const storage = program
    .command("storage")
    .description("control the access to your files, and the settings of new ones");
  storage
    .command("settings")
    .description(
      "show the settings of your new files, which apply if a call states none; options change them",
    )
    .option("--expires <seconds|never>", "time after which files are deleted")
    .option(
      "--acl <json|none>",
      'access list: {"default":"forbid","rules":[{"user":"acme","decision":"allow"}]}',
    )
    .action(async (options: { expires?: string; acl?: string }, command: Command) =>
      print(await settings(connect(command), options)),
    );
  storage
    .command("acl")
    .description("show the access list of one of your files; --set replaces it")
    .argument("<url>", "URL of the file")
    .option("--set <json>", '{"default":"allow|forbid|hide","rules":[{"user","decision"}]}')
    .action(async (url: string, { set }: { set?: string }, command: Command) => {
      const client = connect(command);
      const path = `/v1/storage/files/acl?url=${encodeURIComponent(url)}`;
      const { body, etag } = await client.adminRevised<object>("GET", path);
      if (set === undefined) return print(body);
      const change = { body: jsonOf(set, "--set"), ifMatch: etag };
      print((await client.adminRevised<object>("PUT", path, change)).body);
    });
  storage
    .command("sign")
    .description("make a URL that reads a file on your behalf for a limited time")
    .argument("<url>", "URL of the file")
    .option("--seconds <n>", "validity in seconds", "3600")
    .action(async (url: string, { seconds }: { seconds: string }, command: Command) => {
      const path = `/v1/storage/files/sign?url=${encodeURIComponent(url)}`;
      const { signed_url } = await connect(command).admin<{ signed_url: string }>("POST", path, {
        expiration_seconds: secondsOf(seconds, "--seconds"),
      });
      process.stdout.write(`${signed_url}\n`);
    });
}

/** Changes the named settings, if any, and returns all of them. */
async function settings(
  client: PlatformClient,
  { expires, acl }: { expires?: string; acl?: string },
): Promise<Settings> {
  const { body: before, etag } = await client.adminRevised<Settings>("GET", "/v1/storage/settings");
  if (expires === undefined && acl === undefined) return before;
  const after = { ...before };
  if (expires !== undefined)
    after.expiration_duration_seconds = expires === "never" ? null : secondsOf(expires, "--expires");
  if (acl !== undefined) after.initial_acl = acl === "none" ? null : jsonOf(acl, "--acl");
  const change = { body: after, ifMatch: etag };
  return (await client.adminRevised<Settings>("PUT", "/v1/storage/settings", change)).body;
}
