import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import {
  connect as connectHttp2,
  createServer as createHttp2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
} from "node:http2";
import { type AddressInfo, connect, type Server } from "node:net";
import { afterEach, expect, it } from "vitest";
import { endWhenStalled } from "./stalled-answers.ts";

type Call = IncomingMessage | Http2ServerRequest;
type Answer = ServerResponse | Http2ServerResponse;
type Serve = (call: Call, answer: Answer) => void;

let end: () => void = () => {};
afterEach(() => end());

/** More than the kernel takes of a connection that nobody reads. */
const LARGE = Buffer.alloc(64 * 1024 * 1024);

/** Opens a server whose answers stall after a moment, and calls it without reading the answer. */
const OPENED: Record<string, (serve: Serve) => Promise<{ read(): Promise<string> }>> = {
  "HTTP/1.1": async (serve) => {
    const port = await listening(createServer(serve));
    const socket = connect(port, "127.0.0.1").pause();
    socket.on("error", () => {});
    const close = end;
    end = () => [socket.destroy(), close()];
    socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    return { read: async () => String(await once(socket.resume(), "data")) };
  },
  "HTTP/2": async (serve) => {
    const port = await listening(createHttp2Server(serve));
    const session = connectHttp2(`http://127.0.0.1:${port}`);
    session.on("error", () => {});
    const stream = session.request();
    stream.on("error", () => {});
    const close = end;
    end = () => [session.destroy(), close()];
    return { read: async () => String(await once(stream.resume(), "data")) };
  },
};

async function listening(server: Server): Promise<number> {
  end = () => void server.close();
  await once(server.listen(0, "127.0.0.1"), "listening");
  return (server.address() as AddressInfo).port;
}

it.each(Object.keys(OPENED))("an answer over %s of which nothing is taken is ended", async (protocol) => {
  const ended = new Promise((resolve) => {
    void OPENED[protocol]?.((_, answer) => {
      endWhenStalled(answer, 50);
      answer.once("close", () => resolve("ended"));
      (answer as ServerResponse).end(LARGE);
    });
  });
  expect(await ended).toBe("ended");
});

it.each(Object.keys(OPENED))(
  "an answer over %s that has nothing to send yet is left alone",
  async (protocol) => {
    const opened = await OPENED[protocol]?.(async (_, answer) => {
      endWhenStalled(answer, 10);
      for (let n = 0; n < 2; n++) {
        await once(answer, "timeout");
        (answer as ServerResponse).write("ping");
      }
    });
    expect(await opened?.read()).toContain("ping");
  },
);
