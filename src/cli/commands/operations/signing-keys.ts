import type { Command } from "commander";
import type { SigningKeyView } from "../../../api/admin/routes/webhooks/signing-keys.ts";
import { table } from "../../table.ts";
import { print, shortTime } from "../listing.ts";
import { type Connect, JSON_OPTION } from "../options.ts";

/** Adds `signing-keys list|rotate`: the keys that sign webhooks. Needs a key of scope ADMIN. */
export function addSigningKeyCommands(program: Command, connect: Connect): void {
  const keys = program
    .command("signing-keys")
    .description("list and rotate the keys that sign webhooks (needs a key of scope ADMIN)");
  keys
    .command("list")
    .description("list all signing keys, newest first")
    .option(...JSON_OPTION)
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
      "publish a new key; it signs after a day, in which receivers fetch it. Existing signatures stay valid",
    )
    .option(
      "--now",
      "sign with the new key at once; receivers refuse deliveries until they fetch the keys again",
    )
    .option("--revoke", "also withdraw all previous keys, because they may have leaked. Implies --now")
    .option(...JSON_OPTION)
    .action(async (options: { now?: boolean; revoke?: boolean; json?: boolean }, command: Command) => {
      const { now = false, revoke = false, json } = options;
      const created = await connect(command).admin<SigningKeyView>("POST", "/v1/signing-keys/rotate", {
        now,
        revoke,
      });
      if (json) return print(created);
      process.stdout.write(`${created.key_id}\n`);
      process.stderr.write(`The key signs from ${created.signs_from}.\n`);
    });
}
