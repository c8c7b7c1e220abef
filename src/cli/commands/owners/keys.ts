import { type Command, InvalidArgumentError } from "commander";
import type { PlatformClient } from "../../platform-client.ts";
import { table } from "../../table.ts";
import { listed } from "../listing.ts";

interface KeyView {
  key_id: string;
  alias: string;
  scope: string;
  owner: string;
  created_at: string;
  expires_at: string | null;
  last_used_at: string | null;
  revoked_at: string | null;
}

interface NewKeyOptions {
  scope: string;
  owner?: string;
  expires?: string;
  json?: boolean;
}

const UNIT_MS = { m: 60_000, h: 3_600_000, d: 86_400_000, w: 7 * 86_400_000 };

/** `90d`, `12h`, or a date, as the moment it names. */
function expiryOf(text: string): string {
  const [, count, unit] = /^(\d{1,5})([mhdw])$/.exec(text) ?? [];
  if (count && unit)
    return new Date(Date.now() + Number(count) * UNIT_MS[unit as keyof typeof UNIT_MS]).toISOString();
  if (!/^\d{4}-\d{2}-\d{2}(T.*)?$/.test(text) || Number.isNaN(Date.parse(text)))
    throw new InvalidArgumentError("Give 90d, 12h, 30m or 2w, or a date such as 2027-01-31.");
  return new Date(text).toISOString();
}

/** `keys create|list|revoke`: needs a key of scope ADMIN. */
export function addKeyCommands(program: Command, connect: (command: Command) => PlatformClient): void {
  const keys = program
    .command("keys")
    .description("create, list and revoke keys (needs a key of scope ADMIN)");
  keys
    .command("create")
    .description("make a key; its secret is shown this once")
    .argument("<alias>", "what it is for")
    .option("--scope <API|ADMIN>", "what it may do", "API")
    .option("--owner <name>", "keys of one owner see each other's requests; default: an owner of its own")
    .option(
      "--expires <when>",
      "when it stops opening: in 90d, 12h or 30m, or a date such as 2027-01-31; default: never",
      expiryOf,
    )
    .option("--json", "print the answer as JSON")
    .action(async (alias: string, { scope, owner, expires, json }: NewKeyOptions, command: Command) => {
      const body = { alias, scope, ...(owner && { owner }), ...(expires && { expires_at: expires }) };
      const made = await connect(command).admin<KeyView & { key: string }>("POST", "/v1/keys", body);
      process.stdout.write(json ? `${JSON.stringify(made)}\n` : `${made.key}\n`);
      if (!json)
        process.stderr.write(
          `Keep it now: it is not shown again. Scope ${made.scope}, owner ${made.owner}${made.expires_at ? `, until ${made.expires_at}` : ""}.\n`,
        );
    });
  keys
    .command("list")
    .description("list keys, newest first")
    .option("--limit <n>", "how many at most", "1000")
    .option("--json", "print the answer as JSON")
    .action(async ({ limit, json }: { limit: string; json?: boolean }, command: Command) => {
      const all = await listed<KeyView>(connect(command), "/v1/keys", "keys", limit);
      if (json) return void process.stdout.write(`${JSON.stringify(all)}\n`);
      const rows = all.map((key) => [
        key.key_id,
        key.alias,
        key.scope,
        key.owner,
        key.created_at.slice(0, 19),
        key.last_used_at?.slice(0, 19) ?? "never",
        key.revoked_at
          ? `revoked ${key.revoked_at.slice(0, 19)}`
          : key.expires_at
            ? `until ${key.expires_at.slice(0, 19)}`
            : "",
      ]);
      process.stdout.write(`${table(["ID", "ALIAS", "SCOPE", "OWNER", "CREATED", "LAST USED", ""], rows)}\n`);
    });
  keys
    .command("revoke")
    .description("refuse a key from now on")
    .argument("<key-id>")
    .action(async (keyId: string, _: object, command: Command) => {
      await connect(command).admin("DELETE", `/v1/keys/${encodeURIComponent(keyId)}`);
      process.stderr.write("Revoked.\n");
    });
}
