/** Uploads while the gateway is killed, and the memory that a large one needs. */
import { createHash, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer, request } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Cluster, startCluster } from "./cluster.ts";

const STUB = "tempera/stub";
const MIB = 1024 * 1024;

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster(STUB);
});
afterAll(() => cluster[Symbol.asyncDispose]());

async function initiate(
  action: "initiate" | "initiate-multipart",
): Promise<{ upload_url: string; file_url: string }> {
  const response = await fetch(`${cluster.url}/rest/storage/upload/${action}`, {
    method: "POST",
    headers: { authorization: `Key ${cluster.key}`, "content-type": "application/json" },
    body: JSON.stringify({ content_type: "application/octet-stream", file_name: "big.bin" }),
  });
  return (await response.json()) as { upload_url: string; file_url: string };
}

/** Returns the resident memory of the gateway, in MiB. */
async function residentMib(): Promise<number> {
  const status = await readFile(`/proc/${cluster.pid("gateway")}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
}

/** Sends `chunk` `count` times in one PUT. Returns the status and the digest of the sent bytes. */
function put(url: string, chunk: Buffer, count: number): Promise<{ status: number; sha256: string }> {
  return new Promise((done, fail) => {
    const hash = createHash("sha256");
    const sent = request(
      url,
      { method: "PUT", headers: { "content-length": chunk.length * count } },
      (response) => {
        response
          .resume()
          .once("end", () => done({ status: response.statusCode ?? 0, sha256: hash.digest("hex") }));
      },
    );
    sent.once("error", fail);
    let left = count;
    const more = (): void => {
      while (left-- > 0) {
        hash.update(chunk);
        if (!sent.write(chunk)) return void sent.once("drain", more);
      }
      sent.end();
    };
    more();
  });
}

async function digest(url: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of (await fetch(url)).body as unknown as AsyncIterable<Uint8Array>)
    hash.update(chunk);
  return hash.digest("hex");
}

describe("a large upload", () => {
  it("of 1 GiB needs less than 100 MB of the gateway's memory, in and out", async () => {
    const warm = await initiate("initiate");
    await put(warm.upload_url, randomBytes(MIB), 64);
    const before = await residentMib();
    let most = before;
    const measuring = setInterval(async () => {
      most = Math.max(most, await residentMib());
    }, 50);
    const { upload_url, file_url } = await initiate("initiate");
    const { status, sha256 } = await put(upload_url, randomBytes(MIB), 1024);
    expect(status).toBe(200);
    expect(await digest(file_url)).toBe(sha256);
    clearInterval(measuring);
    process.stderr.write(
      `1 GiB up and down: resident memory ${Math.round(before)} MiB, at most ${Math.round(most)} MiB\n`,
    );
    expect(most - before).toBeLessThan(95);
  });
});

describe("a restart of the gateway", () => {
  it("in the middle of an upload in parts keeps the parts that arrived", async () => {
    const { upload_url, file_url } = await initiate("initiate-multipart");
    const partUrl = (path: string): string => {
      const url = new URL(upload_url);
      url.pathname += path;
      return url.href;
    };
    const bodies = [randomBytes(5 * MIB), randomBytes(5 * MIB), randomBytes(100)];
    const send = async (i: number) =>
      (await (
        await fetch(partUrl(`/${i + 1}`), { method: "PUT", body: new Uint8Array(bodies[i] as Buffer) })
      ).json()) as object;
    const first = await send(0);
    const cut = put(partUrl("/2"), Buffer.alloc(64 * 1024), 5 * 16).catch((error: Error) => error);
    await cluster.kill("gateway");
    await cut;
    await cluster.restart("gateway");
    const parts = [first, await send(1), await send(2)];
    expect(
      (await fetch(partUrl("/complete"), { method: "POST", body: JSON.stringify({ parts }) })).status,
    ).toBe(200);
    const sha256 = createHash("sha256").update(Buffer.concat(bodies)).digest("hex");
    expect(await digest(file_url)).toBe(sha256);
  });
});

describe("a restart of the orchestrator", () => {
  it("in the middle of a webhook's back-off continues the delivery, which arrives once", async () => {
    const got: string[] = [];
    let wake = (): void => {};
    const receiver = createServer((incoming, response) => {
      got.push(String(incoming.headers["x-fal-webhook-request-id"]));
      response.writeHead(got.length === 1 ? 500 : 200).end();
      wake();
    });
    await new Promise<void>((open) => receiver.listen(0, "127.0.0.1", open));
    try {
      const arrived = (count: number): Promise<void> =>
        new Promise((done) => {
          wake = () => got.length >= count && done();
          wake();
        });
      const { port } = receiver.address() as { port: number };
      const hook = encodeURIComponent(`http://127.0.0.1:${port}/`);
      await fetch(`${cluster.url}/queue/${STUB}?fal_webhook=${hook}`, {
        method: "POST",
        headers: { authorization: `Key ${cluster.key}` },
        body: "{}",
      });
      await arrived(1);
      await cluster.kill("orchestrator");
      await cluster.restart("orchestrator");
      await arrived(2);
      expect(new Set(got).size).toBe(1);
    } finally {
      receiver.closeAllConnections();
      receiver.close();
    }
  });
});
