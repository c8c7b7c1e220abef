/** Options that several commands share, and the client that the global ones make. */
import type { Command } from "commander";
import { createPlatformClient, findKey, type PlatformClient } from "../platform-client.ts";

/** Makes a client of the platform that a command's options name. */
export type Connect = (command: Command) => PlatformClient;

/** Reads the global options `--url`, `--admin-url` and `--key`. */
export const connect: Connect = (command) => {
  const { url, adminUrl, key } = command.optsWithGlobals<{ url: string; adminUrl: string; key?: string }>();
  return createPlatformClient({
    url: url.replace(/\/+$/, ""),
    adminUrl: adminUrl.replace(/\/+$/, ""),
    key: findKey(key),
  });
};

/** Collects the values of an option that may be repeated. */
export function collect(value: string, before: string[]): string[] {
  return [...before, value];
}

/** The flag and the description of `--json`. */
export const JSON_OPTION = ["--json", "print the response as JSON"] as const;

/** The flag and the description of `--limit`. */
export const LIMIT_OPTION = ["--limit <n>", "maximum number of items"] as const;
