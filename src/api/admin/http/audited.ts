import { errorInfo } from "../../../core/errors/tempera-error.ts";
import type { Json } from "../../../core/json/json.ts";
import { newRequestId } from "../../../core/requests/request-id.ts";
import type { ApiDependencies } from "../../dependencies.ts";
import type { Caller } from "../../auth/key-ring.ts";

/** What is about to be changed. `before`: what the subject is now, as its verbs answer it; never a secret. */
export interface Change {
  subject: string;
  before?: Json;
}

/**
 * Makes a change between the two halves of its audit record: it is not made when the record cannot be begun,
 * and a process that dies half-way leaves one that says so. What goes wrong with the second half alone is
 * logged: the change stands.
 */
export const createAudited =
  ({ audit, clock, log }: Pick<ApiDependencies, "audit" | "clock" | "log">) =>
  async <T>(
    { caller, ...what }: Change & { action: string; caller: Caller; requestId: string },
    make: () => Promise<{ result: T; after?: Json; subject?: string }>,
  ): Promise<T> => {
    const atMs = clock.nowMs();
    const auditId = newRequestId(atMs);
    await audit.begin({ ...what, auditId, atMs, keyId: caller.keyId, ownerId: caller.ownerId });
    const settle = (how: Parameters<typeof audit.settle>[1]): Promise<void> =>
      audit
        .settle(auditId, how)
        .catch((error) =>
          log.error({ err: errorInfo(error), auditId, ...what }, "the audit record stays open"),
        );
    try {
      const { result, after, subject } = await make();
      await settle({ ...(after !== undefined && { after }), ...(subject !== undefined && { subject }) });
      return result;
    } catch (error) {
      await settle({ errorCode: errorInfo(error, "server_error").code });
      throw error;
    }
  };
