import { z } from "@hono/zod-openapi";
import type { MiddlewareHandler } from "hono";
import { LIMITS } from "../../../../core/limits.ts";
import type { Log } from "../../../../core/operations/log.ts";
import type { PayloadCodec, StoredPayload } from "../../../../core/operations/payload-codec.ts";
import type { AddRoute } from "../../http/route.ts";

/** The path of the codec server, which the Temporal UI is configured with. */
export const CODEC_PATH = "/v1/tempera/codec";

const BASE64 = z.string().regex(/^[A-Za-z0-9+/_-]*={0,2}$/, "Input should be base64");
/** `temporal.api.common.v1.Payload` in protobuf's JSON form. */
const PAYLOAD = z
  .object({ metadata: z.record(z.string(), BASE64).optional(), data: BASE64.optional() })
  .openapi("Payload");
const PAYLOADS = z.object({ payloads: z.array(PAYLOAD).max(LIMITS.codecPayloadsMax) });

/**
 * Adds the routes of the codec server for Temporal's UI and CLI: they send stored payloads and show the
 * decoded ones. The routes need a key of scope ADMIN, because they show every caller's inputs. A browser
 * cannot send a `Key` header, so they also accept HTTP basic authentication: the key's id as the user name
 * and its secret as the password.
 */
export function addCodecRoutes(
  addRoute: AddRoute,
  { payloadCodec, log }: { payloadCodec: PayloadCodec; log: Log },
): void {
  addRoute(
    {
      method: "get",
      path: CODEC_PATH,
      summary:
        "Makes a browser ask its user for the key that it then sends with the payloads of the Temporal UI.",
      scope: "ADMIN",
      basicAuth: true,
      response: z.object({ signed_in: z.literal(true) }),
    },
    async () => ({ signed_in: true as const }),
  );

  for (const [direction, summary] of [
    ["decode", "Decrypts payloads for the Temporal UI."],
    ["encode", "Encrypts payloads as the platform does, if encryption is configured."],
  ] as const) {
    addRoute(
      {
        method: "post",
        path: `${CODEC_PATH}/${direction}`,
        summary,
        scope: "ADMIN",
        basicAuth: true,
        body: PAYLOADS,
        bodyBytesMax: LIMITS.codecBodyBytesMax,
        audit: null,
        response: PAYLOADS,
        errors: ["payload_unreadable"],
      },
      async ({ body: { payloads }, caller }) => {
        log.info({ keyId: caller.keyId, payloads: payloads.length }, `payloads: ${direction}`);
        return { payloads: (await payloadCodec[direction](payloads.map(decodeBase64))).map(encodeBase64) };
      },
    );
  }
}

const decodeBase64 = ({ metadata, data }: z.output<typeof PAYLOAD>): StoredPayload => ({
  metadata: Object.fromEntries(
    Object.entries(metadata ?? {}).map(([name, value]) => [name, Buffer.from(value, "base64")]),
  ),
  ...(data !== undefined && { data: Buffer.from(data, "base64") }),
});

const encodeBase64 = ({ metadata, data }: StoredPayload): z.input<typeof PAYLOAD> => ({
  metadata: Object.fromEntries(
    Object.entries(metadata ?? {}).map(([name, value]) => [name, Buffer.from(value).toString("base64")]),
  ),
  ...(data && { data: Buffer.from(data).toString("base64") }),
});

/** The time for which a browser caches the reply to a preflight request. */
const PREFLIGHT_SECONDS = "600";

/**
 * Allows the pages of the Temporal UI, and no others, to call the codec server from a browser (CORS), and
 * makes the browser ask its user for a key.
 */
export function codecForBrowsers(uiOrigins: readonly string[]): MiddlewareHandler {
  return async (c, next) => {
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
}
