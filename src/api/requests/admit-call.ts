import type { Context } from "hono";
import { withoutOwnSignatures } from "../../core/files/private-address.ts";
import type { Json } from "../../core/json/json.ts";
import type { Caller } from "../auth/key-ring.ts";
import { inTurn } from "../http/body-share.ts";
import { type ClaimedRequest, createClaimRequest } from "./claim-request.ts";

/** A call that is to be admitted. */
interface IncomingCall<Body> {
  caller: Caller;
  endpoint: string;
  /** Reads the body, and rejects as it does when the body cannot be used. */
  readBody(): Promise<Body>;
  /** Gives an input as the model will see it: two spellings of a value are the same call. */
  coerced?: ((input: Json) => Json | Promise<Json>) | undefined;
}

/**
 * Admits a call that brings work: reads its body, and claims its idempotency key. Rejects as `readBody` and
 * `claimRequest` do.
 */
export function createAdmitCall(api: Parameters<typeof createClaimRequest>[0]) {
  const claimRequest = createClaimRequest(api);

  return async function admitCall<Body extends { input: Json }>(
    c: Context,
    { caller, endpoint, readBody, coerced }: IncomingCall<Body>,
  ): Promise<Body & { claim: ClaimedRequest | undefined }> {
    const body = await readBody();
    const claim = await claimRequest(c, {
      caller,
      endpoint,
      readInput: () =>
        inTurn(c, () => {
          const input = withoutOwnSignatures(body.input, caller.ownerId);
          return coerced ? coerced(input) : input;
        }),
    });
    return { ...body, claim };
  };
}
