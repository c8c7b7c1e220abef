import { X509Certificate } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Certificate } from "../adapters/tls/local-authority.ts";
import { loadConfig } from "../config/load-config.ts";
import { certificateSource, keepCertificateFresh } from "./tls.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-test-"));
});
afterEach(async () => {
  vi.useRealTimers();
  await rm(folder, { recursive: true, force: true });
});

const source = (env: Record<string, string> = {}) =>
  certificateSource(loadConfig({ TEMPERA_DATA: folder, ...env }));
const named = async (env: Record<string, string>): Promise<string[]> => {
  const { cert } = await (await source(env)).certificate();
  return (new X509Certificate(cert).subjectAltName ?? "").split(", ");
};

describe("source of the certificate", () => {
  it("is the local authority by default, for the names of fal, this host and the settings", async () => {
    const names = await named({
      TEMPERA_PUBLIC_URL: "https://[2001:db8::1]:8443/x",
      TEMPERA_HOST: "10.0.0.7",
      TEMPERA_TLS_NAMES: "GPU.example.com, 10.0.0.8,*.lab.example.com",
    });
    for (const name of [
      "localhost",
      "fal.run",
      "queue.fal.run",
      "rest.fal.ai",
      "v3.fal.media",
      "gpu.example.com",
      "*.lab.example.com",
    ])
      expect(names).toContain(`DNS:${name}`);
    for (const address of ["127.0.0.1", "10.0.0.7", "10.0.0.8", "0:0:0:0:0:0:0:1", "2001:DB8:0:0:0:0:0:1"])
      expect(names).toContain(`IP Address:${address}`);
    expect(await named({ TEMPERA_HOST: "0.0.0.0" })).not.toContain("IP Address:0.0.0.0");
  });

  it("is the operator's files if configured, without an authority, and follows renewals", async () => {
    const { certificate } = await source();
    const first = await certificate();
    const env = { TEMPERA_TLS_CERT: join(folder, "own.pem"), TEMPERA_TLS_KEY: join(folder, "own-key.pem") };
    const put = async ({ cert, key }: Certificate): Promise<void> => {
      await writeFile(env.TEMPERA_TLS_CERT, cert);
      await writeFile(env.TEMPERA_TLS_KEY, key);
    };
    await put(first);
    const own = await source(env);
    expect(own.caFile).toBeUndefined();
    expect(await own.certificate()).toEqual(first);
    const { localAuthority } = await import("./tls.ts");
    const second = await (await localAuthority(loadConfig({ TEMPERA_DATA: folder }))).renew();
    await put(second);
    expect(await own.certificate()).toEqual(second);
  });

  it.each([
    [{ TEMPERA_TLS_CERT: "/x" }, "TEMPERA_TLS_CERT is set alone; set both, or neither."],
    [{ TEMPERA_TLS_KEY: "/x" }, "TEMPERA_TLS_KEY is set alone; set both, or neither."],
    [
      { TEMPERA_TLS_CERT: "/x/cert", TEMPERA_TLS_KEY: "/x/key" },
      "names /x/cert, which cannot be read (ENOENT); correct it.",
    ],
    [
      { TEMPERA_TLS_NAMES: "a.example.com,https://b" },
      '"https://b" is neither a host name nor an address; correct it.',
    ],
  ])("refuses %j in one line", async (env, words) => {
    const { message } = (await source(env as Record<string, string>).catch((error) => error)) as Error;
    expect(message).toContain(words);
    expect(message).not.toContain("\n");
  });
});

describe("a listener's certificate", () => {
  const HOUR_MS = 3_600_000;

  it("is renewed every hour; a failure is logged and leaves the current one in use", async () => {
    vi.useFakeTimers();
    const used: string[] = [];
    const faults: string[] = [];
    const log = {
      debug() {},
      info() {},
      warn() {},
      error: (_about: object, message: string) => void faults.push(message),
    };
    const server = {
      port: 0,
      useCertificate: ({ cert }: Certificate) => void used.push(cert),
      stop: async () => {},
    };
    let answer: () => Promise<Certificate> = async () => ({ cert: "second", key: "" });
    const renewing = keepCertificateFresh(server as never, { certificate: () => answer() }, log);
    await vi.advanceTimersByTimeAsync(HOUR_MS - 1);
    expect(used).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(used).toEqual(["second"]);
    answer = () => Promise.reject(new Error("gone"));
    await vi.advanceTimersByTimeAsync(HOUR_MS);
    expect(faults).toHaveLength(1);
    answer = async () => ({ cert: "third", key: "" });
    await vi.advanceTimersByTimeAsync(HOUR_MS);
    expect(used).toEqual(["second", "third"]);
    await renewing.stop();
    await vi.advanceTimersByTimeAsync(HOUR_MS);
    expect(used).toEqual(["second", "third"]);
  });
});
