import { type Command, InvalidArgumentError } from "commander";
import type { KeyView } from "../../../api/admin/routes/owners/keys.ts";
import { writeJson } from "../../../core/json/exact-json.ts";
import { table } from "../../table.ts";
import { listed, shortTime } from "../listing.ts";
import { type Connect, JSON_OPTION, LIMIT_OPTION } from "../options.ts";

interface CreateOptions {
  scope: string;
  owner?: string;
  expires?: string;
  json?: boolean;
}

const UNIT_MS = { m: 60_000, h: 3_600_000, d: 86_400_000, w: 7 * 86_400_000 };

/** Returns the time of an expiry: `90d` or `12h` from now, or a date. */
function expiryOf(text: string): string {
  const [, count, unit] = /^(\d{1,5})([mhdw])$/.exec(text) ?? [];
  if (count && unit)
    return new Date(Date.now() + Number(count) * UNIT_MS[unit as keyof typeof UNIT_MS]).toISOString();
  if (!/^\d{4}-\d{2}-\d{2}(T.*)?$/.test(text) || Number.isNaN(Date.parse(text)))
    throw new InvalidArgumentError("Give 90d, 12h, 30m or 2w, or a date such as 2027-01-31.");
  return new Date(text).toISOString();
}

function validityOf({ revoked_at, expires_at }: KeyView): string {
  if (revoked_at) return `revoked ${shortTime(revoked_at)}`;
  return expires_at ? `until ${shortTime(expires_at)}` : "";
}

/** Adds `keys create|list|revoke`. Needs a key of scope ADMIN. */
export function addKeyCommands(program: Command, connect: Connect): void {
  const keys = program
    .command("keys")
    .description("create, list and revoke keys (needs a key of scope ADMIN)");
  addCreate(keys, connect);
  keys
    .command("list")
    .description("list the keys, newest first")
    .option(...LIMIT_OPTION, "1000")
    .option(...JSON_OPTION)
    .action(async ({ limit, json }: { limit: string; json?: boolean }, command: Command) => {
      const all = await listed<KeyView>(connect(command), "/v1/keys", "keys", limit);
      if (json) return void process.stdout.write(`${writeJson(all)}\n`);
      const rows = all.map((key) => [
        key.key_id,
        key.alias,
        key.scope,
        key.owner,
        shortTime(key.created_at),
        key.last_used_at ? shortTime(key.last_used_at) : "never",
        validityOf(key),
      ]);
      process.stdout.write(`${table(["ID", "ALIAS", "SCOPE", "OWNER", "CREATED", "LAST USED", ""], rows)}\n`);
    });
  keys
    .command("revoke")
    .description("revoke a key; it is refused within two seconds")
    .argument("<key-id>")
    .action(async (keyId: string, _: object, command: Command) => {
      await connect(command).admin("DELETE", `/v1/keys/${encodeURIComponent(keyId)}`);
      process.stderr.write("Revoked.\n");
    });
}

function addCreate(keys: Command, connect: Connect): void {
  keys
    .command("create")
    .description("create a key; its secret is shown this once")
    .argument("<alias>", "name that shows what the key is for")
    .option("--scope <API|ADMIN>", "calls that the key may make", "API")
    .option("--owner <name>", "keys of one owner see each other's requests; default: a new owner")
    .option(
      "--expires <time>",
      "end of validity: in 90d, 12h or 30m, or on a date such as 2027-01-31; default: never",
      expiryOf,
    )
    .option(...JSON_OPTION)
    .action(async (alias: string, { scope, owner, expires, json }: CreateOptions, command: Command) => {
      const body = { alias, scope, ...(owner && { owner }), ...(expires && { expires_at: expires }) };
      const created = await connect(command).admin<KeyView & { key: string }>("POST", "/v1/keys", body);
      if (json) return void process.stdout.write(`${writeJson(created)}\n`);
      process.stdout.write(`${created.key}\n`);
      const until = created.expires_at ? `, until ${created.expires_at}` : "";
      process.stderr.write(
        `Store it now: it is not shown again. Scope ${created.scope}, owner ${created.owner}${until}.\n`,
      );
    });
}
