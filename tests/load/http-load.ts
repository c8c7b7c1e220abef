import { connect } from "node:net";

export interface LoadResult {
  requestsPerSecond: number;
  latenciesMs: number[];
  /** Responses whose status was not `expected`. */
  unexpected: number;
}

/**
 * Sends the same GET over `connections` keep-alive connections, one at a time on each, for `seconds`. Uses
 * bare sockets: the load must cost less than the measured server, since both share the machine.
 */
export async function httpLoad({
  port,
  path,
  headers,
  connections,
  seconds,
  expected,
}: {
  port: number;
  path: string;
  headers: Record<string, string>;
  connections: number;
  seconds: number;
  expected: number;
}): Promise<LoadResult> {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const request = Buffer.from(`GET ${path} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n${lines.join("")}\r\n`);
  const expectedStart = `HTTP/1.1 ${expected} `;
  const latenciesMs: number[] = [];
  let unexpected = 0;
  const until = performance.now() + seconds * 1000;
  const startedAtMs = performance.now();
  await Promise.all(
    Array.from(
      { length: connections },
      () =>
        new Promise<void>((resolve, reject) => {
          const socket = connect({ port, host: "127.0.0.1", noDelay: true });
          let sentAtMs = 0;
          let text = "";
          const next = (): void => {
            if (performance.now() >= until) {
              socket.end();
              resolve();
            } else {
              sentAtMs = performance.now();
              socket.write(request);
            }
          };
          socket.setEncoding("latin1");
          socket.once("connect", next).once("error", reject);
          socket.on("data", (chunk: string) => {
            text += chunk;
            const head = text.indexOf("\r\n\r\n");
            if (head < 0) return;
            const length = /content-length: (\d+)/i.exec(text.slice(0, head))?.[1];
            if (length === undefined)
              return reject(new Error(`a response without a content length: ${text.slice(0, 200)}`));
            if (text.length < head + 4 + Number(length)) return;
            latenciesMs.push(performance.now() - sentAtMs);
            if (!text.startsWith(expectedStart)) unexpected++;
            text = "";
            next();
          });
        }),
    ),
  );
  return {
    requestsPerSecond: latenciesMs.length / ((performance.now() - startedAtMs) / 1000),
    latenciesMs,
    unexpected,
  };
}
