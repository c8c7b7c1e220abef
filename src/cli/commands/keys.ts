import type { Command } from "commander";
import type { PlatformClient } from "../platform-client.ts";
import { table } from "../table.ts";
import { listed } from "./listing.ts";

interface KeyView {
  key_id: string;
  alias: string;
  scope: string;
  owner: string;
  created_at: string;
  revoked_at: string | null;
}

/** `keys create|list|revoke`: needs a key of scope ADMIN. */
export function addKeyCommands(program: Command, connect: (command: Command) => PlatformClient): void {
  const keys = program.command("keys").description("create, list and revoke keys (needs a key of scope ADMIN)");
  keys
    .command("create")
    .description("make a key; its secret is shown this once")
    .argument("<alias>", "what it is for")
    .option("--scope <API|ADMIN>", "what it may do", "API")
    .option("--owner <name>", "keys of one owner see each other's requests; default: an owner of its own")
    .option("--json", "print the answer as JSON")
    .action(async (alias: string, { scope, owner, json }: { scope: string; owner?: string; json?: boolean }, command: Command) => {
      const made = await connect(command).admin<KeyView & { key: string }>("POST", "/v1/keys", { alias, scope, ...(owner && { owner }) });
      process.stdout.write(json ? `${JSON.stringify(made)}\n` : `${made.key}\n`);
      if (!json) process.stderr.write(`Keep it now: it is not shown again. Scope ${made.scope}, owner ${made.owner}.\n`);
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
        key.revoked_at ? `revoked ${key.revoked_at.slice(0, 19)}` : "",
      ]);
      process.stdout.write(`${table(["ID", "ALIAS", "SCOPE", "OWNER", "CREATED", ""], rows)}\n`);
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
