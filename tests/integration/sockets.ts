/** A WebSocket client for tests, which awaits messages one by one, and the end. */
import { type ClientOptions, WebSocket } from "ws";

export interface TestSocket extends AsyncDisposable {
  ws: WebSocket;
  /** Gives the next message: text as a string, bytes as a Buffer. Rejects when the socket closes first. */
  next(): Promise<string | Buffer>;
  send(data: string | Uint8Array): void;
  /** Resolves with the close frame's code and reason. */
  closed: Promise<{ code: number; reason: string }>;
}

/** Resolves when the socket is open; rejects with `{ status, body }` when the upgrade was refused. */
export async function openSocket(url: string, options: ClientOptions = {}): Promise<TestSocket> {
  const ws = new WebSocket(url, options);
  const messages: (string | Buffer)[] = [];
  let wake = () => {};
  let ended = false;
  ws.on("message", (data, isBinary) => {
    messages.push(isBinary ? (data as Buffer) : (data as Buffer).toString());
    wake();
  });
  const closed = new Promise<{ code: number; reason: string }>((resolve) =>
    ws.once("close", (code, reason) => {
      ended = true;
      wake();
      resolve({ code, reason: reason.toString() });
    }),
  );
  await new Promise<void>((resolve, reject) => {
    ws.once("open", () => resolve());
    ws.once("unexpected-response", (_request, response) => {
      let body = "";
      response.on("data", (chunk) => {
        body += chunk;
      });
      response.on("end", () =>
        reject({ status: response.statusCode, body: JSON.parse(body), headers: response.headers }),
      );
    });
    ws.on("error", reject);
  });
  return {
    ws,
    closed,
    send: (data) => ws.send(data),
    async next() {
      for (;;) {
        const message = messages.shift();
        if (message !== undefined) return message;
        if (ended) throw new Error("the socket closed without another message");
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    async [Symbol.asyncDispose]() {
      if (ws.readyState === WebSocket.OPEN) ws.close();
      await closed;
    },
  };
}
