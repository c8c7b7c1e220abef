import { chmod, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Connection, type TLSConfig } from "@temporalio/client";
import { SEARCH_ATTRIBUTES } from "../../adapters/temporal/search-attributes.ts";
import type { ServiceTls } from "../../core/operations/service-tls.ts";
import { dynamicConfigFlags } from "./dynamic-config.ts";
import { TEMPORAL_CLI_PIN } from "./pinned-programs.ts";
import { claimPort } from "./port.ts";
import { findProgram, type Program } from "./program.ts";
import { download, goInstall, goPlatform } from "./program-sources.ts";
import { choosePort, type ProcessSpec, type Service, type ServiceOptions, startProcess } from "./service.ts";

/** The version that installs from source and that the tests ran with. It includes server 1.29.1. */
const VERSION = TEMPORAL_CLI_PIN.version;

export const TEMPORAL_CLI: Program = {
  title: "Temporal CLI",
  binary: "temporal",
  variable: "TEMPORAL_CLI",
  methods: [
    download(
      `https://temporal.download/cli/archive/v${VERSION}?platform=${goPlatform.os}&arch=${goPlatform.arch}`,
      "tar.gz",
      TEMPORAL_CLI_PIN.sha256,
    ),
    download(
      `https://github.com/temporalio/cli/releases/download/v${VERSION}/` +
        `temporal_cli_${VERSION}_${goPlatform.os}_${goPlatform.arch}.tar.gz`,
      "tar.gz",
      TEMPORAL_CLI_PIN.sha256,
    ),
    goInstall(TEMPORAL_CLI_PIN.module, "cmd/temporal"),
  ],
  remedy: "install Go 1.24 or newer",
  objection(version) {
    const [, major, minor] = /Server (\d+)\.(\d+)/.exec(version) ?? [];
    const isOld = Number(major) < 1 || (Number(major) === 1 && Number(minor) < 29);
    return isOld
      ? `its server ${major}.${minor} is older than 1.29, which priority and fairness need`
      : undefined;
  },
};

export const TEMPORAL_NAMESPACE = "tempera";

export interface TemporalOptions extends ServiceOptions {
  /** Port of the UI, 0 for a free one. Without it there is no UI. */
  uiPort?: number;
  /** Keeps no state on disk; for tests and benchmarks. */
  inMemory?: boolean;
  /** Dynamic settings beside those of the file, for tests of the server's limits. */
  settings?: Record<string, number>;
}

export interface TemporalService extends Service {
  namespace: string;
  uiUrl?: string;
  /** The file with the password of the UI, which has none without it. */
  uiPasswordFile?: string;
  /** The credential of callers; without it, everybody on this machine is served. */
  tls?: ServiceTls;
}

/**
 * Starts Temporal's development server, tuned by `temporal/dynamic-config/development.yaml`, with the
 * namespace `tempera` and its search attributes. Its `url` is an address: `127.0.0.1:7233`. It serves
 * everybody on this machine: for tests and benchmarks.
 *
 * Rejects with `setup_failed`.
 */
export async function startTemporal(options: TemporalOptions): Promise<TemporalService> {
  const port = await choosePort(options.port);
  const uiPort = options.uiPort === undefined ? undefined : await choosePort(options.uiPort);
  if (uiPort !== undefined)
    await claimPort({ port: uiPort, owner: "Temporal UI", variable: "TEMPERA_TEMPORAL_UI_PORT" });
  const address = `127.0.0.1:${port}`;
  const service = await startProcess({
    ...(await temporalProcess(options, { port, uiPort })),
    url: address,
    port,
    isReady: () => hasNamespace(address),
  });
  return {
    ...service,
    namespace: TEMPORAL_NAMESPACE,
    ...(uiPort !== undefined && { uiUrl: `http://127.0.0.1:${uiPort}` }),
  };
}

/** Describes the server's process, whose folder is created. */
export async function temporalProcess(
  options: TemporalOptions,
  { port, uiPort }: { port: number; uiPort: number | undefined },
): Promise<Omit<ProcessSpec, "url" | "port" | "isReady">> {
  const command = await findProgram(TEMPORAL_CLI, options);
  await mkdir(options.folder, { recursive: true, mode: 0o700 });
  await chmod(options.folder, 0o700);
  return {
    name: "Temporal",
    command,
    args: [
      ...["server", "start-dev", "--ip", "127.0.0.1", "--port", String(port)],
      ...["--namespace", TEMPORAL_NAMESPACE],
      ...["--log-level", "error", "--disable-config-file", "--disable-config-env"],
      ...(uiPort === undefined ? ["--headless"] : ["--ui-port", String(uiPort)]),
      ...(options.inMemory ? [] : onDisk(join(options.folder, "temporal.db"))),
      ...SEARCH_ATTRIBUTES.flatMap((name) => ["--search-attribute", `${name}=Keyword`]),
      ...(await dynamicConfigFlags()),
      ...Object.entries(options.settings ?? {}).flatMap(([name, value]) => [
        "--dynamic-config-value",
        `${name}=${value}`,
      ]),
    ],
    portVariable: "TEMPERA_TEMPORAL_PORT",
    logFile: join(options.folder, "temporal.log"),
    stopSignal: "SIGTERM",
    readyWithinMs: 60_000,
    signal: options.signal,
  };
}

/**
 * Returns the flags for a database file. Without the two pragmas each job takes eight times as long; with
 * them, a killed process still loses nothing.
 */
const onDisk = (file: string): string[] => [
  ...["--db-filename", file],
  ...["--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL"],
];

/** Returns whether workflows can be started: the server knows the namespace and its search attributes. */
export async function hasNamespace(address: string, tls?: TLSConfig): Promise<boolean> {
  const connection = await Connection.connect({ address, connectTimeout: 500, ...(tls && { tls }) });
  try {
    const request = { namespace: TEMPORAL_NAMESPACE };
    await connection.withDeadline(Date.now() + 2_000, () =>
      connection.workflowService.describeNamespace(request),
    );
    const { customAttributes } = await connection.withDeadline(Date.now() + 2_000, () =>
      connection.operatorService.listSearchAttributes(request),
    );
    return SEARCH_ATTRIBUTES.every((name) => Object.hasOwn(customAttributes ?? {}, name));
  } finally {
    await connection.close();
  }
}
