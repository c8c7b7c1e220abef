import { z } from "@hono/zod-openapi";
import type { MiddlewareHandler } from "hono";
import { LIMITS } from "../../../../core/limits.ts";
import type { Log } from "../../../../core/operations/log.ts";
import type { PayloadCodec, StoredPayload } from "../../../../core/operations/payload-codec.ts";
import type { AddVerb } from "../../http/route.ts";

/** What the verbs below stand under; the Temporal UI is given this address as its codec server. */
export const CODEC_PATH = "/v1/tempera/codec";

const BASE64 = z.string().regex(/^[A-Za-z0-9+/_-]*={0,2}$/, "Input should be base64");
/** `temporal.api.common.v1.Payload` as protobuf's JSON has it. */
const PAYLOAD = z
  .object({ metadata: z.record(z.string(), BASE64).optional(), data: BASE64.optional() })
  .openapi("Payload");
const PAYLOADS = z.object({ payloads: z.array(PAYLOAD).max(LIMITS.codecPayloadsMax) });

/**
 * The codec endpoint of Temporal's UI and CLI: they send what the server stores and show what comes back.
 * Whoever asks needs a key of scope ADMIN, which reads every caller's inputs. A browser cannot send our
 * header, so here its own way of asking for a name and a password is taken too: the key's id and its secret.
 */
export function addCodecVerbs(
  add: AddVerb,
  { payloadCodec, log }: { payloadCodec: PayloadCodec; log: Log },
): void {
  add(
    {
      method: "get",
      path: CODEC_PATH,
      says: "Lets a browser ask for the key that it then sends with what the Temporal UI decodes.",
      scope: "ADMIN",
      basic: true,
      answer: z.object({ signed_in: z.literal(true) }),
    },
    async () => ({ signed_in: true as const }),
  );

  for (const [direction, says] of [
    ["decode", "Decrypts payloads, so that the Temporal UI can show them."],
    ["encode", "Encrypts payloads as the platform does, where that is configured."],
  ] as const) {
    add(
      {
        method: "post",
        path: `${CODEC_PATH}/${direction}`,
        says,
        scope: "ADMIN",
        basic: true,
        body: PAYLOADS,
        bodyBytesMax: LIMITS.codecBodyBytesMax,
        audit: null,
        answer: PAYLOADS,
        errors: ["payload_unreadable"],
      },
      async ({ body: { payloads }, caller }) => {
        log.info({ keyId: caller.keyId, payloads: payloads.length }, `payloads: ${direction}`);
        return { payloads: (await payloadCodec[direction](payloads.map(storedOf))).map(writtenOf) };
      },
    );
  }
}

const storedOf = ({ metadata, data }: z.output<typeof PAYLOAD>): StoredPayload => ({
  metadata: Object.fromEntries(
    Object.entries(metadata ?? {}).map(([name, value]) => [name, Buffer.from(value, "base64")]),
  ),
  ...(data !== undefined && { data: Buffer.from(data, "base64") }),
});

const writtenOf = ({ metadata, data }: StoredPayload): z.input<typeof PAYLOAD> => ({
  metadata: Object.fromEntries(
    Object.entries(metadata ?? {}).map(([name, value]) => [name, Buffer.from(value).toString("base64")]),
  ),
  ...(data && { data: Buffer.from(data).toString("base64") }),
});

/** How long a browser need not ask again whether it may ask. */
const PREFLIGHT_SECONDS = "600";

/**
 * Lets the pages of the Temporal UI, and no others, ask from a browser; and tells a browser how to ask its
 * user for a key.
 */
export const codecForBrowsers =
  (uiOrigins: readonly string[]): MiddlewareHandler =>
  async (c, next) => {
    const origin = c.req.header("origin");
    const allowed = origin !== undefined && uiOrigins.includes(origin);
    const cors: Record<string, string> = allowed
      ? { "access-control-allow-origin": origin, "access-control-allow-credentials": "true", vary: "Origin" }
      : { vary: "Origin" };
    if (c.req.method === "OPTIONS") {
      const preflight: Record<string, string> = allowed
        ? {
            "access-control-allow-methods": "GET, POST",
            "access-control-allow-headers":
              c.req.header("access-control-request-headers") ?? "authorization, content-type, x-namespace",
            "access-control-max-age": PREFLIGHT_SECONDS,
          }
        : {};
      return c.body(null, 204, { ...cors, ...preflight });
    }
    await next();
    for (const [name, value] of Object.entries(cors)) c.res.headers.set(name, value);
    if (c.res.status === 401)
      c.res.headers.set(
        "www-authenticate",
        'Basic realm="Tempera: id and secret of a key of scope ADMIN", charset="UTF-8"',
      );
    return undefined;
  };
