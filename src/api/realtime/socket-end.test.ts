import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { expect, it, vi } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { endSocket, shedBacklog } from "./socket-end.ts";

it("terminates as few sockets as needed to get below the bound, those with the most unread outputs", () => {
  const sockets = [10, 0, 50, 30, 5].map((bufferedAmount) => ({ bufferedAmount, terminate: vi.fn() }));
  const terminated = () =>
    sockets
      .filter(({ terminate }) => terminate.mock.calls.length > 0)
      .map(({ bufferedAmount }) => bufferedAmount);
  shedBacklog(sockets, 95);
  expect(terminated()).toEqual([]);
  shedBacklog(sockets, 44);
  expect(terminated()).toEqual([50, 30]);
});

it("truncates the reason of a close frame between two characters", async () => {
  const server = new WebSocketServer({ port: 0 });
  try {
    const client = new WebSocket(`ws://localhost:${(server.address() as AddressInfo).port}`);
    const [ws] = (await once(server, "connection")) as [WebSocket];
    const closed = once(client, "close");
    // As in an engine's error: 100 characters of three bytes each.
    endSocket(ws, 1011, "界".repeat(100));
    const [code, reason] = (await closed) as [number, Buffer];
    expect([code, reason.toString()]).toEqual([1011, "界".repeat(41)]);
  } finally {
    for (const client of server.clients) client.terminate();
    server.close();
  }
});
