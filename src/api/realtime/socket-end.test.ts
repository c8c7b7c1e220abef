import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { expect, it, vi } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { endSocket, shedBacklog } from "./socket-end.ts";

it("past their bound, the sockets with the most unread outputs are cut, and no more of them than needed", () => {
  const sockets = [10, 0, 50, 30, 5].map((bufferedAmount) => ({ bufferedAmount, terminate: vi.fn() }));
  const cut = () =>
    sockets
      .filter(({ terminate }) => terminate.mock.calls.length > 0)
      .map(({ bufferedAmount }) => bufferedAmount);
  shedBacklog(sockets, 95);
  expect(cut()).toEqual([]);
  shedBacklog(sockets, 44);
  expect(cut()).toEqual([50, 30]);
});

it("a reason longer than a close frame is cut between two characters", async () => {
  const server = new WebSocketServer({ port: 0 });
  try {
    const client = new WebSocket(`ws://localhost:${(server.address() as AddressInfo).port}`);
    const [ws] = (await once(server, "connection")) as [WebSocket];
    const closed = once(client, "close");
    // As an engine may word its error: 100 characters of three bytes.
    endSocket(ws, 1011, "界".repeat(100));
    const [code, reason] = (await closed) as [number, Buffer];
    expect([code, reason.toString()]).toEqual([1011, "界".repeat(41)]);
  } finally {
    for (const client of server.clients) client.terminate();
    server.close();
  }
});
