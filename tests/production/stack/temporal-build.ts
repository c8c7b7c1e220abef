/** The Temporal server of production, built from its Go modules and kept in the cache. */
import { access, mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { withInstallLock } from "../../../src/dev/services/install-lock.ts";
import { TEMPORAL_SERVER_MODULE } from "../../../src/dev/services/pinned-programs.ts";
import { cacheFolder } from "../../../src/dev/services/program.ts";
import { goInstall } from "../../../src/dev/services/program-sources.ts";
import type { Log } from "../../../src/dev/services/service.ts";
import { SetupError } from "../../../src/dev/setup-error.ts";

const VERSION = TEMPORAL_SERVER_MODULE.version.slice(1);
/** The server and the tool that creates its schema. */
const PROGRAMS = { server: "cmd/server", schemaTool: "cmd/tools/sql" } as const;
const BINARIES = { server: "server", schemaTool: "sql" } as const;

/** The line for a missing build, with the command that makes it. */
export const NOT_BUILT =
  `npm run test:production needs Temporal server ${VERSION}, which is not built; ` +
  "run `npm run test:production -- --build` once (Go 1.26, some minutes)";

export interface TemporalBuild {
  version: string;
  server: string;
  schemaTool: string;
}

/** Finds the build in the cache. */
export async function findTemporalBuild(): Promise<TemporalBuild | undefined> {
  const folder = buildFolder();
  return (await isComplete(folder)) ? { version: VERSION, ...pathsIn(folder) } : undefined;
}

/** Builds the server and its schema tool unless the cache has them. Of several processes, one builds. */
export async function buildTemporal(log: Log): Promise<TemporalBuild> {
  const folder = buildFolder();
  await mkdir(cacheFolder(), { recursive: true });
  await withInstallLock(
    `${folder}.lock`,
    (holder) => log(`Temporal server: process ${holder} is building it, waiting`),
    async () => {
      if (await isComplete(folder)) return;
      const unfinished = await mkdtemp(`${folder}.building-`);
      try {
        for (const name of ["server", "schemaTool"] as const) {
          const method = goInstall(TEMPORAL_SERVER_MODULE, PROGRAMS[name]);
          log(`Temporal server: ${method.description}`);
          await method.obtain({ folder: unfinished, binary: BINARIES[name], log });
        }
        await rm(folder, { recursive: true, force: true });
        await rename(unfinished, folder);
      } catch (error) {
        throw new SetupError(
          `Temporal server ${VERSION} cannot be built (${(error as Error).message.split("\n")[0]}); ` +
            "install Go 1.26 or newer and check that it reaches its module proxy",
        );
      } finally {
        await rm(unfinished, { recursive: true, force: true });
      }
    },
  );
  return { version: VERSION, ...pathsIn(folder) };
}

const buildFolder = (): string => join(cacheFolder(), `temporal-server-${VERSION}`);

const pathsIn = (folder: string) => ({
  server: join(folder, BINARIES.server),
  schemaTool: join(folder, BINARIES.schemaTool),
});

async function isComplete(folder: string): Promise<boolean> {
  const found = Object.values(pathsIn(folder)).map((path) => access(path));
  return (await Promise.allSettled(found)).every(({ status }) => status === "fulfilled");
}
