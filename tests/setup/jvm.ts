/** Programs for the Java virtual machine, built by Maven once and kept in the cache. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { access, cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { withInstallLock } from "../../src/dev/services/install-lock.ts";
import { cacheFolder } from "../../src/dev/services/program.ts";
import type { Log } from "../../src/dev/services/service.ts";
import { SetupError } from "../../src/dev/setup-error.ts";

const run = promisify(execFile);
const JAVA_AT_LEAST = 17;
/** Longest build in milliseconds. The first one on a machine fetches its libraries. */
const BUILD_WITHIN_MS = 5 * 60_000;
const REMEDY =
  `install a JDK ${JAVA_AT_LEAST} or newer and Maven ` + "(`apt-get install openjdk-17-jdk-headless maven`)";

/** The `java` of `JAVA_HOME`, which Maven uses too; else the one on PATH. */
export function javaCommand(env: NodeJS.ProcessEnv = process.env): string {
  return jdkCommand("java", env);
}

const jdkCommand = (name: string, env: NodeJS.ProcessEnv): string =>
  env.JAVA_HOME ? join(env.JAVA_HOME, "bin", name) : name;

/** Returns in one line what this machine lacks for programs of the JVM, with the remedy; else undefined. */
export async function jvmObjection(env: NodeJS.ProcessEnv = process.env): Promise<string | undefined> {
  const compiler = await version(jdkCommand("javac", env), ["-version"], env);
  const maven = await version("mvn", ["--version"], env);
  const missing = [...(compiler ? [] : ["a Java compiler"]), ...(maven ? [] : ["Maven"])];
  if (missing.length > 0) return `${missing.join(" and ")} cannot be run; ${REMEDY}`;
  const [, major = "0"] = /(\d+)/.exec(compiler ?? "") ?? [];
  return Number(major) < JAVA_AT_LEAST ? `Java is ${major}; ${REMEDY}` : undefined;
}

const version = (command: string, args: string[], env: NodeJS.ProcessEnv): Promise<string | undefined> =>
  run(command, args, { env }).then(
    ({ stdout, stderr }) => stdout || stderr,
    () => undefined,
  );

/**
 * Builds the Maven project of a folder, and resolves to its class path. A project is built once in the cache
 * until one of its files changes, also for concurrent processes.
 *
 * Rejects with `setup_failed`; the one-line message names what is missing and the remedy.
 */
export async function buildJvmProject(
  project: string,
  { log, env = process.env }: { log: Log; env?: NodeJS.ProcessEnv },
): Promise<string> {
  const objection = await jvmObjection(env);
  if (objection) throw new SetupError(objection);
  const hash = createHash("sha256");
  const entries = await readdir(project, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
  for (const file of files.sort()) hash.update(file.slice(project.length)).update(await readFile(file));
  const folder = join(cacheFolder(env), `jvm-${hash.digest("hex").slice(0, 12)}`);
  const classPath = [join(folder, "target/classes"), join(folder, "target/dependency/*")].join(":");
  // Written last: a folder without it is incomplete.
  const complete = join(folder, "complete");
  if (await exists(complete)) return classPath;
  return withInstallLock(
    `${folder}.lock`,
    (holder) => log(`Maven: process ${holder} is building ${project}, waiting`),
    async () => {
      if (await exists(complete)) return classPath;
      await rm(folder, { recursive: true, force: true });
      await mkdir(folder, { recursive: true });
      await cp(project, folder, { recursive: true });
      log(`Maven: building ${project} (once)`);
      const goals = ["compiler:compile", "dependency:copy-dependencies"];
      await run("mvn", ["--batch-mode", "--quiet", "--file", join(folder, "pom.xml"), ...goals], {
        env,
        timeout: BUILD_WITHIN_MS,
      }).catch((error) => {
        throw new SetupError(
          `Maven could not build ${project} (${reasonOf(error)}); check that it reaches its repository`,
        );
      });
      await writeFile(complete, "");
      return classPath;
    },
  );
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** Returns the first error that Maven printed. */
function reasonOf(error: { stdout?: string; message?: string }): string {
  const [first] = (error.stdout ?? "").split("\n").filter((line) => line.includes("ERROR"));
  return (first ?? error.message ?? String(error)).replace(/^.*?ERROR\S*\s*/, "").split("\n")[0] ?? "";
}
