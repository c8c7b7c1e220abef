import "reflect-metadata"; // @peculiar/x509 needs it and does not import it
import { createPrivateKey, webcrypto, X509Certificate } from "node:crypto";
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { type AddressInfo, isIP } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, createServer as createTlsServer } from "node:tls";
import * as x509 from "@peculiar/x509";
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
      const name = isIP(servername) ? "" : servername;
      const socket = connect({ host: "127.0.0.1", port, servername: name, ca: [trusted] }, () => {
        socket.destroy();
        done(undefined);
      });
      socket.once("error", ({ code, message }: NodeJS.ErrnoException) =>
        // Node has no code of its own for a name that is not permitted.
        done(code === undefined || code === "UNSPECIFIED" ? message : code),
      );
    });
  } finally {
    await new Promise((done) => server.close(done));
  }
}
let trusted: string;

/** Reads the key of an authority's file, as a thief does. */
async function stolenKeys(file: string) {
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const der = createPrivateKey(file.slice(file.indexOf("-----BEGIN PRIVATE KEY"))).export({
    type: "pkcs8",
    format: "der",
  });
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const privateKey = await webcrypto.subtle.importKey("pkcs8", der, algorithm, true, ["sign"]);
  return { algorithm, keys, privateKey, issuer: new x509.X509Certificate(file) };
}

/** Issues a certificate with a stolen authority key, directly or by an authority below the stolen one. */
async function forge(file: string, { names, by }: { names: string[]; by?: string }): Promise<Certificate> {
  const { algorithm, keys, privateKey, issuer } = await stolenKeys(file);
  const span = { notBefore: new Date(nowMs - DAY_MS), notAfter: new Date(nowMs + DAY_MS) };
  const sign = (
    subject: string,
    extensions: x509.Extension[],
    from = issuer.subject,
    signingKey = privateKey,
  ) =>
    x509.X509CertificateGenerator.create({
      serialNumber: "0123",
      subject,
      issuer: from,
      ...span,
      signingAlgorithm: algorithm,
      publicKey: keys.publicKey,
      signingKey,
      extensions,
    });
  const alternatives = names.map((value) => ({ type: isIP(value) ? "ip" : "dns", value }) as const);
  const wanted = [new x509.SubjectAlternativeNameExtension(alternatives)];
  const chain = by
    ? [
        await sign("CN=server", wanted, `CN=${by}`, keys.privateKey),
        await sign(`CN=${by}`, [new x509.BasicConstraintsExtension(true, undefined, true)]),
      ]
    : [await sign("CN=server", wanted)];
  const key = x509.PemConverter.encode(
    await webcrypto.subtle.exportKey("pkcs8", keys.privateKey),
    "PRIVATE KEY",
  );
  return { cert: chain.map((each) => each.toString("pem")).join("\n"), key };
}

