import type { Command } from "commander";
import type { PlatformClient } from "../platform-client.ts";
import { table } from "../table.ts";
import { listed, print, shortTime } from "./listing.ts";

interface OwnerView {
  owner: string;
  keys_active: number;
  keys: number;
  first_key_at: string;
}

/** `owners list|show`: whose keys there are. Needs a key of scope ADMIN. */
export function addOwnerCommands(program: Command, connect: (command: Command) => PlatformClient): void {
  const owners = program.command("owners").description("whose keys there are (needs a key of scope ADMIN)");
  owners
    .command("list")
    .description("list owners, by name")
    .option("--limit <n>", "how many at most", "50")
    .option("--json", "print the answer as JSON")
    .action(async ({ limit, json }: { limit: string; json?: boolean }, command: Command) => {
      const all = await listed<OwnerView>(connect(command), "/v1/tempera/owners", "owners", limit);
      if (json) return print(all);
      const rows = all.map((each) => [each.owner, String(each.keys_active), String(each.keys), shortTime(each.first_key_at)]);
      process.stdout.write(`${table(["OWNER", "KEYS", "EVER", "SINCE"], rows)}\n`);
    });
  owners
    .command("show")
    .description("show one owner and what it has under way, as JSON")
    .argument("<owner>")
    .action(async (owner: string, _: object, command: Command) =>
      print(await connect(command).admin("GET", `/v1/tempera/owners/${encodeURIComponent(owner)}`)),
    );
}
