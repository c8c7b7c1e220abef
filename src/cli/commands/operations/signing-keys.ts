import type { Command } from "commander";
import type { PlatformClient } from "../../platform-client.ts";
import { table } from "../../table.ts";
import { print, shortTime } from "../listing.ts";

interface SigningKeyView {
  key_id: string;
  state: string;
  created_at: string;
  signs_from: string;
  revoked_at: string | null;
}

/** `signing-keys list|rotate`: what webhooks are signed with. Needs a key of scope ADMIN. */
export function addSigningKeyCommands(program: Command, connect: (command: Command) => PlatformClient): void {
  const keys = program
    .command("signing-keys")
    .description("what webhooks are signed with (needs a key of scope ADMIN)");
  keys
    .command("list")
    .description("list every signing key, newest first")
    .option("--json", "print the answer as JSON")
    .action(async ({ json }: { json?: boolean }, command: Command) => {
      const { signing_keys: all } = await connect(command).admin<{ signing_keys: SigningKeyView[] }>(
        "GET",
        "/v1/signing-keys",
      );
      if (json) return print(all);
      const rows = all.map((key) => [
        key.key_id,
        key.state,
        shortTime(key.created_at),
        shortTime(key.signs_from),
      ]);
      process.stdout.write(`${table(["ID", "STATE", "CREATED", "SIGNS FROM"], rows)}\n`);
    });
  keys
    .command("rotate")
    .description(
      "publish a new key; it signs once receivers have had a day to fetch it, and old signatures go on verifying",
    )
    .option(
      "--now",
      "sign with it at once; receivers that remember the old keys refuse deliveries until they fetch again",
    )
    .option("--revoke", "also withdraw the keys before it: they may have leaked. Implies --now")
    .option("--json", "print the answer as JSON")
    .action(async (options: { now?: boolean; revoke?: boolean; json?: boolean }, command: Command) => {
      const { now = false, revoke = false, json } = options;
      const made = await connect(command).admin<SigningKeyView>("POST", "/v1/signing-keys/rotate", {
        now,
        revoke,
      });
      if (json) return print(made);
      process.stdout.write(`${made.key_id}\n`);
      process.stderr.write(`It signs from ${made.signs_from}.\n`);
    });
}
