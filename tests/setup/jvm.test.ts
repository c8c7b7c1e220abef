import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { buildJvmProject, jvmObjection } from "./jvm.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-jvm-"));
});
afterEach(() => rm(folder, { recursive: true }));

const program = async (name: string, script: string): Promise<void> => {
  await writeFile(join(folder, name), `#!/bin/sh\n${script}\n`);
  await chmod(join(folder, name), 0o755);
};

it("names in one line what is missing, and the remedy", async () => {
  const env = { PATH: folder };
  const remedy = "install Maven and a JDK from 17 on (Debian: openjdk-17-jdk-headless and maven)";
  expect(await jvmObjection(env)).toBe(`a Java compiler and Maven cannot be run; ${remedy}`);
  await program("javac", "echo javac 11.0.2");
  expect(await jvmObjection(env)).toBe(`Maven cannot be run; ${remedy}`);
  await program("mvn", "echo Apache Maven 3.8.7");
  expect(await jvmObjection(env)).toBe(`Java is 11; ${remedy}`);
  await program("javac", "echo javac 25");
  expect(await jvmObjection(env)).toBeUndefined();
});

it("names why a build failed, and leaves nothing that would be taken for a build", async () => {
  await program("javac", "echo javac 17.0.15");
  await program("mvn", 'echo "[ERROR] no such artifact"; [ "$1" = --version ]');
  const project = join(folder, "project");
  await mkdir(project);
  await writeFile(join(project, "pom.xml"), "<project/>");
  const env = { PATH: `${folder}:/bin:/usr/bin`, TEMPERA_CACHE: join(folder, "cache") };
  for (let n = 0; n < 2; n++)
    await expect(buildJvmProject(project, { log: () => {}, env })).rejects.toThrow(
      `Maven could not build ${project} (no such artifact); let it reach its repository`,
    );
});

it("compiles and runs nothing of libraries that are not those that were reviewed", async () => {
  const project = join(folder, "project");
  await mkdir(project);
  await writeFile(join(project, "pom.xml"), "<project/>");
  await writeFile(join(project, "Main.java"), "");
  const pinOf = (text: string): string => createHash("sha256").update(text).digest("hex");
  await writeFile(join(project, "jars.sha256"), `${pinOf("good")}  a.jar\n${pinOf("good")}  b.jar\n`);
  const compiled = join(folder, "compiled");
  await program("javac", `case "$*" in *--release*) touch ${compiled};; *) echo javac 17.0.15;; esac`);
  const env = { PATH: `${folder}:/bin:/usr/bin`, TEMPERA_CACHE: join(folder, "cache") };
  const build = () => buildJvmProject(project, { log: () => {}, env });
  /** Fetches what a repository gives, by name. */
  const fetching = (libraries: Record<string, string>): Promise<void> =>
    program(
      "mvn",
      [
        "if [ $1 = --version ]; then echo Maven; exit; fi",
        "mkdir -p target/dependency",
        ...Object.entries(libraries).map(([name, text]) => `printf ${text} > target/dependency/${name}`),
      ].join("\n"),
    );
  for (const [libraries, fault] of [
    [{ "a.jar": "good", "b.jar": "evil" }, /b\.jar has the SHA-256 \w{64}, and another was reviewed/],
    [{ "a.jar": "good", "b.jar": "good", "c.jar": "good" }, /c\.jar has the SHA-256/],
    [{ "a.jar": "good" }, /b\.jar is missing/],
  ] as const) {
    await fetching(libraries);
    await expect(build()).rejects.toThrow(fault);
    expect(await readdir(folder)).not.toContain("compiled");
  }
  await fetching({ "a.jar": "good", "b.jar": "good" });
  expect(await build()).toContain("target/dependency/*");
  expect(await readdir(folder)).toContain("compiled");
});
