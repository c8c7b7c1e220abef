import type { Command } from "commander";
import type { DeliveryDetailView, DeliveryView } from "../../../api/admin/routes/webhooks/deliveries.ts";
import { table } from "../../table.ts";
import { listed, print, shortTime } from "../listing.ts";
import { type Connect, JSON_OPTION, LIMIT_OPTION } from "../options.ts";

/** Adds `deliveries list|show|redeliver`: the deliveries of webhooks. Needs a key of scope ADMIN. */
export function addDeliveryCommands(program: Command, connect: Connect): void {
  const deliveries = program
    .command("deliveries")
    .description("list and repeat deliveries of webhooks (needs a key of scope ADMIN)");
  addList(deliveries, connect);
  deliveries
    .command("show")
    .description("show one delivery and each of its attempts")
    .argument("<request-id>")
    .option(...JSON_OPTION)
    .action(async (id: string, { json }: { json?: boolean }, command: Command) => {
      const path = `/v1/deliveries/${encodeURIComponent(id)}`;
      const found = await connect(command).admin<DeliveryDetailView>("GET", path);
      if (json) return print(found);
      process.stdout.write(`${found.endpoint_id}  ${found.state}  ${found.url}\n`);
      const rows = found.history.map((each) => [
        `${each.round}.${each.attempt}`,
        shortTime(each.started_at),
        `${each.duration_ms} ms`,
        String(each.status ?? "-"),
        each.error ?? "",
      ]);
      process.stdout.write(`${table(["ATTEMPT", "STARTED", "DURATION", "STATUS", "ERROR"], rows)}\n`);
      if (found.next_attempt_at) process.stdout.write(`next attempt: ${shortTime(found.next_attempt_at)}\n`);
    });
  deliveries
    .command("redeliver")
    .description("start the schedule of attempts again; a waiting delivery makes its next attempt now")
    .argument("<request-id>")
    .option("--to <url>", "deliver to this URL instead of the original one")
    .action(async (id: string, { to }: { to?: string }, command: Command) => {
      const path = `/v1/deliveries/${encodeURIComponent(id)}/redeliver`;
      const body = to === undefined ? {} : { url: to };
      const { status } = await connect(command).admin<{ status: string }>("POST", path, body);
      process.stderr.write(
        status === "RETRIED_NOW" ? "It was waiting; the next attempt is made now.\n" : "Started again.\n",
      );
    });
}

function addList(deliveries: Command, connect: Connect): void {
  deliveries
    .command("list")
    .description("list the deliveries, newest first")
    .option("--state <pending|delivered|dead>", "only in this state; dead ones used up their attempts")
    .option(...LIMIT_OPTION, "50")
    .option(...JSON_OPTION)
    .action(
      async ({ state, limit, json }: { state?: string; limit: string; json?: boolean }, command: Command) => {
        const filter = state === undefined ? {} : { state };
        const client = connect(command);
        const all = await listed<DeliveryView>(client, "/v1/deliveries", "deliveries", limit, filter);
        if (json) return print(all);
        const rows = all.map((each) => [
          each.request_id,
          each.state,
          String(each.attempts),
          shortTime(each.created_at),
          shortTime(each.next_attempt_at),
          each.url.slice(0, 60),
          (each.last_error ?? "").slice(0, 60),
        ]);
        const header = ["REQUEST", "STATE", "ATTEMPTS", "CREATED", "NEXT", "URL", "LAST ERROR"];
        process.stdout.write(`${table(header, rows)}\n`);
      },
    );
}
