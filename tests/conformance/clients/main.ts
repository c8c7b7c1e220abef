/**
 * Runs clients against a server of their own: `npm run conformance -- --client java`. Exits with 1 when a
 * check failed, with 0 when a client was left out because this machine lacks something.
 */
import { writeFileSync } from "node:fs";
import { Command, Option } from "commander";
import { startOwnServer } from "../fal/own-server.ts";
import { startReceiver } from "../fal/receiver.ts";
import type { Check, Client, Surroundings } from "./check.ts";
import { CLIENTS } from "./clients.ts";
import { SERVED_MODELS } from "./inputs.ts";

interface Outcome {
  /** Its name on the command line. */
  client: string;
  title: string;
  checks: Check[];
  /** Reason why this machine cannot run the client, with the remedy. */
  leftOut?: string;
}

const { client: name, json } = new Command("conformance")
  .description("runs clients that speak fal's protocol against a new server")
  .addOption(
    new Option("--client <name>", "the client")
      .choices([...Object.keys(CLIENTS), "all"])
      .makeOptionMandatory(),
  )
  .option("--json [file]", "print the results as JSON, or write them to a file")
  .parse()
  .opts<{ client: string; json?: true | string }>();

const say = (line: string): void => void process.stderr.write(`${line}\n`);

async function outcomeOf(client: string, each: Client, surroundings: Surroundings): Promise<Outcome> {
  const { title } = each;
  const leftOut = await each.objection?.();
  if (leftOut) return { client, title, checks: [], leftOut };
  const checks = await each
    .run(surroundings)
    .catch((error: Error) => [{ name: "the client is installed", passed: false, reason: error.message }]);
  return { client, title, checks };
}

const lines = ({ client, title, checks, leftOut }: Outcome): string[] => [
  title,
  ...(leftOut ? [`left out  ${client}: ${leftOut}`] : []),
  ...checks.map(
    (check) =>
      `${check.passed ? "pass" : "FAIL"}  ${client}: ${check.name}` +
      (check.passed ? "" : `\n      ${check.reason}`),
  ),
];

const chosen = Object.entries(CLIENTS)
  .filter(([each]) => name === "all" || name === each)
  .flatMap(([each, clients]) => clients.map((client) => [each, client] as const));
say("Starting a server …");
const server = await startOwnServer(say, { models: SERVED_MODELS });
const receiver = await startReceiver("127.0.0.2");
try {
  const { url, key, tlsUrl = "", caFile = "" } = server.target;
  const hook: Surroundings["hook"] = () => {
    const made = receiver.hook();
    return {
      url: made.url,
      called: async () => {
        const [delivery] = await made.arrived(1).catch(() => []);
        const passed = delivery?.body.status === "OK";
        return {
          name: "the webhook is called",
          passed,
          ...(!passed && { reason: `it got ${delivery?.raw}` }),
        };
      },
    };
  };
  const outcomes = await Promise.all(
    chosen.map(async ([client, each]) => {
      const outcome = await outcomeOf(client, each, { url, key, tlsUrl, caFile, hook, log: say });
      if (json === undefined) process.stdout.write(`${lines(outcome).join("\n")}\n`);
      else say(lines(outcome).join("\n"));
      return outcome;
    }),
  );
  const checks = outcomes.flatMap((outcome) => outcome.checks);
  const failed = checks.filter(({ passed }) => !passed).length;
  const counts = { passed: checks.length - failed, failed };
  const text = JSON.stringify({ ...counts, clients: outcomes }, null, 2);
  if (typeof json === "string") writeFileSync(json, text);
  else if (json) process.stdout.write(`${text}\n`);
  else process.stdout.write(`${checks.length} checks: ${counts.passed} passed, ${failed} failed\n`);
  process.exitCode = failed > 0 ? 1 : 0;
} finally {
  await receiver.close();
  await server.stop();
}
