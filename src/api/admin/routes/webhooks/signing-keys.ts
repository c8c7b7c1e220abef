import { z } from "@hono/zod-openapi";
import { publishedAt, type SigningKey, signerAt } from "../../../../core/webhooks/signing-key.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import type { AddRoute } from "../../http/route.ts";

const SIGNING_KEY = z
  .object({
    key_id: z.string(),
    public_key: z.string(),
    state: z.enum(["next", "signing", "retired", "forgotten", "revoked"]).openapi({
      description:
        "next: published and not signing yet; retired: published and no longer signing; " +
        "forgotten: no longer published. Receivers accept signatures of published keys only.",
    }),
    created_at: z.string(),
    signs_from: z.string(),
    revoked_at: z.string().nullable(),
  })
  .openapi("SigningKey");

/** A signing key without its private half, as the API shows it. */
export type SigningKeyView = z.output<typeof SIGNING_KEY>;

const keyBody = (key: SigningKey, all: readonly SigningKey[], nowMs: number): SigningKeyView => ({
  key_id: key.keyId,
  public_key: key.publicKey,
  state: stateOf(key, all, nowMs),
  created_at: new Date(key.createdAtMs).toISOString(),
  signs_from: new Date(key.signsFromMs).toISOString(),
  revoked_at: key.revokedAtMs === undefined ? null : new Date(key.revokedAtMs).toISOString(),
});

function stateOf(key: SigningKey, all: readonly SigningKey[], nowMs: number): SigningKeyView["state"] {
  if (key.revokedAtMs !== undefined) return "revoked";
  if (key.signsFromMs > nowMs) return "next";
  if (signerAt(all, nowMs)?.keyId === key.keyId) return "signing";
  return publishedAt(all, nowMs).some(({ keyId }) => keyId === key.keyId) ? "retired" : "forgotten";
}

/** Adds the routes of the keys that sign webhooks. */
export function addSigningKeyRoutes(
  addRoute: AddRoute,
  { signingKeys, clock }: Pick<ApiDependencies, "signingKeys" | "clock">,
): void {
  const listed = async (): Promise<SigningKeyView[]> => {
    const all = await signingKeys.list();
    return all.map((key) => keyBody(key, all, clock.nowMs()));
  };

  addRoute(
    {
      method: "get",
      path: "/v1/signing-keys",
      summary: "Lists all keys that have ever signed webhooks, newest first.",
      scope: "ADMIN",
      response: z.object({ signing_keys: z.array(SIGNING_KEY) }),
    },
    async () => ({ signing_keys: await listed() }),
  );

  addRoute(
    {
      method: "post",
      path: "/v1/signing-keys/rotate",
      summary: "Creates a new signing key, which signs webhooks from 25 hours later on.",
      scope: "ADMIN",
      body: z.strictObject({
        now: z.boolean().default(false).openapi({ description: "The new key signs at once." }),
        revoke: z
          .boolean()
          .default(false)
          .openapi({ description: "Removes all previous keys from the JWKS." }),
      }),
      audit: "signing-keys.rotate",
      status: 201,
      response: SIGNING_KEY,
      errors: ["rotation_pending"],
    },
    async ({ body, change }) => {
      const before = await listed();
      return change({ subject: "signing-keys", before }, async () => {
        const made = await signingKeys.rotate(body);
        const all = await listed();
        return {
          after: all,
          subject: made.keyId,
          result: keyBody(made, await signingKeys.list(), clock.nowMs()),
        };
      });
    },
  );
}
