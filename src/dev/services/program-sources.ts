/** Ways to install a program: a download, a Go module, a package of the system. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { access, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { endWithParent } from "./parent-watch.ts";
import type { GoModule, PinnedProgram } from "./pinned-programs.ts";
import { type InstallMethod, sha256Of } from "./program.ts";

const run = promisify(execFile);

/** Longest wait for a host to reply, in milliseconds; then the next method is tried. */
const CONNECT_WITHIN_MS = 5_000;
const DOWNLOAD_WITHIN_MS = 5 * 60_000;
const PROGRESS_EVERY_MS = 15_000;

/** The platform as Go programs name their releases: `linux` or `darwin`, `amd64` or `arm64`. */
export const goPlatform = {
  os: process.platform === "win32" ? "windows" : process.platform,
  arch: process.arch === "x64" ? "amd64" : process.arch,
};

/**
 * Downloads the official build: the program itself, or a `.tar.gz` that contains it. A file with another
 * SHA-256 than the pinned one of this platform is refused before anything reads it, and so is every file for
 * a platform without one.
 *
 * @param sha256 digests of the file in lower-case hex, by `goPlatform`: `linux-amd64`
 */
export function download(
  url: string,
  packing: "plain" | "tar.gz",
  sha256: PinnedProgram["sha256"],
): InstallMethod {
  return {
    description: `downloading ${url}`,
    async obtain({ folder, binary, signal }) {
      const platform = `${goPlatform.os}-${goPlatform.arch}`;
      const expected = sha256[platform];
      if (expected === undefined) throw new Error(`no SHA-256 is pinned for ${platform}`);
      const connecting = new AbortController();
      const timer = setTimeout(
        () => connecting.abort(new Error("the host does not answer")),
        CONNECT_WITHIN_MS,
      );
      const overall = AbortSignal.timeout(DOWNLOAD_WITHIN_MS);
      const signals = [connecting.signal, overall, ...(signal ? [signal] : [])];
      const response = await fetch(url, { signal: AbortSignal.any(signals) }).catch((error: unknown) => {
        const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
        throw cause instanceof Error ? cause : new Error(String(cause));
      });
      clearTimeout(timer);
      if (!response.ok || !response.body) throw new Error(`HTTP ${response.status}`);
      const target = join(folder, packing === "plain" ? binary : "archive.tar.gz");
      await pipeline(Readable.fromWeb(response.body), createWriteStream(target));
      const found = await sha256Of(target);
      if (found !== expected)
        throw new Error(
          `the file has the SHA-256 ${found}, and ${expected} was reviewed; it was refused: ` +
            "find out who answers for that address",
        );
      if (packing === "tar.gz") await run("tar", ["-xzf", target, "-C", folder, binary]);
      return join(folder, binary);
    },
  };
}

/**
 * Builds a Go module at a fixed version, two packages at a time, so that a laptop stays usable. A module with
 * another sum than the pinned one is refused. Go checks those that it needs against its checksum database.
 *
 * @param command the folder of the program within the module; empty: the module itself
 */
export function goInstall({ path, version, sum }: GoModule, command = ""): InstallMethod {
  const target = `${command ? `${path}/${command}` : path}@${version}`;
  return {
    description: `building ${target} with go install (minutes, once)`,
    async obtain({ folder, binary, log, signal }) {
      const found = await moduleSum(`${path}@${version}`, signal);
      if (found !== sum)
        throw new Error(
          `the module ${path}@${version} has the sum ${found}, and ${sum} was reviewed; it was refused: ` +
            "find out who answers for GOPROXY",
        );
      const child = spawn("go", ["install", "-v", "-p", "2", target], {
        stdio: ["ignore", "ignore", "pipe"],
        env: { ...process.env, GOBIN: folder },
      });
      await finished(child, "go", log, signal);
      return join(folder, binary);
    },
  };
}

/** Downloads a module, and returns the sum of its files. Rejects with a short reason. */
async function moduleSum(module: string, signal: AbortSignal | undefined): Promise<string> {
  const { stdout } = await run("go", ["mod", "download", "-json", module], {
    cwd: tmpdir(),
    ...(signal && { signal }),
  }).catch((error: NodeJS.ErrnoException & { stdout?: string }) => {
    if (error.code === "ENOENT") throw new Error("go is not installed");
    const { Error: reason } = JSON.parse(error.stdout || "{}") as { Error?: string };
    throw new Error(reason?.split("\n")[0] ?? "go cannot download it");
  });
  return (JSON.parse(stdout) as { Sum: string }).Sum;
}

/** Installs a package of Debian or Ubuntu. Only root may do so, and only where apt exists. */
export function aptInstall(name: string, path: string): InstallMethod {
  return {
    description: `apt-get install ${name}`,
    async obtain({ log, signal }) {
      if (process.getuid?.() !== 0) throw new Error("only root may install packages");
      await access("/usr/bin/apt-get").catch(() => {
        throw new Error("there is no apt-get");
      });
      if (!(await hasPackageLists())) await apt(["update"], log, signal);
      await apt(["install", "-y", "--no-install-recommends", name], log, signal);
      return path;
    },
  };
}

async function hasPackageLists(): Promise<boolean> {
  const lists = await readdir("/var/lib/apt/lists").catch(() => []);
  return lists.some(
    (file) => file.endsWith("_Packages") || file.endsWith("_Packages.lz4") || file.endsWith("InRelease"),
  );
}

const apt = (args: string[], log: (line: string) => void, signal?: AbortSignal): Promise<void> =>
  finished(
    spawn("apt-get", ["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=10", ...args], {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    }),
    "apt-get",
    log,
    signal,
  );

/**
 * Resolves when the installer has succeeded, and logs its progress. Rejects with its last line of output. The
 * installer ends with this process, and when the signal aborts.
 */
async function finished(
  child: ChildProcess,
  name: string,
  log: (line: string) => void,
  signal?: AbortSignal,
): Promise<void> {
  const forget = child.pid === undefined ? undefined : endWithParent(child.pid, "SIGTERM");
  const stop = () => child.kill("SIGTERM");
  signal?.addEventListener("abort", stop);
  if (signal?.aborted) stop();
  let lines = 0;
  let last = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    const fresh = text.split("\n").filter((line) => line.trim() !== "");
    lines += fresh.length;
    last = fresh.at(-1) ?? last;
  });
  const startedAtMs = Date.now();
  const progress = setInterval(() => {
    log(`${name}: ${Math.round((Date.now() - startedAtMs) / 1000)} s, ${lines} steps, now ${last}`);
  }, PROGRESS_EVERY_MS);
  try {
    await new Promise<void>((resolve, reject) => {
      child.once("error", (error: NodeJS.ErrnoException) =>
        reject(error.code === "ENOENT" ? new Error(`${name} is not installed`) : error),
      );
      child.once("close", (code, signal) =>
        code === 0 ? resolve() : reject(new Error(`${last || `${name} failed`} (${signal ?? code})`)),
      );
    });
  } finally {
    forget?.();
    signal?.removeEventListener("abort", stop);
    clearInterval(progress);
  }
}
