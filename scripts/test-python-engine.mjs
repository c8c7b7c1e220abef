/**
 * Tests the Python engine: its types, its own tests, and the engine contract on two engines written with it.
 * Creates a virtual environment in the cache at the first run; torch alone is 3 GB.
 *
 * The last line is "python engine: N passed, N failed"; the exit code is 1 when anything failed. `--json
 * <file>` also writes `{"passed","failed"}`.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import "tsx";

const { pythonEnv } = await import("../src/dev/services/python-env.ts");

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");
const ENGINE = join(ROOT, "engines/python");

const work = mkdtempSync(join(tmpdir(), "tempera-python-engine-"));
try {
  const python = await install();
  const env = { ...process.env, TEMPERA_PYTHON: python, PYTHONDONTWRITEBYTECODE: "1" };
  const checks = [await checkTypes(python, env), await runOwnTests(python, env), await judgeByContract(env)];
  const sum = (of) => checks.reduce((total, check) => total + check[of], 0);
  const failures = checks.flatMap((check) => check.failures);
  const counts = { passed: sum("passed"), failed: sum("failed"), failures };
  process.stdout.write(`\npython engine: ${counts.passed} passed, ${counts.failed} failed\n`);
  const jsonAt = process.argv.indexOf("--json");
  if (jsonAt > 0) writeFileSync(process.argv[jsonAt + 1], JSON.stringify(counts));
  process.exitCode = counts.failed > 0 ? 1 : 0;
} catch (error) {
  if (error.code !== "setup_failed") throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
} finally {
  rmSync(work, { recursive: true, force: true });
}

function install() {
  return pythonEnv(join(ENGINE, "requirements.txt"), {
    log: (line) => process.stderr.write(`${line}\n`),
  });
}

async function checkTypes(python, env) {
  process.stdout.write("\n--- types\n");
  const code = await run(
    python,
    ["-m", "mypy", "--no-error-summary", "--cache-dir", join(work, "mypy")],
    env,
  );
  return code === 0
    ? { passed: 1, failed: 0, failures: [] }
    : { passed: 0, failed: 1, failures: ["the types do not hold"] };
}

async function runOwnTests(python, env) {
  process.stdout.write("\n--- its own tests\n");
  const report = join(work, "pytest.xml");
  const code = await run(python, ["-m", "pytest", "--quiet", `--junitxml=${report}`], env);
  return counted(code, () => {
    const text = readFileSync(report, "utf8");
    const [, head = ""] = /<testsuite ([^>]*)>/.exec(text) ?? [];
    const number = (name) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(head)?.[1] ?? 0);
    const failed = number("failures") + number("errors");
    const failures = text.matchAll(/<testcase classname="([^"]*)" name="([^"]*)"[^>/]*><(?:failure|error)/g);
    return {
      passed: number("tests") - failed - number("skipped"),
      failed,
      failures: [...failures].map(([, file, name]) => `${file} ${name}`),
    };
  });
}

async function judgeByContract(env) {
  process.stdout.write("\n--- the engine contract\n");
  const report = join(work, "vitest.json");
  const vitest = join(ROOT, "node_modules/vitest/vitest.mjs");
  const args = [
    vitest,
    "run",
    "--config",
    join(ENGINE, "vitest.config.ts"),
    "--reporter=default",
    "--reporter=json",
  ];
  const code = await run(process.execPath, [...args, `--outputFile.json=${report}`], env);
  return counted(code, () => {
    const { numPassedTests, numFailedTests, testResults } = JSON.parse(readFileSync(report, "utf8"));
    const failures = testResults
      .flatMap((file) => file.assertionResults)
      .filter(({ status }) => status === "failed")
      .map(({ fullName }) => fullName);
    return { passed: numPassedTests, failed: numFailedTests, failures };
  });
}

/** A step that ended before it could count counts as one failure. */
function counted(code, read) {
  let counts = { passed: 0, failed: 0, failures: [] };
  try {
    counts = read();
  } catch {
    // There is no report: the program ended before it, and printed the reason.
  }
  return code === 0 ? counts : { ...counts, failed: Math.max(counts.failed, 1) };
}

function run(command, args, env) {
  const child = spawn(command, args, { cwd: ENGINE, env, stdio: ["ignore", "inherit", "inherit"] });
  return new Promise((resolve) => {
    child.once("error", (error) => {
      process.stdout.write(`${error.message}\n`);
      resolve(1);
    });
    child.once("close", (code) => resolve(code ?? 1));
  });
}
