/** Calls of an engine's `Run`, one of them opened before there is a request for it. */
import type { EngineClient } from "../../contract/engine-protocol.ts";

type RunCall = ReturnType<EngineClient["run"]>;

export interface CallsAhead {
  /** A call for one request, whose end its taker learns by reading it. Throws once the client is closed. */
  take(): RunCall;
  /** Opens none any more by itself. */
  close(): void;
}

/**
 * For so long after the end of a call its result is on its way to the caller through this thread; for most it
 * is less.
 */
const RESULT_MS = 5;

/**
 * Gives calls to run on. Opening one takes the two processes as long as a small request does, so it is done
 * while nobody waits for it: whenever a call has ended and its result has gone on. Who finds none ready opens
 * its own.
 */
export function createCallsAhead(
  client: Pick<EngineClient, "run">,
  later: (work: () => void) => unknown = (work) => setTimeout(work, RESULT_MS).unref(),
): CallsAhead {
  let ahead: RunCall | undefined;
  let closed = false;

  const open = (): RunCall => {
    const call = client.run();
    // Without a listener an error that comes late would end the process.
    call.on("error", () => {});
    return call;
  };
  const prepare = (): void => {
    if (closed || ahead) return;
    const call = open();
    ahead = call;
    call.once("status", () => {
      if (ahead === call) ahead = undefined;
    });
  };

  return {
    take() {
      const call = ahead ?? open();
      ahead = undefined;
      call.once("status", () => later(prepare));
      return call;
    },
    close() {
      closed = true;
      ahead?.cancel();
      ahead = undefined;
    },
  };
}
