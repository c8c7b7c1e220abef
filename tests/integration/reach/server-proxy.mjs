/**
 * fal's official server proxy, as a web application would run it, and a client that only knows that
 * application. Makes the call that its argument names, and prints the client's result as JSON.
 */
import { createServer } from "node:http";
import { createFalClient } from "@fal-ai/client";
import { createProxy } from "@fal-ai/server-proxy/remix";

const { action: proxy } = createProxy({
  allowedEndpoints: ["tempera/**"],
  allowUnauthorizedRequests: true,
  json: (data, init) => Response.json(data, init),
});
const server = createServer(async (incoming, outgoing) => {
  const body = [];
  for await (const chunk of incoming) body.push(chunk);
  const request = new Request(`http://application${incoming.url}`, {
    method: incoming.method,
    headers: incoming.headers,
    ...(incoming.method !== "GET" && { body: Buffer.concat(body) }),
  });
  const response = await proxy({ request });
  outgoing.writeHead(
    response.status,
    Object.fromEntries([...response.headers].filter(([name]) => name !== "content-encoding")),
  );
  for await (const chunk of response.body ?? []) outgoing.write(chunk);
  outgoing.end();
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));

// Without credentials: the key is the application's.
const client = createFalClient({
  credentials: () => undefined,
  proxyUrl: { url: `http://127.0.0.1:${server.address().port}/api/fal/proxy`, when: "always" },
});
const CALLS = {
  run: () => client.run("tempera/stub", { input: { prompt: "one" } }),
  subscribe: () => client.subscribe("tempera/stub", { input: { prompt: "one" }, mode: "streaming" }),
  async upload() {
    const url = await client.storage.upload(new Blob(["hello"], { type: "text/plain" }));
    return { url, text: await (await fetch(url)).text() };
  },
  elsewhere: () => client.run("fal-ai/other", { input: {} }).catch(({ status }) => ({ status })),
};
console.log(JSON.stringify(await CALLS[process.argv[2]]()));
server.close();
server.closeAllConnections();
