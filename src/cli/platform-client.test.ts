import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, it } from "vitest";
import { createPlatformClient } from "./platform-client.ts";

it("follows a request with the log lines of the queue, and resumes after a broken connection", async () => {
  const seen: (string | undefined)[][] = [];
  const server = createServer(({ url, headers }, response) => {
    seen.push([url, headers["last-event-id"] as string | undefined]);
    response.writeHead(200, { "content-type": "text/event-stream" });
    if (seen.length === 2) return response.end('data: {"status":"COMPLETED"}\n\n');
    response.write('id: 7-0\ndata: {"status":"IN_QUEUE","logs":[{"message":"it waits"}]}\n\n', () =>
      response.destroy(),
    );
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const client = createPlatformClient({ url, adminUrl: url, key: "k" });
  const statuses = [];
  for await (const { status } of client.follow("a/b", "r")) statuses.push(status);
  server.close();
  expect(statuses).toEqual(["IN_QUEUE", "COMPLETED"]);
  const path = "/queue/a/b/requests/r/status/stream?logs=1&queue_logs=1";
  expect(seen).toEqual([
    [path, undefined],
    [path, "7-0"],
  ]);
});
