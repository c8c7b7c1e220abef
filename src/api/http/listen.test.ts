import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import type { Server } from "node:http";
import { connect } from "node:net";
import { Hono } from "hono";
import { afterEach, expect, it, vi } from "vitest";
import { type HttpServer, listen } from "./listen.ts";

let server: HttpServer;
afterEach(() => server.stop(0));

const app = new Hono();
app.post("/echo", async (c) =>
  c.text(`${await c.req.text()} ${c.req.header("x-mine")} ${c.req.header("upgrade") ?? "none"}`),
);

/** Sends raw requests on one connection; resolves with all data that came until the server closed it. */
async function raw(...requests: string[]): Promise<string> {
  const socket = connect(server.port, "127.0.0.1");
  let received = "";
  socket.on("data", (chunk) => {
    received += chunk;
  });
  for (const request of requests) socket.write(request);
  await once(socket, "close");
  return received;
}

it("serves a request by HTTP/1.1, body and all, although it offers another protocol", async () => {
  const upgrade = vi.fn();
  server = await listen(app, { host: "127.0.0.1", port: 0, name: "test", setting: "NONE", upgrade });
  const offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n";
  const received = await raw(
    `POST /echo HTTP/1.1\r\nHost: x\r\n${offer}X-Mine: yes\r\nContent-Length: 5\r\n\r\nhe`,
    "llo",
    "POST /echo HTTP/1.1\r\nHost: x\r\nX-Mine: again\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
  );
  expect(received).toContain("hello yes none");
  expect(received).toContain("hi again none");
  expect(received.match(/HTTP\/1\.1 200/g)).toHaveLength(2);
  expect(upgrade).not.toHaveBeenCalled();
});

it("hands the upgrade to a WebSocket on", async () => {
  server = await listen(app, {
    host: "127.0.0.1",
    port: 0,
    name: "test",
    setting: "NONE",
    upgrade: (request, socket) => socket.end(`HTTP/1.1 418 ${request.url}\r\n\r\n`),
  });
  expect(
    await raw("GET /s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
  ).toContain("418 /s");
});

it("limits the time of a head to a minute and of a body not at all (Node: five minutes)", async () => {
  server = await listen(app, { host: "127.0.0.1", port: 0, name: "test", setting: "NONE" });
  let node: Server | undefined;
  const seen = (message: unknown): void => {
    node = (message as { server: Server }).server;
  };
  subscribe("http.server.request.start", seen);
  try {
    await raw("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  } finally {
    unsubscribe("http.server.request.start", seen);
  }
  expect(node?.requestTimeout).toBe(0);
  expect(node?.headersTimeout).toBe(60_000);
  expect(node?.keepAliveTimeout).toBe(75_000);
});
