import { chmod, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { servicePassword } from "./password.ts";
import { MINIO_PIN } from "./pinned-programs.ts";
import { findProgram, type Program } from "./program.ts";
import { download, goInstall, goPlatform } from "./program-sources.ts";
import { choosePort, type Service, type ServiceOptions, startProcess } from "./service.ts";

const MINIO_SERVER: Program = {
  title: "MinIO",
  binary: "minio",
  variable: "MINIO_SERVER",
  methods: [
    download(
      `https://dl.min.io/server/minio/release/${goPlatform.os}-${goPlatform.arch}/archive/` +
        `minio.${MINIO_PIN.version}`,
      "plain",
      MINIO_PIN.sha256,
    ),
    goInstall(MINIO_PIN.module),
  ],
  remedy: "install Go 1.24 or newer",
};

export interface MinioService extends Service {
  accessKey: string;
  secretKey: string;
}

/** Resolves with the keys of the server in a folder, which need not run. */
export async function minioKeys(folder: string): Promise<{ accessKey: string; secretKey: string }> {
  return { accessKey: "tempera", secretKey: await servicePassword(folder) };
}

/**
 * Starts MinIO without its console, with its objects in `folder/objects` and no bucket. Its `url` is the S3
 * endpoint.
 *
 * Rejects with `setup_failed`.
 */
export async function startMinio(options: ServiceOptions): Promise<MinioService> {
  const command = await findProgram(MINIO_SERVER, options);
  const port = await choosePort(options.port);
  const url = `http://127.0.0.1:${port}`;
  const objects = join(options.folder, "objects");
  await mkdir(objects, { recursive: true, mode: 0o700 });
  await chmod(options.folder, 0o700);
  const credentials = await minioKeys(options.folder);
  const service = await startProcess({
    name: "MinIO",
    command,
    args: ["server", "--quiet", "--address", `127.0.0.1:${port}`, objects],
    env: {
      ...process.env,
      MINIO_ROOT_USER: credentials.accessKey,
      MINIO_ROOT_PASSWORD: credentials.secretKey,
      MINIO_BROWSER: "off",
      MINIO_UPDATE: "off",
      // Lets MinIO use one folder on the system's disk.
      MINIO_CI_CD: "1",
    },
    url,
    port,
    portVariable: "TEMPERA_MINIO_PORT",
    logFile: join(options.folder, "minio.log"),
    stopSignal: "SIGTERM",
    readyWithinMs: 30_000,
    // `/minio/health/ready` replies 200 before objects, buckets and keys are loaded; this path does not.
    isReady: async () =>
      (await fetch(`${url}/minio/health/cluster`, { signal: AbortSignal.timeout(1_000) })).ok,
  });
  return { ...service, ...credentials };
}
