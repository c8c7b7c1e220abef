import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { EventLog } from "../../core/requests/event-log.ts";

export interface RunningRequests extends AsyncDisposable {
  /**
   * Returns a signal that aborts when the cancel of one of these requests is announced. Dispose of it when
   * the attempt ends.
   */
  track(...requestIds: string[]): { signal: AbortSignal } & Disposable;
}

/** Subscribes once, for the whole process, to the cancels that gateways announce. */
export async function createRunningRequests(events: Pick<EventLog, "onCancel">): Promise<RunningRequests> {
  const running = new Map<string, Set<AbortController>>();
  const unsubscribe = await events.onCancel((requestId) => {
    for (const controller of running.get(requestId) ?? [])
      controller.abort(new TemperaError("client_cancelled"));
  });
  return {
    track(...requestIds) {
      const controller = new AbortController();
      for (const requestId of requestIds) {
        const controllers = running.get(requestId) ?? new Set();
        running.set(requestId, controllers.add(controller));
      }
      return {
        signal: controller.signal,
        [Symbol.dispose]: () => {
          for (const requestId of requestIds) {
            const controllers = running.get(requestId);
            controllers?.delete(controller);
            if (controllers?.size === 0) running.delete(requestId);
          }
        },
      };
    },
    [Symbol.asyncDispose]: unsubscribe,
  };
}
