import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import {
  choosePort,
  type Service,
  type ServiceOptions,
  startProcess,
} from "../../src/dev/services/service.ts";
import { buildJvmProject, javaCommand } from "./jvm.ts";

/**
 * Starts OpenSearch from its libraries in Maven Central, with its state in `folder`. It takes about 4 s and
 * 200 MiB of memory.
 *
 * Rejects with `setup_failed`.
 */
export async function startOpenSearch(options: ServiceOptions): Promise<Service> {
  const classPath = await buildJvmProject(join(import.meta.dirname, "opensearch"), options);
  const port = await choosePort(options.port);
  const url = `http://127.0.0.1:${port}`;
  await mkdir(options.folder, { recursive: true });
  return startProcess({
    name: "OpenSearch",
    command: javaCommand(options.env),
    args: [
      ...["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", classPath],
      ...["SearchNode", options.folder, String(port)],
    ],
    url,
    port,
    portVariable: "TEST_LOG_SEARCH_URL",
    logFile: join(options.folder, "opensearch.log"),
    stopSignal: "SIGTERM",
    readyWithinMs: 120_000,
    isReady: async () => (await fetch(`${url}/_cluster/health`, { signal: AbortSignal.timeout(1_000) })).ok,
  });
}
