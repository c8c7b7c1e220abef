import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { EventLog } from "../../core/requests/event-log.ts";

export interface RunningRequests extends AsyncDisposable {
  /**
   * A signal that aborts when the cancel of one of these requests is announced; dispose it when the attempt
   * ends.
   */
  track(...requestIds: string[]): { signal: AbortSignal } & Disposable;
}

/** Listens once, for the whole process, to the cancels that gateways announce. */
export async function createRunningRequests(events: Pick<EventLog, "onCancel">): Promise<RunningRequests> {
  const running = new Map<string, Set<AbortController>>();
  const stop = await events.onCancel((requestId) => {
    for (const controller of running.get(requestId) ?? [])
      controller.abort(new TemperaError("client_cancelled"));
  });
  return {
    track(...requestIds) {
      const controller = new AbortController();
      for (const requestId of requestIds) {
        const together = running.get(requestId) ?? new Set();
        running.set(requestId, together.add(controller));
      }
      return {
        signal: controller.signal,
        [Symbol.dispose]: () => {
          for (const requestId of requestIds) {
            const together = running.get(requestId);
            together?.delete(controller);
            if (together?.size === 0) running.delete(requestId);
          }
        },
      };
    },
    [Symbol.asyncDispose]: stop,
  };
}
