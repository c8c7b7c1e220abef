import type { Command } from "commander";
import { type PlatformClient, PlatformError } from "../../platform-client.ts";
import { print } from "../listing.ts";

interface Settings {
  expiration_duration_seconds: number | null;
  initial_acl: object | null;
}

const jsonOf = (text: string, option: string): object => {
  try {
    return JSON.parse(text) as object;
  } catch (error) {
    throw new PlatformError(`${option} is not JSON: ${(error as Error).message}`);
  }
};

const secondsOf = (text: string, option: string): number => {
  const seconds = Number(text);
  if (!(seconds > 0)) throw new PlatformError(`${option} ${text} is not a number of seconds above 0.`);
  return seconds;
};

/** `storage settings|acl|sign`: who may read files, and what new ones get. */
export function addStorageCommands(program: Command, connect: (command: Command) => PlatformClient): void {
  const storage = program.command("storage").description("who may read your files, and what new ones get");
  storage
    .command("settings")
    .description("show what your new files get when the call says nothing; with options, change it")
    .option("--expires <seconds|never>", "how long they are kept")
    .option(
      "--acl <json|none>",
      'who may read them: {"default":"forbid","rules":[{"user":"acme","decision":"allow"}]}',
    )
    .action(async ({ expires, acl }: { expires?: string; acl?: string }, command: Command) => {
      const client = connect(command);
      const { body: before, etag } = await client.adminRevised<Settings>("GET", "/v1/storage/settings");
      if (expires === undefined && acl === undefined) return print(before);
      const seconds =
        expires === undefined
          ? before.expiration_duration_seconds
          : expires === "never"
            ? null
            : secondsOf(expires, "--expires");
      const initial_acl =
        acl === undefined ? before.initial_acl : acl === "none" ? null : jsonOf(acl, "--acl");
      const body = { expiration_duration_seconds: seconds, initial_acl };
      print(
        (await client.adminRevised<Settings>("PUT", "/v1/storage/settings", { body, ifMatch: etag })).body,
      );
    });
  storage
    .command("acl")
    .description("show who may read a file of yours; with --set, change it")
    .argument("<url>", "the file's address")
    .option("--set <json>", '{"default":"allow|forbid|hide","rules":[{"user","decision"}]}')
    .action(async (url: string, { set }: { set?: string }, command: Command) => {
      const client = connect(command);
      const path = `/v1/storage/files/acl?url=${encodeURIComponent(url)}`;
      const { body, etag } = await client.adminRevised<object>("GET", path);
      if (set === undefined) return print(body);
      print(
        (await client.adminRevised<object>("PUT", path, { body: jsonOf(set, "--set"), ifMatch: etag })).body,
      );
    });
  storage
    .command("sign")
    .description("make an address that reads a file on your behalf for some time")
    .argument("<url>", "the file's address")
    .option("--seconds <n>", "for how long", "3600")
    .action(async (url: string, { seconds }: { seconds: string }, command: Command) => {
      const path = `/v1/storage/files/sign?url=${encodeURIComponent(url)}`;
      const { signed_url } = await connect(command).admin<{ signed_url: string }>("POST", path, {
        expiration_seconds: secondsOf(seconds, "--seconds"),
      });
      process.stdout.write(`${signed_url}\n`);
    });
}
