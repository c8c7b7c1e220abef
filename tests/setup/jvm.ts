/** Programs for the Java virtual machine, built by Maven. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
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
 * Builds the Maven project of a folder once, and resolves to its class path. Maven fetches the libraries;
 * each is compared with its SHA-256 in the project's `jars.sha256` before it is compiled with or run. After a
 * change of `pom.xml`, review what Maven fetches, and write that file anew in `target/dependency`:
 * `sha256sum *.jar`.
 *
 * Rejects with `setup_failed`; the one-line message names what is missing and the remedy.
 */
export async function buildJvmProject(
  project: string,
  { log, env }: { log: Log; env?: NodeJS.ProcessEnv },
): Promise<string> {
  const objection = await jvmObjection(env);
  if (objection) throw new SetupError(objection);
  const sources = (await readdir(project)).filter((name) => name.endsWith(".java"));
  // Libraries may bring processors of annotations, which the compiler would run.
  const options = ["--release", String(JAVA_AT_LEAST), "-proc:none", "-encoding", "UTF-8"];
  const paths = ["-cp", "target/dependency/*", "-d", "target/classes"];
  const folder = await cachedBuild({
    builder: "Maven",
    project,
    prefix: "jvm",
    steps: [
      ["mvn", "--batch-mode", "--quiet", "--strict-checksums", "dependency:copy-dependencies"],
      verifyJars,
      [jdkCommand("javac", env ?? process.env), ...options, ...paths, ...sources],
    ],
    log,
    env,
  });
  return [join(folder, "target/classes"), join(folder, "target/dependency/*")].join(":");
}

/** Refuses libraries that are not exactly those of `jars.sha256`. */
async function verifyJars(folder: string): Promise<void> {
  const pinned = new Map(
    (await readFile(join(folder, "jars.sha256"), "utf8"))
      .split("\n")
      .filter(Boolean)
      .map((line) => [line.slice(66), line.slice(0, 64)]),
  );
  const libraries = join(folder, "target/dependency");
  const found = await readdir(libraries);
  const faults = [...pinned.keys()]
    .filter((name) => !found.includes(name))
    .map((name) => `${name} is missing`);
  for (const name of found) {
    const sha256 = createHash("sha256")
      .update(await readFile(join(libraries, name)))
      .digest("hex");
    if (sha256 !== pinned.get(name))
      faults.push(`${name} has the SHA-256 ${sha256}, and another was reviewed`);
  }
  if (faults.length > 0)
    throw new SetupError(
      `${faults.join("; ")}; nothing was run: find out who answers for Maven's repository`,
    );
}
