import { X509Certificate } from "node:crypto";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, createServer as createTlsServer } from "node:tls";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Certificate, openLocalAuthority } from "./local-authority.ts";
import { readOwnCertificate } from "./own-certificate.ts";

const DAY_MS = 86_400_000;
const NAMES = ["localhost", "127.0.0.1", "::1", "queue.fal.run", "*.example.com"];

let folder: string;
let nowMs: number;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-test-"));
  nowMs = Date.now();
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const open = (names = NAMES) =>
  openLocalAuthority({ folder: join(folder, "tls"), names, clock: { nowMs: () => nowMs } });
const parse = ({ cert }: Certificate) => new X509Certificate(cert);
const ca = async (): Promise<X509Certificate> =>
  new X509Certificate(await readFile(join(folder, "tls/ca.pem")));
const mode = async (name: string): Promise<number> => (await stat(join(folder, "tls", name))).mode & 0o777;

/** Makes a TLS handshake that trusts only the authority. Resolves with the error code when it fails. */
async function handshake(certificate: Certificate, servername: string): Promise<string | undefined> {
  const server = createTlsServer(certificate, (socket) => socket.end());
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  try {
    return await new Promise((done) => {
      const { port } = server.address() as AddressInfo;
      const socket = connect({ host: "127.0.0.1", port, servername, ca: [trusted] }, () => {
        socket.destroy();
        done(undefined);
      });
      socket.once("error", (error: NodeJS.ErrnoException) => done(error.code ?? error.message));
    });
  } finally {
    await new Promise((done) => server.close(done));
  }
}
let trusted: string;

describe("the local authority", () => {
  it("signs for every name, and for no other", async () => {
    const authority = await open();
    const certificate = await authority.certificate();
    trusted = await readFile(authority.caFile, "utf8");
    for (const name of ["localhost", "queue.fal.run", "a.example.com"])
      expect(await handshake(certificate, name)).toBeUndefined();
    expect(await handshake(certificate, "fal.run")).toBe("ERR_TLS_CERT_ALTNAME_INVALID");
    expect(parse(certificate).checkIP("::1")).toBe("::1");
    expect(parse(certificate).checkIP("127.0.0.1")).toBe("127.0.0.1");
    expect(await mode("ca-key.pem")).toBe(0o600);
    expect(await mode("server.pem")).toBe(0o600);
    expect(trusted).not.toContain("PRIVATE");
  });

  it("is trusted for ten years, its certificates for ninety days", async () => {
    const certificate = parse(await (await open()).certificate());
    const authority = await ca();
    expect(Math.round((Date.parse(authority.validTo) - nowMs) / DAY_MS)).toBe(3650);
    expect(Math.round((Date.parse(certificate.validTo) - nowMs) / DAY_MS)).toBe(90);
    expect(authority.ca).toBe(true);
    expect(certificate.ca).toBe(false);
  });

  it("keeps its certificate, and renews it in the last third of its time", async () => {
    const first = await (await open()).certificate();
    expect(await (await open()).certificate()).toEqual(first);
    nowMs += 59 * DAY_MS;
    expect(await (await open()).certificate()).toEqual(first);
    nowMs += 2 * DAY_MS;
    const authority = await open();
    const second = await authority.certificate();
    expect(second).not.toEqual(first);
    expect(Math.round((Date.parse(parse(second).validTo) - nowMs) / DAY_MS)).toBe(90);
    expect(parse(second).verify((await ca()).publicKey)).toBe(true);
    expect(await authority.certificate()).toEqual(second);
    expect(await authority.renew()).not.toEqual(second);
  });

  it("makes a new certificate for a new name, under the same authority", async () => {
    await (await open()).certificate();
    const before = await ca();
    const certificate = parse(await (await open([...NAMES, "gpu.example.org"])).certificate());
    expect(certificate.checkHost("gpu.example.org")).toBe("gpu.example.org");
    expect((await ca()).fingerprint256).toBe(before.fingerprint256);
  });

  it("gives two processes that start at once the same authority", async () => {
    const authorities = await Promise.all(Array.from({ length: 8 }, () => open()));
    const certificates = await Promise.all(authorities.map((authority) => authority.certificate()));
    const { publicKey } = await ca();
    for (const certificate of certificates) expect(parse(certificate).verify(publicKey)).toBe(true);
  });

  it("replaces a truncated server certificate and a lost ca.pem", async () => {
    const first = await (await open()).certificate();
    await writeFile(join(folder, "tls/server.pem"), first.cert.slice(0, 100));
    await rm(join(folder, "tls/ca.pem"));
    const second = await (await open()).certificate();
    expect(parse(second).verify((await ca()).publicKey)).toBe(true);
  });

  it("names the remedy for a broken or expired authority, and leaves it as it is", async () => {
    await open();
    const file = join(folder, "tls/ca-key.pem");
    nowMs += 3651 * DAY_MS;
    await expect(open()).rejects.toThrow(/was valid until .*; remove .*tls to get a new authority/);
    await writeFile(file, "nonsense");
    await expect(open()).rejects.toThrow(/ca-key\.pem does not hold a certificate and its key; remove/);
    expect(await readFile(file, "utf8")).toBe("nonsense");
  });

  it("issues no certificate that outlives its authority, nor renews that again and again", async () => {
    await open();
    nowMs += 3640 * DAY_MS;
    const certificate = await (await open()).certificate();
    expect(parse(certificate).validTo).toBe((await ca()).validTo);
    expect(await (await open()).certificate()).toEqual(certificate);
  });

  it("names a folder that cannot be created", async () => {
    await writeFile(join(folder, "tls"), "");
    await expect(open()).rejects.toThrow(/The folder .*tls cannot be written .* set TEMPERA_DATA/);
  });
});

describe("an operator's own certificate", () => {
  const files = async (certificate: Partial<Certificate>): Promise<{ cert: string; key: string }> => {
    const paths = { cert: join(folder, "own.pem"), key: join(folder, "own-key.pem") };
    await writeFile(paths.cert, certificate.cert ?? "");
    await writeFile(paths.key, certificate.key ?? "");
    return paths;
  };

  it("is served unchanged", async () => {
    const { cert, key } = await (await open()).certificate();
    expect(await readOwnCertificate(await files({ cert, key }))).toEqual({ cert, key });
  });

  it("is refused in one line when a file is missing or wrong, or the key belongs to another", async () => {
    const authority = await open();
    const { cert, key } = await authority.certificate();
    const { key: other } = await authority.renew();
    await expect(readOwnCertificate(await files({ cert, key: other }))).rejects.toThrow(
      /^TEMPERA_TLS_KEY .* is not the key of/,
    );
    await expect(readOwnCertificate(await files({ cert }))).rejects.toThrow(
      /^TEMPERA_TLS_KEY names .* unencrypted private key as PEM/,
    );
    await expect(readOwnCertificate(await files({ key }))).rejects.toThrow(
      /^TEMPERA_TLS_CERT names .* a certificate as PEM/,
    );
    await expect(
      readOwnCertificate({ cert: join(folder, "none"), key: join(folder, "none") }),
    ).rejects.toThrow(/cannot be read \(ENOENT\)/);
  });
});
