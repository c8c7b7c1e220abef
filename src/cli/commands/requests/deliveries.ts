import type { Command } from "commander";
import type { PlatformClient } from "../../platform-client.ts";
import { table } from "../../table.ts";
import { listed, print, shortTime } from "../listing.ts";

interface DeliveryView {
  request_id: string;
  endpoint_id: string;
  url: string;
  state: string;
  rounds: number;
  attempts: number;
  created_at: string;
  next_attempt_at: string | null;
  last_status: number | null;
  last_error: string | null;
}

interface AttemptView {
  round: number;
  attempt: number;
  started_at: string;
  duration_ms: number;
  status: number | null;
  error: string | null;
}

/** `deliveries list|show|redeliver`: webhooks on their way to their receivers. Needs a key of scope ADMIN. */
export function addDeliveryCommands(program: Command, connect: (command: Command) => PlatformClient): void {
  const deliveries = program
    .command("deliveries")
    .description("webhooks: which arrived, which wait, which gave up (needs a key of scope ADMIN)");
  deliveries
    .command("list")
    .description("list deliveries, newest first")
    .option("--state <pending|delivered|dead>", "only these; dead ones used up their attempts")
    .option("--limit <n>", "how many at most", "50")
    .option("--json", "print the answer as JSON")
    .action(
      async ({ state, limit, json }: { state?: string; limit: string; json?: boolean }, command: Command) => {
        const all = await listed<DeliveryView>(
          connect(command),
          "/v1/deliveries",
          "deliveries",
          limit,
          state === undefined ? {} : { state },
        );
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
        process.stdout.write(`${table(["REQUEST", "STATE", "TRIES", "CREATED", "NEXT", "URL", ""], rows)}\n`);
      },
    );
  deliveries
    .command("show")
    .description("show one delivery and each of its attempts")
    .argument("<request-id>")
    .option("--json", "print the answer as JSON")
    .action(async (id: string, { json }: { json?: boolean }, command: Command) => {
      const found = await connect(command).admin<DeliveryView & { history: AttemptView[] }>(
        "GET",
        `/v1/deliveries/${encodeURIComponent(id)}`,
      );
      if (json) return print(found);
      process.stdout.write(`${found.endpoint_id}  ${found.state}  ${found.url}\n`);
      const rows = found.history.map((each) => [
        `${each.round}.${each.attempt}`,
        shortTime(each.started_at),
        `${each.duration_ms} ms`,
        String(each.status ?? "-"),
        each.error ?? "",
      ]);
      process.stdout.write(`${table(["TRY", "AT", "TOOK", "STATUS", ""], rows)}\n`);
      if (found.next_attempt_at) process.stdout.write(`next ${shortTime(found.next_attempt_at)}\n`);
    });
  deliveries
    .command("redeliver")
    .description("try again from the start of the schedule; one that waits for its next attempt makes it now")
    .argument("<request-id>")
    .option("--to <url>", "to another address")
    .action(async (id: string, { to }: { to?: string }, command: Command) => {
      const path = `/v1/deliveries/${encodeURIComponent(id)}/redeliver`;
      const { status } = await connect(command).admin<{ status: string }>(
        "POST",
        path,
        to === undefined ? {} : { url: to },
      );
      process.stderr.write(
        status === "HURRIED" ? "It was waiting; the next attempt is made now.\n" : "Started again.\n",
      );
    });
}
