/** Programs for the Java virtual machine, built by Maven. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Log } from "../../src/dev/services/service.ts";
import { SetupError } from "../../src/dev/setup-error.ts";
import { cachedBuild } from "./cached-build.ts";

const run = promisify(execFile);
const JAVA_AT_LEAST = 17;
const REMEDY = `install Maven and a JDK from ${JAVA_AT_LEAST} on (Debian: openjdk-17-jdk-headless and maven)`;

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
 * Builds the Maven project of a folder once, and resolves to its class path.
 *
 * Rejects with `setup_failed`; the one-line message names what is missing and the remedy.
 */
export async function buildJvmProject(
  project: string,
  { log, env }: { log: Log; env?: NodeJS.ProcessEnv },
): Promise<string> {
  const objection = await jvmObjection(env);
  if (objection) throw new SetupError(objection);
  const goals = ["compiler:compile", "dependency:copy-dependencies"];
  const folder = await cachedBuild({
    builder: "Maven",
    project,
    prefix: "jvm",
    steps: [["mvn", "--batch-mode", "--quiet", ...goals]],
    log,
    env,
  });
  return [join(folder, "target/classes"), join(folder, "target/dependency/*")].join(":");
}
