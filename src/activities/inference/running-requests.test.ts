import { describe, expect, it } from "vitest";
import { createRunningRequests } from "./running-requests.ts";

/** Who listens for cancels, and a way to announce one. */
function createAnnouncer() {
  const listeners = new Set<(requestId: string) => void>();
  return {
    listeners,
    cancel: (requestId: string): void => listeners.forEach((listener) => void listener(requestId)),
    async onCancel(listener: (requestId: string) => void) {
      listeners.add(listener);
      return async () => void listeners.delete(listener);
    },
  };
}

describe("running requests", () => {
  it("receive their own cancel and no other", async () => {
    const announcer = createAnnouncer();
    const running = await createRunningRequests(announcer);
    const [a, b] = [running.track("a"), running.track("b")];
    announcer.cancel("a");
    announcer.cancel("unknown");
    expect(a.signal.aborted).toBe(true);
    expect(a.signal.reason).toMatchObject({ code: "client_cancelled" });
    expect(b.signal.aborted).toBe(false);
  });

  it("receive nothing after they have ended", async () => {
    const announcer = createAnnouncer();
    const running = await createRunningRequests(announcer);
    const ended = running.track("a");
    ended[Symbol.dispose]();
    announcer.cancel("a");
    expect(ended.signal.aborted).toBe(false);
  });

  it("keep the subscription of the next attempt when the last one ends late", async () => {
    const announcer = createAnnouncer();
    const running = await createRunningRequests(announcer);
    const first = running.track("a");
    const second = running.track("a");
    first[Symbol.dispose]();
    announcer.cancel("a");
    expect(second.signal.aborted).toBe(true);
  });

  it("subscribe once for the whole process, until they are disposed", async () => {
    const announcer = createAnnouncer();
    const running = await createRunningRequests(announcer);
    for (const id of ["a", "b", "c"]) running.track(id);
    expect(announcer.listeners.size).toBe(1);
    await running[Symbol.asyncDispose]();
    expect(announcer.listeners.size).toBe(0);
  });
});
