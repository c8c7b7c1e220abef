/** fal's official Java client, through the proxy form: its only setting for another server. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { buildJvmProject, javaCommand, jvmObjection } from "../../setup/jvm.ts";
import { type Client, checkOf, checksOf } from "./check.ts";
import { IMAGE, WAITING_MODEL } from "./inputs.ts";

const PAGE = resolve(import.meta.dirname, "../../../docs/clients.md");
const OPTIONS = ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

export const java: Client = {
  title: "Java, ai.fal.client:fal-client 0.7.1",
  objection: () => jvmObjection(),
  async run({ url, key, hook, log }) {
    const classPath = await buildJvmProject(join(import.meta.dirname, "jvm"), { log });
    const { url: hookUrl, called } = hook();
    const env = { TEMPERA_URL: url, FAL_KEY: key, HOOK_URL: hookUrl, WAITING_MODEL, IMAGE };
    return [
      ...(await checksOf(javaCommand(), [...OPTIONS, "-cp", classPath, "JavaClient"], env)),
      await called(),
      await checkOf("the block of docs/clients.md runs", () => runBlock(classPath, url, key)),
    ];
  },
};

/** Runs the Java of docs/clients.md as it stands there, but for the address. */
async function runBlock(classPath: string, url: string, key: string): Promise<void> {
  const [, block = ""] = /```java\n([\s\S]*?)```/.exec(await readFile(PAGE, "utf8")) ?? [];
  const lines = block.replace("http://localhost:8080", url).split("\n");
  const imports = lines.filter((line) => line.startsWith("import "));
  const statements = lines.filter((line) => !line.startsWith("import "));
  const main = ["public static void main(String[] arguments) {", ...statements, "System.exit(0);", "}"];
  const folder = await mkdtemp(join(tmpdir(), "tempera-java-"));
  try {
    const file = join(folder, "Block.java");
    await writeFile(file, [...imports, "public class Block {", ...main, "}"].join("\n"));
    const { stdout } = await promisify(execFile)(javaCommand(), [...OPTIONS, "-cp", classPath, file], {
      env: { ...process.env, TEMPERA_KEY: key },
    });
    if (!stdout.startsWith("http")) throw new Error(`it printed ${stdout}`);
  } finally {
    await rm(folder, { recursive: true });
  }
}
