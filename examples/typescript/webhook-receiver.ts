// A receiver of webhooks that believes only what is signed: `npx tsx examples/typescript/webhook-receiver.ts`
import { createHash, createPublicKey, type JsonWebKey, verify } from "node:crypto";
import { createServer } from "node:http";

const JWKS = `${process.env.TEMPERA_URL ?? "http://localhost:8080"}/.well-known/jwks.json`;
let known: { keys: JsonWebKey[]; atMs: number } | undefined;

/** The keys may be remembered for up to a day: a new one is published that long before it signs. */
async function signingKeys(): Promise<JsonWebKey[]> {
  if (!known || Date.now() - known.atMs > 3_600_000)
    known = { ...((await (await fetch(JWKS)).json()) as { keys: JsonWebKey[] }), atMs: Date.now() };
  return known?.keys ?? [];
}

createServer(async (request, response) => {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks); // the bytes as they came, before anything parses them
  const header = (name: string) => String(request.headers[`x-fal-webhook-${name}`]);
  const digest = createHash("sha256").update(body).digest("hex");
  const message = [header("request-id"), header("user-id"), header("timestamp"), digest].join("\n");
  const fresh = Math.abs(Date.now() / 1000 - Number(header("timestamp"))) <= 300;
  const signature = Buffer.from(header("signature"), "hex");
  const signed = (key: JsonWebKey) =>
    verify(null, Buffer.from(message), createPublicKey({ key, format: "jwk" }), signature);
  const genuine = fresh && (await signingKeys()).some(signed);
  if (genuine) console.log(header("request-id"), JSON.parse(body.toString()).status); // may come twice: go by the request's id
  response.writeHead(genuine ? 200 : 401).end();
}).listen(Number(process.env.PORT ?? 3000), () => console.log("listening"));
