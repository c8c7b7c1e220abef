import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
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
