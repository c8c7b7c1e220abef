import {
  type Client,
  isGrpcServiceError,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
} from "@temporalio/client";
import { Circuit } from "../../core/concurrency/circuit.ts";
import { isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import { isOpened } from "./connect.ts";
import { within } from "./within.ts";

/** gRPC status codes of a server that did not answer, or was too busy. */
const GRPC_UNAVAILABLE = new Set([1, 4, 8, 14]);

const TIMES = { deadlineMs: 5_000, probeMs: 1_000 };

/** The workflow that a probe asks for. It never exists; the answer has to come from Temporal's database. */
const PROBED_WORKFLOW = "tempera-probe";

const IN_DOUBT = "Temporal did not answer in time. It is not known whether the call was accepted. Try again.";

/** Sends calls to Temporal, each within a deadline. Both reject with `temporal_unavailable`. */
export interface TemporalCalls extends Disposable {
  /** Temporal is known to be away: calls are refused at once. */
  readonly isAway: boolean;
  read<T>(work: () => Promise<T>): Promise<T>;
  /** Sends a change. The error is in doubt (`isInDoubt`) when the change was sent and not answered. */
  change<T>(work: () => Promise<T>): Promise<T>;
}

/**
 * Creates the sender of calls. While Temporal is known to be away, or was not reached yet, calls are refused
 * at once.
 *
 * @param times longest wait for one reply, and for that to a probe
 */
export function createTemporalCalls(
  client: Client,
  times: { readonly deadlineMs: number; readonly probeMs: number } = TIMES,
): TemporalCalls {
  const circuit = new Circuit({
    probe: () => within(times.probeMs, probe(client)),
    isOutage: (error) => isTemperaError(error) && error.code === "temporal_unavailable",
    refusal: () => new TemperaError("temporal_unavailable"),
  });
  const send = async <T>(work: () => Promise<T>, inDoubt: boolean): Promise<T> => {
    // Nothing was sent, so the call is in no doubt. It goes by the connection itself: a probe would close the
    // circuit only some time after the role has reported that Temporal is joined.
    if (!isOpened(client)) throw new TemperaError("temporal_unavailable");
    return circuit.run(async () => {
      try {
        return await within(times.deadlineMs, work());
      } catch (error) {
        if (!isUnanswered(error)) throw error;
        throw new TemperaError("temporal_unavailable", inDoubt ? IN_DOUBT : undefined, {
          cause: error,
          inDoubt,
        });
      }
    });
  };
  return {
    get isAway() {
      return !isOpened(client) || circuit.isOpen;
    },
    read: (work) => send(work, false),
    change: (work) => send(work, true),
    [Symbol.dispose]: () => circuit[Symbol.dispose](),
  };
}

async function probe(client: Client): Promise<void> {
  try {
    await client.workflow.getHandle(PROBED_WORKFLOW).describe();
  } catch (error) {
    if (isUnanswered(error)) throw error;
  }
}

function isUnanswered(error: unknown): boolean {
  if (error instanceof WorkflowNotFoundError || error instanceof WorkflowExecutionAlreadyStartedError)
    return false;
  if (isTemperaError(error)) return error.code === "temporal_unavailable";
  const { cause } = error as { cause?: unknown };
  // The client wraps what the connection throws while it is not open.
  if (isTemperaError(cause)) return cause.code === "temporal_unavailable";
  // The SDK's native connection words its own end so, while calls are under way.
  if (cause instanceof Error && cause.message.includes("Native Promise was dropped")) return true;
  const grpc = isGrpcServiceError(error) ? error : (cause as { code?: number } | undefined);
  return typeof grpc?.code === "number" && GRPC_UNAVAILABLE.has(grpc.code);
}
