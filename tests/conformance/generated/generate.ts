/** Runs the generator of requests, schemathesis, over one OpenAPI document. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Document } from "./documents.ts";

export interface Check {
  name: string;
  passed: boolean;
  reason?: string;
}

interface Settings {
  /** The `python` that has the generator. */
  python: string;
  /** A folder for files of the run. */
  folder: string;
  key: string;
  seed: number;
  examples: number;
}

/** The generator's report, as far as it is read. */
interface Report {
  stop_reason: string;
  operations: { total: number; tested: number };
  test_cases: { generated: number };
  failures: { title: string; operations: string[] }[];
  errors: { title: string }[];
}

/** Milliseconds that the requests of one document may take. */
const WITHIN_MS = 300_000;
const METHODS = ["get", "post", "put", "patch", "delete"];

/** Sends the requests. Resolves with a check for each operation, and one for the run as a whole. */
export async function generate(
  { name, content, baseUrl }: Document,
  { python, folder, key, seed, examples }: Settings,
): Promise<{ checks: Check[]; cases: number; details: string }> {
  const work = mkdtempSync(join(folder, "run-"));
  const documentFile = join(work, "openapi.json");
  const reportFile = join(work, "report.json");
  writeFileSync(documentFile, JSON.stringify(content));
  const printed = await run(join(dirname(python), "schemathesis"), work, [
    ...["--config-file", join(import.meta.dirname, "schemathesis.toml"), "--no-color"],
    ...["run", documentFile, "--url", baseUrl, "--header", `Authorization: Key ${key}`],
    ...["--phases", "examples,coverage,fuzzing", "--max-examples", `${examples}`, "--seed", `${seed}`],
    ...["--no-shrink", "--generation-database", "none", "--suppress-health-check", "all"],
    ...["--continue-on-failure", "--request-timeout", "30", "--warnings", "off"],
    // Checks of refusals.py take their place.
    ...["--exclude-checks", "positive_data_acceptance,negative_data_rejection"],
    ...["--report", "json", "--report-json-path", reportFile],
  ]);
  const report = existsSync(reportFile)
    ? (JSON.parse(readFileSync(reportFile, "utf8")) as Report)
    : undefined;
  const checks = [runCheck(name, printed, report), ...(report ? operationChecks(name, content, report) : [])];
  const failed = checks.some(({ passed }) => !passed);
  return { checks, cases: report?.test_cases.generated ?? 0, details: failed ? printed : "" };
}

/** Judges the run as a whole: an operation that was not called shows nothing. */
function runCheck(name: string, printed: string, report: Report | undefined): Check {
  const objections = report
    ? [
        ...report.errors.map(({ title }) => title),
        ...(report.stop_reason === "completed" ? [] : [`it ended with ${report.stop_reason}`]),
        ...(report.operations.tested === report.operations.total
          ? []
          : [`it called ${report.operations.tested} of ${report.operations.total} operations`]),
      ]
    : [`there is no report: ${printed.slice(-2_000)}`];
  const passed = objections.length === 0;
  return {
    name: `${name}: all operations are called`,
    passed,
    ...(!passed && { reason: objections.join("; ") }),
  };
}

/** Judges each operation, and each undocumented one, such as OPTIONS, that had a wrong answer. */
function operationChecks(name: string, content: Document["content"], { failures }: Report): Check[] {
  const documented = Object.entries(content.paths).flatMap(([path, operations]) =>
    Object.keys(operations)
      .filter((method) => METHODS.includes(method))
      .map((method) => `${method.toUpperCase()} ${path}`),
  );
  const failed = failures.flatMap(({ operations }) => operations);
  return [...new Set([...documented, ...failed])].map((operation) => {
    const titles = failures
      .filter(({ operations }) => operations.includes(operation))
      .map(({ title }) => title);
    const passed = titles.length === 0;
    return { name: `${name}: ${operation}`, passed, ...(!passed && { reason: titles.join("; ") }) };
  });
}

/** Resolves with all that a program printed, however it ended. */
function run(command: string, cwd: string, args: string[]): Promise<string> {
  // One thread: Python 3.11 cannot parse in two at a time, which the generator does.
  const env = { ...process.env, PYTHONPATH: import.meta.dirname, PYTHONDONTWRITEBYTECODE: "1" };
  return new Promise((done) => {
    const child = spawn(command, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"], timeout: WITHIN_MS });
    let printed = "";
    const listen = (chunk: Buffer): void => {
      printed += chunk;
    };
    child.stdout.on("data", listen);
    child.stderr.on("data", listen);
    child.once("error", (error) => {
      printed += error.message;
    });
    child.once("close", () => done(printed));
  });
}
