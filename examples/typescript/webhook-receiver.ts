// A receiver of webhooks that checks their signatures: `npx tsx examples/typescript/webhook-receiver.ts`
import { createHash, createPublicKey, type JsonWebKey, verify } from "node:crypto";
import { createServer } from "node:http";

const JWKS = `${process.env.TEMPERA_URL ?? "http://localhost:8080"}/.well-known/jwks.json`;
let cached: { keys: JsonWebKey[]; atMs: number } | undefined;

/** Caches the keys for an hour. A day is the limit: a new key is published that long before it signs. */
async function signingKeys(): Promise<JsonWebKey[]> {
  if (!cached || Date.now() - cached.atMs > 3_600_000)
    cached = { ...((await (await fetch(JWKS)).json()) as { keys: JsonWebKey[] }), atMs: Date.now() };
  return cached?.keys ?? [];
}

createServer(async (request, response) => {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks); // the bytes as they arrived, unparsed
  const header = (name: string) => String(request.headers[`x-fal-webhook-${name}`]);
  const digest = createHash("sha256").update(body).digest("hex");
  const message = [header("request-id"), header("user-id"), header("timestamp"), digest].join("\n");
  const fresh = Math.abs(Date.now() / 1000 - Number(header("timestamp"))) <= 300;
  const signature = Buffer.from(header("signature"), "hex");
  const signed = (key: JsonWebKey) =>
    verify(null, Buffer.from(message), createPublicKey({ key, format: "jwk" }), signature);
  const genuine = fresh && (await signingKeys()).some(signed);
  // A webhook may arrive twice: recognise it by the request's id.
  if (genuine) console.log(header("request-id"), JSON.parse(body.toString()).status);
  response.writeHead(genuine ? 200 : 401).end();
}).listen(Number(process.env.PORT ?? 3000), () => console.log("listening"));
