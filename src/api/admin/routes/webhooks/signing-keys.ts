import { z } from "@hono/zod-openapi";
import { publishedAt, type SigningKey, signerAt } from "../../../../core/webhooks/signing-key.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import type { AddVerb } from "../../http/route.ts";

const SIGNING_KEY = z
  .object({
    key_id: z.string(),
    public_key: z.string(),
    state: z.enum(["next", "signing", "retired", "forgotten", "revoked"]).openapi({
      description:
        "next: published, does not sign yet. retired: signs no more. Both, and the one that signs, verify.",
    }),
    created_at: z.string(),
    signs_from: z.string(),
    revoked_at: z.string().nullable(),
  })
  .openapi("SigningKey");

type State = z.input<typeof SIGNING_KEY>["state"];

const keyBody = (
  key: SigningKey,
  all: readonly SigningKey[],
  nowMs: number,
): z.input<typeof SIGNING_KEY> => ({
  key_id: key.keyId,
  public_key: key.publicKey,
  state: stateOf(key, all, nowMs),
  created_at: new Date(key.createdAtMs).toISOString(),
  signs_from: new Date(key.signsFromMs).toISOString(),
  revoked_at: key.revokedAtMs === undefined ? null : new Date(key.revokedAtMs).toISOString(),
});

function stateOf(key: SigningKey, all: readonly SigningKey[], nowMs: number): State {
  if (key.revokedAtMs !== undefined) return "revoked";
  if (key.signsFromMs > nowMs) return "next";
  if (signerAt(all, nowMs)?.keyId === key.keyId) return "signing";
  return publishedAt(all, nowMs).some(({ keyId }) => keyId === key.keyId) ? "retired" : "forgotten";
}

/** What webhooks are signed with. */
export function addSigningKeyVerbs(
  add: AddVerb,
  { signingKeys, clock }: Pick<ApiDependencies, "signingKeys" | "clock">,
): void {
  const listed = async (): Promise<z.input<typeof SIGNING_KEY>[]> => {
    const all = await signingKeys.list();
    return all.map((key) => keyBody(key, all, clock.nowMs()));
  };

  add(
    {
      method: "get",
      path: "/v1/signing-keys",
      says: "Lists every key that webhooks were ever signed with, newest first.",
      scope: "ADMIN",
      answer: z.object({ signing_keys: z.array(SIGNING_KEY) }),
    },
    async () => ({ signing_keys: await listed() }),
  );

  add(
    {
      method: "post",
      path: "/v1/signing-keys/rotate",
      says: "Makes a new signing key. It signs 25 hours from now.",
      scope: "ADMIN",
      body: z.strictObject({
        now: z.boolean().default(false).openapi({ description: "It signs at once." }),
        revoke: z.boolean().default(false).openapi({ description: "The ones before it leave the JWKS." }),
      }),
      audit: "signing-keys.rotate",
      status: 201,
      answer: SIGNING_KEY,
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
