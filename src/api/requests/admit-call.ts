import type { Context } from "hono";
import type { Json } from "../../core/json/json.ts";
import type { Caller } from "../auth/key-ring.ts";
import { createRecentRefusals } from "../limits/recent-refusals.ts";
import { type ClaimedRequest, createClaimRequest } from "./claim-request.ts";

/** A call that is to be admitted. */
interface IncomingCall<Body> {
  caller: Caller;
  endpoint: string;
  /** Reads the body, and rejects as it does when the body cannot be used. */
  readBody(): Promise<Body>;
  /** Gives an input as the model will see it: two spellings of a value are the same call. */
  coerced?: ((input: Json) => Json) | undefined;
}

/**
 * Admits a call that brings work: counts it by its owner's rate, reads its body, and claims its idempotency
 * key. These need different stores, so they overlap:
 *
 * - The count runs while the body arrives. Whichever of the two refuses first is the answer.
 * - The claim is made before the count has ended. When the count refuses the call, the claim is released
 *   again. For owners whose calls were refused lately, the claim waits for the count.
 *
 * Rejects with `rate_limited`, as `readBody` does, and as `claimRequest` does.
 */
export function createAdmitCall(api: Parameters<typeof createClaimRequest>[0]) {
  const claimRequest = createClaimRequest(api);
  const recentRefusals = createRecentRefusals();

  return async function admitCall<Body extends { input: Json }>(
    c: Context,
    { caller, endpoint, readBody, coerced }: IncomingCall<Body>,
  ): Promise<Body & { claim: ClaimedRequest | undefined }> {
    const counted = api.limits.countCall(caller);
    const reading = readBody();
    const body = await Promise.race([reading, counted.then(() => reading)]);
    const call = { caller, endpoint, input: coerced ? coerced(body.input) : body.input };
    const claiming = recentRefusals.has(caller.ownerId)
      ? counted.then(() => claimRequest(c, call))
      : claimRequest(c, call);
    // A failed claim is the answer only if the count admits the call; it must not be unhandled until then.
    claiming.catch(() => {});
    try {
      await counted;
    } catch (error) {
      recentRefusals.add(caller.ownerId);
      claiming.then(
        (claim) => claim && !claim.existing && claim.release(),
        () => {},
      );
      throw error;
    }
    return { ...body, claim: await claiming };
  };
}
