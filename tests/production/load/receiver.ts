/** The clients' side of the network: it receives and verifies webhooks, and serves files that inputs name. */
import { createHash, createPublicKey, type JsonWebKey, type KeyObject, verify } from "node:crypto";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { digestOf, hash, type Ledger, withoutSignatures } from "../checker/ledger.ts";

/** Largest difference between a webhook's time and the receiver's, in seconds, as fal documents it. */
const SKEW_SECONDS_MAX = 300;

export interface Receiver extends AsyncDisposable {
  webhookUrl(job: number, tryNumber: number): string;
  fileUrl(job: number): string;
}

/** Starts the receiver, which writes what arrives to the ledger. `gateways` serve the public keys. */
export async function startReceiver(ledger: Ledger, gateways: readonly string[]): Promise<Receiver> {
  const keys = new PublishedKeys(gateways);
  const server = createServer(async (request, response) => {
    const [, what, job, tryNumber] = (request.url ?? "").split("/");
    if (what === "file") return void response.end(`the file of job ${job}`);
    try {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const raw = Buffer.concat(chunks);
      const atMs = performance.now();
      response.writeHead(200).end();
      const isSigned = await keys.verify(request.headers, raw);
      note({ job: Number(job), tryNumber: Number(tryNumber), atMs, isSigned, raw });
    } catch {
      // The sender died while it sent. It sends again.
      response.destroy();
    }
  });
  await new Promise<void>((open) => server.listen(0, "127.0.0.1", open));
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    webhookUrl: (job, tryNumber) => `${base}/webhook/${job}/${tryNumber}`,
    fileUrl: (job) => `${base}/file/${job}`,
    [Symbol.asyncDispose]: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };

  function note(got: { job: number; tryNumber: number; atMs: number; isSigned: boolean; raw: Buffer }): void {
    const { raw, ...arrival } = got;
    const body = JSON.parse(raw.toString("utf8")) as { request_id: string; status: string; payload: unknown };
    ledger.webhooks.push({
      ...arrival,
      requestId: body.request_id,
      body: hash(withoutSignatures(raw.toString("utf8"))),
    });
    ledger.reads.push({
      requestId: body.request_id,
      by: "webhook",
      gateway: -1,
      startMs: arrival.atMs,
      endMs: arrival.atMs,
      seen: "ended",
      end: body.status === "OK" ? "ok" : "error",
      result: digestOf(body.payload),
    });
  }
}

/** The platform's public keys, read once from whichever gateway answers. */
class PublishedKeys {
  readonly #gateways: readonly string[];
  #keys: Promise<KeyObject[]> | undefined;

  constructor(gateways: readonly string[]) {
    this.#gateways = gateways;
  }

  /** Verifies a webhook by fal's documentation alone. */
  async verify(headers: IncomingHttpHeaders, raw: Buffer): Promise<boolean> {
    this.#keys ??= this.#read();
    const named = (name: string) => String(headers[`x-fal-webhook-${name}`]);
    const digest = createHash("sha256").update(raw).digest("hex");
    const lines = [named("request-id"), named("user-id"), named("timestamp"), digest].join("\n");
    if (Math.abs(Date.now() / 1000 - Number(named("timestamp"))) > SKEW_SECONDS_MAX) return false;
    const signature = Buffer.from(named("signature"), "hex");
    return (await this.#keys).some((key) => verify(null, Buffer.from(lines), key, signature));
  }

  async #read(): Promise<KeyObject[]> {
    for (let round = 0; ; round++) {
      const base = this.#gateways[round % this.#gateways.length];
      const answer = await fetch(`${base}/.well-known/jwks.json`, {
        signal: AbortSignal.timeout(2_000),
      }).catch(() => undefined);
      if (answer?.ok) {
        const { keys } = (await answer.json()) as { keys: JsonWebKey[] };
        return keys.map((key) => createPublicKey({ key, format: "jwk" }));
      }
    }
  }
}
