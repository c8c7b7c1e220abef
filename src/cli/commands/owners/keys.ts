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
  endpoint?: string[];
  address?: string[];
  readOnly?: boolean;
  json?: boolean;
}

/** Collects the values of an option that is repeated; `before` is `true` where `--no-…` exists. */
const collect = (value: string, before: string[] | true = []): string[] => [
  ...(before === true ? [] : before),
  value,
];

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

/** Words what a key may do, where that is less than its scope allows. */
function permissionsText({ endpoints, addresses, read_only }: KeyView): string {
  return [
    read_only ? "read only" : "",
    ...(endpoints ?? []),
    ...(addresses ?? []).map((each) => `from ${each}`),
  ]
    .filter((part) => part !== "")
    .join(", ");
}

/** Adds `keys create|change|list|revoke`. Needs a key of scope ADMIN. */
export function addKeyCommands(program: Command, connect: Connect): void {
  const keys = program
    .command("keys")
    .description("create, change, list and revoke keys (needs a key of scope ADMIN)");
  addCreate(keys, connect);
  addChange(keys, connect);
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
        permissionsText(key),
        validityOf(key),
      ]);
      const titles = ["ID", "ALIAS", "SCOPE", "OWNER", "CREATED", "LAST USED", "LIMITED TO", ""];
      process.stdout.write(`${table(titles, rows)}\n`);
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

function addChange(keys: Command, connect: Connect): void {
  keys
    .command("change")
    .description("change what a key may do; gateways apply it within two seconds")
    .argument("<key-id>")
    .option("--alias <name>", "name that shows what the key is for")
    .option("--expires <time>", "end of validity, as of `keys create`", expiryOf)
    .option("--no-expires", "let it be valid for ever")
    .option("--endpoint <pattern>", "only endpoint that it may call; may be repeated", collect)
    .option("--no-endpoint", "let it call all endpoints")
    .option("--address <range>", "only address or range that it may be used from; may be repeated", collect)
    .option("--no-address", "let it be used from everywhere")
    .option("--read-only", "let it read, and change nothing")
    .option("--no-read-only", "let it write too")
    .option(...JSON_OPTION)
    .action(async (keyId: string, options: Record<string, unknown>, command: Command) => {
      const changed = await connect(command).admin<KeyView>(
        "PATCH",
        `/v1/keys/${encodeURIComponent(keyId)}`,
        changeOf(options),
      );
      if (options.json) return void process.stdout.write(`${writeJson(changed)}\n`);
      process.stderr.write(`Changed. Limited to: ${permissionsText(changed) || "nothing"}.\n`);
    });
}

/** Returns the fields to change. `false` is a `--no-…` that was given, `true` that neither option was. */
function changeOf({ alias, expires, endpoint, address, readOnly }: Record<string, unknown>): object {
  const field = (name: string, value: unknown): object =>
    value === undefined || value === true ? {} : { [name]: value === false ? null : value };
  return {
    ...field("alias", alias),
    ...field("expires_at", expires),
    ...field("endpoints", endpoint),
    ...field("addresses", address),
    ...(readOnly !== undefined && { read_only: readOnly }),
  };
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
    .option(
      "--endpoint <pattern>",
      "only endpoint that it may call, or fal-ai/wan/* for all below fal-ai/wan; may be repeated",
      collect,
    )
    .option(
      "--address <range>",
      "only address or range (10.0.0.0/8) that it may be used from; may be repeated",
      collect,
    )
    .option("--read-only", "let it read statuses, results, lists and files, and change nothing")
    .option(...JSON_OPTION)
    .action(async (alias: string, options: CreateOptions, command: Command) => {
      const { scope, owner, expires, endpoint, address, readOnly, json } = options;
      const body = {
        alias,
        scope,
        ...(owner && { owner }),
        ...(expires && { expires_at: expires }),
        ...(endpoint && { endpoints: endpoint }),
        ...(address && { addresses: address }),
        ...(readOnly && { read_only: true }),
      };
      const created = await connect(command).admin<KeyView & { key: string }>("POST", "/v1/keys", body);
      if (json) return void process.stdout.write(`${writeJson(created)}\n`);
      process.stdout.write(`${created.key}\n`);
      const until = created.expires_at ? `, until ${created.expires_at}` : "";
      process.stderr.write(
        `Store it now: it is not shown again. Scope ${created.scope}, owner ${created.owner}${until}.\n`,
      );
    });
}
