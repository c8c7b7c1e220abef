import { EventEmitter, once } from "node:events";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { endSocket, shedBacklog, startPings } from "./socket-end.ts";

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

describe("pings", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  /** A socket that answers its first `answers` pings. */
  const peer = (answers: number) => {
    const events = new EventEmitter();
    const ping = vi.fn(() => ping.mock.calls.length <= answers && events.emit("pong"));
    return Object.assign(events, { ping, terminate: vi.fn() });
  };
  const start = (ws: ReturnType<typeof peer>) => startPings(ws as unknown as WebSocket);

  it("are sent at least every 5 s, for as long as they are answered", () => {
    const ws = peer(Infinity);
    const stop = start(ws);
    for (let pings = 1; pings <= 50; pings += 1) {
      vi.advanceTimersByTime(5_000);
      expect(ws.ping.mock.calls.length).toBeGreaterThanOrEqual(pings);
    }
    expect(ws.terminate).not.toHaveBeenCalled();
    stop();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("end a connection that has not answered for 20 s, and no sooner", () => {
    const ws = peer(3);
    start(ws);
    while (ws.ping.mock.calls.length < 4) vi.advanceTimersToNextTimer();
    vi.advanceTimersByTime(19_000);
    expect(ws.terminate).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1_000);
    expect(ws.terminate).toHaveBeenCalled();
  });

  it("do not end a connection that the gateway itself does not read, until it is read again", () => {
    const ws = Object.assign(peer(0), { isPaused: true });
    start(ws);
    vi.advanceTimersByTime(60_000);
    expect(ws.ping).toHaveBeenCalled();
    expect(ws.terminate).not.toHaveBeenCalled();
    ws.isPaused = false;
    vi.advanceTimersByTime(19_000);
    expect(ws.terminate).not.toHaveBeenCalled();
    vi.advanceTimersByTime(5_000);
    expect(ws.terminate).toHaveBeenCalled();
  });
});
