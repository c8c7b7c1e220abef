import { errorInfo } from "../../../core/errors/tempera-error.ts";
import type { Json } from "../../../core/json/json.ts";
import { newRequestId } from "../../../core/requests/request-id.ts";
import type { Caller } from "../../auth/key-ring.ts";
import type { ApiDependencies } from "../../dependencies.ts";

/** The subject of a change. `before`: its state until now, as its routes show it; never a secret. */
export interface Change {
  subject: string;
  before?: Json;
}

/** Makes the change; returns its result, and for the audit record the new state and, if new, the subject. */
export type MakeChange<T> = () => Promise<{ result: T; after?: Json; subject?: string }>;

/**
 * Makes a change between the two halves of its audit record. The change is not made when the record cannot be
 * begun. A process that dies halfway leaves a record in state `begun`. A failure to complete the record is
 * only logged, because the change has been made.
 */
export function createAudited({ audit, clock, log }: Pick<ApiDependencies, "audit" | "clock" | "log">) {
  return async <T>(
    { caller, ...change }: Change & { action: string; caller: Caller; requestId: string },
    make: MakeChange<T>,
  ): Promise<T> => {
    const atMs = clock.nowMs();
    const auditId = newRequestId(atMs);
    await audit.begin({ ...change, auditId, atMs, keyId: caller.keyId, ownerId: caller.ownerId });
    const settle = (ending: Parameters<typeof audit.settle>[1]): Promise<void> =>
      audit
        .settle(auditId, ending)
        .catch((error) =>
          log.error({ err: errorInfo(error), auditId, ...change }, "the audit record was not completed"),
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
}
