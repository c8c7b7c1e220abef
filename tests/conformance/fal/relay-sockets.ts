/** Relays WebSockets through the forwarder, message by message; a fault makes it act as a broken server. */
import type { IncomingMessage, Server } from "node:http";
import { type RawData, WebSocket, WebSocketServer } from "ws";

export interface SocketFault {
  /** Changes each message of the server; `undefined` drops it. */
  change?: (message: string | Buffer) => string | Buffer | undefined;
  /** Changes the code that the server closes with. */
  closeCode?: (code: number) => number;
  /** Replies to a close without a code by one without a code, as `ws` does by default. */
  echoesCloses?: true;
}

class AnswersWith1000 extends WebSocket {
  override close(code = 1000, reason?: string | Buffer): void {
    super.close(code, reason);
  }
}

/** Closes one side as the other was closed. */
function endWith(ws: WebSocket, code: number): void {
  if (code === 1006) ws.terminate();
  else if (code === 1005) ws.close();
  else ws.close(code);
}

/**
 * Serves the upgrades of `server` by sockets of `target` (`http://…`). Returns a function that ends them all.
 */
export function relaySockets(
  server: Server,
  target: string,
  { change, closeCode, echoesCloses }: SocketFault,
): () => void {
  const accepting = new WebSocketServer({
    noServer: true,
    WebSocket: echoesCloses ? WebSocket : AnswersWith1000,
  });
  const open = new Set<WebSocket>();
  server.on("upgrade", (request: IncomingMessage, socket, head) => {
    const { host, authorization } = request.headers;
    const there = new WebSocket(target.replace(/^http/, "ws") + request.url, {
      headers: { ...(host && { host }), ...(authorization && { authorization }) },
    });
    open.add(there);
    there.once("close", () => open.delete(there));
    there.on("error", () => socket.destroy());
    there.once("open", () =>
      accepting.handleUpgrade(request, socket, head, (here) => {
        here.on("message", (data: RawData, isBinary) => there.send(data as Buffer, { binary: isBinary }));
        here.once("close", (code) => endWith(there, code));
        here.on("error", () => there.terminate());
        there.on("message", (data: RawData, isBinary) => {
          const message = isBinary ? (data as Buffer) : String(data);
          const passed = change ? change(message) : message;
          if (passed !== undefined) here.send(passed);
        });
        there.once("close", (code) => endWith(here, closeCode ? closeCode(code) : code));
      }),
    );
  });
  return () => {
    for (const socket of open) socket.terminate();
  };
}
