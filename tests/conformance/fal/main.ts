/**
 * Tests a server by the conformance cases: `npm run conformance`. It starts a server of its own unless
 * `--base-url` names another.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import type { OwnServer, Target } from "./context.ts";
import { coverageText } from "./coverage.ts";
import { startOwnServer } from "./own-server.ts";
import { casesOf, type Judged, judgeAll, openSession } from "./runner.ts";

interface Options {
  baseUrl?: string;
  key?: string;
  otherKey?: string;
  adminKey?: string;
  adminUrl?: string;
  tlsUrl?: string;
  ca?: string;
  receiverHost?: string;
  only?: string;
  json?: boolean;
  coverage?: boolean;
}

const options = new Command("conformance")
  .description("tests a server by the conformance cases of fal's protocol, with fal's official clients")
  .option(
    "--base-url <url>",
    "the server, with its test models (npm start -- --with-test-models); default: a new one",
  )
  .option("--key <key>", "a key of that server")
  .option("--other-key <key>", "a key of another owner, of scope API")
  .option("--admin-key <key>", "a key of scope ADMIN")
  .option("--admin-url <url>", "the server's Platform API")
  .option("--tls-url <url>", "the server's HTTPS address")
  .option("--ca <file>", "PEM file of the authority that its certificate is trusted by")
  .option(
    "--receiver-host <name>",
    "host name under which that server reaches this machine's webhook receiver",
  )
  .option("--only <numbers>", "run only these cases, such as 20,24-30")
  .option("--coverage", "write COVERAGE.md and stop")
  .option("--json", "print the results as JSON")
  .parse()
  .opts<Options>();

const say = (line: string): void => void process.stderr.write(`${line}\n`);
const MARKS: Record<Judged["outcome"], string> = { passed: "pass", failed: "FAIL", "not applicable": "n/a " };

if (options.coverage) {
  writeFileSync(join(import.meta.dirname, "COVERAGE.md"), coverageText());
  process.exit();
}

let server: OwnServer | undefined;
try {
  let target: Target;
  if (options.baseUrl) {
    if (!options.key) throw new Error("--base-url needs --key, a key of that server.");
    target = {
      url: options.baseUrl.replace(/\/+$/, ""),
      key: options.key,
      ...(options.otherKey && { otherKey: options.otherKey }),
      ...(options.adminKey && { adminKey: options.adminKey }),
      ...(options.adminUrl && { adminUrl: options.adminUrl.replace(/\/+$/, "") }),
      ...(options.tlsUrl && { tlsUrl: options.tlsUrl }),
      ...(options.ca && { caFile: options.ca }),
    };
  } else {
    say("Starting a server …");
    server = await startOwnServer(say);
    target = server.target;
  }
  await using session = await openSession(target, {
    ...(server && { server }),
    ...(options.receiverHost && { receiverHost: options.receiverHost }),
  });
  const cases = casesOf(options.only);
  const line = ({ outcome, number, title, why, ms }: Judged): string => {
    const rest = outcome === "passed" ? `  (${ms} ms)` : `\n           ${why}`;
    return `${MARKS[outcome]}  ${String(number).padStart(3)}  ${title}${rest}`;
  };
  const all = await judgeAll(session, cases, (judged) => say(line(judged)));
  const of = (outcome: Judged["outcome"]): Judged[] => all.filter((each) => each.outcome === outcome);
  const [passed, failed, notApplicable] = [of("passed"), of("failed"), of("not applicable")];
  if (options.json) {
    const report = {
      cases: all.length,
      passed: passed.length,
      failed: failed.length,
      not_applicable: notApplicable.map(({ number, why }) => ({ case: number, why })),
      failures: failed.map(({ number, title, why }) => ({ case: number, title, why })),
    };
    process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  } else {
    process.stdout.write(`${all.map(line).join("\n")}\n`);
    process.stdout.write(
      `${all.length} cases: ${passed.length} passed, ${failed.length} failed, ` +
        `${notApplicable.length} not applicable\n`,
    );
  }
  process.exitCode = failed.length > 0 ? 1 : 0;
} catch (error) {
  say(`conformance: ${(error as Error).message}`);
  process.exitCode = 2;
} finally {
  await server?.stop();
}
