import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { ChannelEnd, FrameChannel } from "../../core/requests/sessions.ts";

/** Creates the frame channel of one process. A message arrives in a later iteration of the event loop. */
export function createMemoryFrameChannel(): FrameChannel {
  const listeners = new Map<string, Set<(message: unknown) => void>>();
  let closed = false;
  const unavailable = () => new TemperaError("store_unavailable", "The frame channel is closed.");

  async function open<In, Out>(
    from: string,
    to: string,
    listener: (message: In) => void,
  ): Promise<ChannelEnd<Out>> {
    if (closed) throw unavailable();
    const own = (message: unknown) => listener(message as In);
    const here = listeners.get(from) ?? new Set();
    listeners.set(from, here.add(own));
    return {
      async send(message) {
        if (closed) throw unavailable();
        for (const receive of listeners.get(to) ?? [])
          setImmediate(() => listeners.get(to)?.has(receive) && receive(message));
      },
      async close() {
        here.delete(own);
        if (here.size === 0 && listeners.get(from) === here) listeners.delete(from);
      },
    };
  }

  return {
    openGateway: (id, listener) => open(`${id}:gateway`, `${id}:worker`, listener),
    openWorker: (id, listener) => open(`${id}:worker`, `${id}:gateway`, listener),
    async close() {
      closed = true;
      listeners.clear();
    },
  };
}
