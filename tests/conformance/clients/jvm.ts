/** fal's official Java client, through the proxy form: its only setting for another server. */
import { join } from "node:path";
import { buildJvmProject, javaCommand, jvmObjection } from "../../setup/jvm.ts";
import { type Client, checksOf } from "./check.ts";
import { IMAGE, WAITING_MODEL } from "./inputs.ts";

export const java: Client = {
  title: "Java, ai.fal.client:fal-client 0.7.1",
  objection: () => jvmObjection(),
  async run({ url, key, hook, log }) {
    const classPath = await buildJvmProject(join(import.meta.dirname, "jvm"), { log });
    const { url: hookUrl, called } = hook();
    const env = { TEMPERA_URL: url, FAL_KEY: key, HOOK_URL: hookUrl, WAITING_MODEL, IMAGE };
    const args = ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", classPath, "JavaClient"];
    return [...(await checksOf(javaCommand(), args, env)), await called()];
  },
};
