import type { IncomingMessage } from "node:http";
import { PassThrough } from "node:stream";
import { expect, it, vi } from "vitest";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { createAuthFailures } from "../auth/auth-failure-limiter.ts";
import { createSockets } from "./sockets.ts";

it("survives a connection that breaks while its upgrade is refused in a shutdown", async () => {
  let known = (): void => {};
  const authenticate = () =>
    new Promise<never>((_, reject) => {
      known = () => reject(new TemperaError("key_unknown"));
    });
  const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
  const api = {
    keyRing: { authenticate },
    authFailures: createAuthFailures(),
    registry: {},
    log,
    bodyBytesMax: 1000,
    realtime: { idleMs: 1000, sessionsMax: 1 },
  };
  const sockets = createSockets(api as unknown as Parameters<typeof createSockets>[0], () => new Response());
  const socket = new PassThrough();
  sockets.upgrade(
    { url: "/tempera/stub/realtime", headers: { host: "x" } } as IncomingMessage,
    socket,
    Buffer.alloc(0),
  );
  await sockets.stop();
  known();
  await expect.poll(() => socket.writableEnded).toBe(true); // refused
  const refusal = String(socket.read());
  expect(refusal).toContain("HTTP/1.1 503");
  expect(refusal).toContain("cache-control: no-store");
  expect(() =>
    socket.emit("error", Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" })),
  ).not.toThrow();
  expect(socket.destroyed).toBe(true);
});
