/**
 * Sends generated requests to a server of their own, and compares its answers with its OpenAPI documents:
 * the admin service's, and each model's and pipeline's. `npm run conformance -- --generated`. Exits with 1
 * when an answer differs, with 0 when the generator cannot be installed.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { pythonEnv } from "../../../src/dev/services/python-env.ts";
import { request } from "../fal/http.ts";
import { startOwnServer } from "../fal/own-server.ts";
import { adminDocuments, type Document, modelDocuments } from "./documents.ts";
import { type Check, generate } from "./generate.ts";

/** The Python packages of Schemathesis. */
const GENERATOR = join(import.meta.dirname, "../../setup/python/schemathesis.txt");
const COMMAND = "npm run conformance -- --generated";

interface Options {
  generated: true;
  only?: "admin" | "models";
  seed: number;
  examples: number;
  json?: true | string;
}

const numberOf = (text: string): number => {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It should be a whole number from 1 on.");
};

const { only, seed, examples, json } = new Command("conformance")
  .description("sends generated requests to a new server, and judges its answers by its OpenAPI documents")
  .requiredOption("--generated")
  .addOption(new Option("--only <documents>", "some of the documents").choices(["admin", "models"]))
  .option("--seed <n>", "the seed of the requests", numberOf, 1)
  .option("--examples <n>", "random requests for each operation, beside those of its limits", numberOf, 3)
  .option("--json [file]", "print the results as JSON, or write them to a file")
  .parse()
  .opts<Options>();

const say = (line: string): void => void process.stderr.write(`${line}\n`);
const print = (line: string): void => (json === true ? say(line) : void process.stdout.write(`${line}\n`));

/** Prints and writes the results. */
function finish(checks: Check[], cases: number, leftOut?: string): void {
  const failed = checks.filter(({ passed }) => !passed).length;
  const counts = { passed: checks.length - failed, failed };
  const text = JSON.stringify({ ...counts, seed, cases, ...(leftOut && { leftOut }), checks }, null, 2);
  if (typeof json === "string") writeFileSync(json, text);
  else if (json) process.stdout.write(`${text}\n`);
  print(`${cases} requests, ${checks.length} checks: ${counts.passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 ? 1 : 0;
}

/** Runs one half of a list beside the other: the generator uses one core. */
async function inTwo<T>(items: T[], task: (half: T[]) => Promise<void>): Promise<void> {
  await Promise.all([0, 1].map((half) => task(items.filter((_, index) => index % 2 === half))));
}

async function judge(python: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "tempera-generated-"));
  say("Starting a server …");
  const server = await startOwnServer(say);
  try {
    const { target } = server;
    const checks: Check[] = [];
    let cases = 0;
    const judgeAll = async (documents: Document[]): Promise<void> => {
      for (const document of documents) {
        const found = await generate(document, { python, folder, key: target.key, seed, examples });
        for (const { name, passed, reason } of found.checks)
          print(`${passed ? "pass" : "FAIL"}  ${name}${reason ? `\n      ${reason}` : ""}`);
        if (found.details !== "") print(found.details);
        checks.push(...found.checks);
        cases += found.cases;
      }
    };
    // Models first: calls of the admin service switch them off.
    const models = only === "admin" ? [] : await modelDocuments(target, request);
    await inTwo(models, judgeAll);
    const admin = only === "models" ? [] : await adminDocuments(target, request);
    await inTwo(admin, judgeAll);
    finish(checks, cases);
  } finally {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

const python = await pythonEnv(GENERATOR, { log: say }).catch((error: Error) => {
  print(`left out  ${COMMAND}: ${error.message}`);
  finish([], 0, error.message);
});
if (python !== undefined) await judge(python);