/** Makes the file of an authority as an earlier release did: for ten years, and every name. */
async function unconstrained(file: string): Promise<string> {
  const { algorithm, privateKey, issuer } = await stolenKeys(file);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: "0456",
    name: issuer.subject,
    notBefore: new Date(nowMs - DAY_MS),
    notAfter: new Date(nowMs + 3650 * DAY_MS),
    signingAlgorithm: algorithm,
    keys: { privateKey, publicKey: await issuer.publicKey.export() },
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      await x509.SubjectKeyIdentifierExtension.create(issuer.publicKey),
    ],
  });
  return `${certificate.toString("pem")}\n${file.slice(file.indexOf("-----BEGIN PRIVATE KEY"))}`;
}

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

  it("is trusted for one year, its certificates for ninety days", async () => {
    const certificate = parse(await (await open()).certificate());
    const authority = await ca();
    expect(Math.round((Date.parse(authority.validTo) - nowMs) / DAY_MS)).toBe(365);
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

  it("makes a new certificate for a new name, and permits it, under the same key", async () => {
    await (await open()).certificate();
    const before = await ca();
    const certificate = await (await open([...NAMES, "gpu.example.org"])).certificate();
    trusted = await readFile(join(folder, "tls/ca.pem"), "utf8");
    expect(await handshake(certificate, "gpu.example.org")).toBeUndefined();
    expect((await ca()).publicKey.equals(before.publicKey)).toBe(true);
    // A process with fewer names changes nothing: those of the others are still permitted.
    const now = await ca();
    await (await open()).certificate();
    expect((await ca()).fingerprint256).toBe(now.fingerprint256);
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
    nowMs += 366 * DAY_MS;
    await expect(open()).rejects.toThrow(/was valid until .*; remove .*tls to get a new authority/);
    await writeFile(file, "nonsense");
    await expect(open()).rejects.toThrow(/ca-key\.pem does not hold a certificate and its key; remove/);
    expect(await readFile(file, "utf8")).toBe("nonsense");
  });

  it("renews its own certificate in the last third of its time; clients of the former go on", async () => {
    await open();
    const former = await ca();
    nowMs += 240 * DAY_MS;
    const authority = await open();
    expect((await ca()).fingerprint256).toBe(former.fingerprint256);
    nowMs += 6 * DAY_MS;
    // A process that runs all the while does it too, and its certificate fits both.
    const certificate = parse(await authority.certificate());
    const renewed = await ca();
    expect(renewed.fingerprint256).not.toBe(former.fingerprint256);
    expect(Math.round((Date.parse(renewed.validTo) - nowMs) / DAY_MS)).toBe(365);
    for (const each of [former, renewed]) expect(certificate.checkIssued(each)).toBe(true);
    for (const each of [former, renewed]) expect(certificate.verify(each.publicKey)).toBe(true);
    expect(Date.parse(certificate.validTo)).toBeLessThan(Date.parse(former.validTo));
  });

  it("issues for its own names alone: who takes its key is no other server", async () => {
    await (await open()).certificate();
    const stolen = await readFile(join(folder, "tls/ca-key.pem"), "utf8");
    trusted = await readFile(join(folder, "tls/ca.pem"), "utf8");
    expect(
      await handshake(await forge(stolen, { names: ["a.example.com"] }), "a.example.com"),
    ).toBeUndefined();
    for (const name of ["bank.example", "example.com.bank.example", "10.0.0.1", "::2"])
      expect(await handshake(await forge(stolen, { names: [name] }), name)).toBe(
        "permitted subtree violation",
      );
    // And it makes no other authority, which would have constraints of its own.
    const forged = await forge(stolen, { names: ["localhost"], by: "an authority of its own" });
    expect(await handshake(forged, "localhost")).toBe("PATH_LENGTH_EXCEEDED");
  });

  it("permits no address where it has none", async () => {
    await (await open(["localhost"])).certificate();
    const stolen = await readFile(join(folder, "tls/ca-key.pem"), "utf8");
    trusted = await readFile(join(folder, "tls/ca.pem"), "utf8");
    for (const name of ["127.0.0.1", "::1"])
      expect(await handshake(await forge(stolen, { names: [name] }), name)).toBe(
        "excluded subtree violation",
      );
  });

  it("gives an authority of an earlier release its constraints, under the same key", async () => {
    await (await open()).certificate();
    const [former, file] = [await ca(), join(folder, "tls/ca-key.pem")];
    await writeFile(file, await unconstrained(await readFile(file, "utf8")));
    await chmod(file, 0o644);
    trusted = (await readFile(file, "utf8")).split("-----BEGIN PRIVATE KEY")[0] ?? "";
    const certificate = await (await open()).certificate();
    expect((await ca()).publicKey.equals(former.publicKey)).toBe(true);
    expect(await mode("ca-key.pem")).toBe(0o600);
    // A client that trusts the unconstrained certificate is served, and so is one that trusts the new one.
    expect(await handshake(certificate, "localhost")).toBeUndefined();
    trusted = await readFile(join(folder, "tls/ca.pem"), "utf8");
    expect(await handshake(certificate, "localhost")).toBeUndefined();
    const stolen = await readFile(file, "utf8");
    expect(await handshake(await forge(stolen, { names: ["bank.example"] }), "bank.example")).toBe(
      "permitted subtree violation",
    );
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
