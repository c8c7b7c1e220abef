import { EventEmitter } from "node:events";
import type { IncomingMessage } from "node:http";
import { expect, it, vi } from "vitest";
import type { WebSocket } from "ws";
import { createRealtimeSocket } from "./realtime-socket.ts";

it("names the nearest model that is served when it refuses an unknown one", async () => {
  const api = {
    keyRing: { authenticate: async () => ({ ownerId: "ann", keyId: "k", scope: "API" }) },
    registry: {
      route: (endpoint: string) => (endpoint === "tempera/stub" ? {} : undefined),
      list: () => [{ endpoint: "tempera/stub" }],
      pipelines: () => [],
    },
    realtime: { sessionsMax: 1 },
  };
  const open = createRealtimeSocket(api as unknown as Parameters<typeof createRealtimeSocket>[0]);
  const query = new URLSearchParams();
  const request = { headers: {} } as IncomingMessage;
  const serve = await open({ tree: "run", path: "/fal-ai/stub/realtime", query }, request);
  const sent: string[] = [];
  const ws = {
    OPEN: 1,
    readyState: 1,
    bufferedAmount: 0,
    close: vi.fn(),
    send: (data: string) => sent.push(data),
  };
  const socket = Object.assign(new EventEmitter(), ws);
  serve(socket as unknown as WebSocket);
  socket.emit("close");
  expect(JSON.parse(sent[0] ?? "")).toMatchObject({
    reason: expect.stringContaining('Application "stub" not found; did you mean "tempera/stub"?'),
  });
});
