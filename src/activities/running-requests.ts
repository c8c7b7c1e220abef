import { TemperaError } from "../core/errors/tempera-error.ts";
import type { EventLog } from "../core/ports/event-log.ts";

export interface RunningRequests extends AsyncDisposable {
  /** A signal that aborts when this request's cancel is announced; dispose it when the attempt ends. */
  track(requestId: string): { signal: AbortSignal } & Disposable;
}

/** Listens once, for the whole process, to the cancels that gateways announce. */
export async function createRunningRequests(events: Pick<EventLog, "onCancel">): Promise<RunningRequests> {
  const running = new Map<string, AbortController>();
  const stop = await events.onCancel((requestId) => running.get(requestId)?.abort(new TemperaError("client_cancelled")));
  return {
    track(requestId) {
      const controller = new AbortController();
      running.set(requestId, controller);
      return {
        signal: controller.signal,
        [Symbol.dispose]: () => {
          if (running.get(requestId) === controller) running.delete(requestId);
        },
      };
    },
    [Symbol.asyncDispose]: stop,
  };
}
