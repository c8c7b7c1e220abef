/** Downloads and cached programs that are not the ones that were reviewed. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MINIO_PIN, TEMPORAL_CLI_PIN } from "./pinned-programs.ts";
import { findProgram, locateProgram, type Program } from "./program.ts";
import { download, goInstall, goPlatform } from "./program-sources.ts";

const GENUINE = "#!/bin/sh\necho 1.0\n";
const PLATFORM = `${goPlatform.os}-${goPlatform.arch}`;
const digestOf = (text: string): string => createHash("sha256").update(text).digest("hex");

let folder: string;
let server: Server;
let url: string;
/** The bytes that the host serves. */
let served: string;
const ran = () => join(folder, "ran");
/** Leaves a file when it is run, with whatever arguments. */
const evil = () => `#!/bin/sh\ntouch ${ran()}\necho 1.0\n`;
const hasRun = async (): Promise<boolean> => (await readdir(folder)).includes("ran");

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-test-"));
  served = GENUINE;
  server = createServer((_, response) => response.end(served)).listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/example`;
});
afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true, force: true });
});

const program = (...methods: Program["methods"]): Program => ({
  title: "Example",
  binary: "tempera-example",
  variable: "EXAMPLE_BINARY",
  methods,
  remedy: "install example",
});
const env = () => ({ PATH: folder, TEMPERA_CACHE: join(folder, "cache") });
const find = (...methods: Program["methods"]) =>
  findProgram(program(...methods), { log: () => {}, env: env() });
const genuine = () => download(url, "plain", { [PLATFORM]: digestOf(GENUINE) });

describe("a download", () => {
  it("is kept when it has the SHA-256 of this platform", async () =>
    expect(await readFile(await find(genuine()), "utf8")).toBe(GENUINE));

  it.each(["plain", "tar.gz"] as const)("with other bytes is refused and not run: %s", async (packing) => {
    served = evil();
    const found = find(download(url, packing, { [PLATFORM]: digestOf(GENUINE) }));
    await expect(found).rejects.toThrow(
      `downloading ${url}: the file has the SHA-256 ${digestOf(served)}, and ${digestOf(GENUINE)} was ` +
        "reviewed; it was refused: find out who answers for that address",
    );
    expect(await hasRun()).toBe(false);
    expect(await readdir(join(folder, "cache/bin"))).toEqual([]);
  });

  it("for a platform without a SHA-256 is not made", async () =>
    expect(find(download(url, "plain", { "plan9-mips": digestOf(GENUINE) }))).rejects.toThrow(
      `no SHA-256 is pinned for ${PLATFORM}`,
    ));

  it("has a pin for each platform that Tempera runs on", () => {
    for (const { sha256 } of [TEMPORAL_CLI_PIN, MINIO_PIN]) {
      const platforms = ["linux", "darwin"].flatMap((os) => [`${os}-amd64`, `${os}-arm64`]);
      expect(Object.keys(sha256).sort()).toEqual(platforms.sort());
      for (const digest of Object.values(sha256)) expect(digest).toMatch(/^[0-9a-f]{64}$/);
    }
  });
});

it("a Go module with another sum is refused, and not built", async () => {
  const log = join(folder, "go-calls");
  const reply = JSON.stringify({ Sum: "h1:other" });
  await writeFile(join(folder, "go"), `#!/bin/sh\necho "$@" >> ${log}\necho '${reply}'\n`);
  await chmod(join(folder, "go"), 0o755);
  const path = process.env.PATH;
  process.env.PATH = `${folder}:${path}`;
  try {
    const module = { path: "example.com/tool", version: "v1.0.0", sum: "h1:reviewed" };
    await expect(find(goInstall(module, "cmd/tool"))).rejects.toThrow(
      "the module example.com/tool@v1.0.0 has the sum h1:other, and h1:reviewed was reviewed; it was refused",
    );
  } finally {
    process.env.PATH = path;
  }
  expect(await readFile(log, "utf8")).toBe("mod download -json example.com/tool@v1.0.0\n");
});

describe("a cached program", () => {
  it("that was changed since its installation is not run, and is installed anew", async () => {
    const cached = await find(genuine());
    await writeFile(cached, evil());
    expect((await locateProgram(program(), env())).problem).toContain(
      `it has the SHA-256 ${digestOf(evil())}, and had ${digestOf(GENUINE)} when it was installed; remove it`,
    );
    await expect(find()).rejects.toThrow(/Example not found: .*tempera-example: it has the SHA-256/);
    expect(await find(genuine())).toBe(cached);
    expect(await readFile(cached, "utf8")).toBe(GENUINE);
    expect(await hasRun()).toBe(false);
  });

  it("of a release that kept no digests gets one at its next use", async () => {
    const cached = await find(genuine());
    await rm(`${cached}.sha256`);
    expect(await find()).toBe(cached);
    expect(await readFile(`${cached}.sha256`, "utf8")).toBe(digestOf(GENUINE));
  });
});
