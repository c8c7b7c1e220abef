/**
 * Files among strangers: an origin of their own, privacy by an owner's plan, and nothing that tells one owner
 * what another one has.
 */
import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createSignatures } from "../../src/core/files/signatures.ts";
import { freePort } from "../../src/dev/services/port.ts";
import { type Delivery, type Receiver, startReceiver } from "../conformance/fal/receiver.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const STUB = "tempera/stub";

let test: TestPlatform;
let receiver: Receiver;
/** Keys of owners: the files of `ann` and `bob` are public, those of `pia` and `quinn` private. */
const keys: Record<string, string> = {};
/** The address of the files; the API is at `localhost`, on the same port. */
let filesUrl: string;

beforeAll(async () => {
  receiver = await startReceiver("127.0.0.1");
  const port = await freePort();
  filesUrl = `http://127.0.0.1:${port}`;
  test = await startTestPlatform({
    TEMPERA_PORT: String(port),
    TEMPERA_FILES_URL: filesUrl,
    TEMPERA_ALLOW_PRIVATE_ADDRESSES: "127.0.0.0/8",
    TEMPERA_WORKER_MODELS: STUB,
  });
  for (const owner of ["ann", "bob", "pia", "quinn"])
    keys[owner] = (await test.client.admin<{ key: string }>("POST", "/v1/keys", { alias: owner, owner })).key;
  await test.client.admin("PATCH", "/v1/tempera/plans/private", { private_files: true });
  for (const owner of ["pia", "quinn"])
    await test.client.admin("PATCH", `/v1/tempera/owners/${owner}`, { plan: "private" });
});
afterAll(async () => {
  await test[Symbol.asyncDispose]();
  await receiver.close();
});

const as = (owner: string, path: string, init: RequestInit = {}): Promise<Response> =>
  fetch(path.startsWith("http") ? path : `${test.platform.url}${path}`, {
    ...init,
    headers: { authorization: `Key ${keys[owner]}`, "content-type": "application/json", ...init.headers },
  });

interface Output {
  file: { url: string };
  input_file?: { sha256: string };
  echo?: unknown;
}
async function run(owner: string, input: object, headers: Record<string, string> = {}): Promise<Output> {
  const answer = await as(owner, `/run/${STUB}`, { method: "POST", body: JSON.stringify(input), headers });
  const body = await answer.text();
  if (answer.status !== 200) throw new Error(`${answer.status} ${body}`);
  return JSON.parse(body) as Output;
}
const bytesAt = async (url: string): Promise<Buffer> => Buffer.from(await (await fetch(url)).arrayBuffer());
const digestOf = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
/** An address without its signature. */
const bare = (url: string): string => url.replace(/\?.*$/, "");
const fileIdOf = (url: string): string => new URL(url).pathname.split("/")[2] ?? "";

describe("the origin of the files", () => {
  it("is in the addresses of outputs, uploads and CDN tokens", async () => {
    const { file } = await run("ann", { artifact_bytes: 10 });
    const initiated = await as("ann", "/rest/storage/upload/initiate", { method: "POST", body: "{}" });
    const { upload_url, file_url } = (await initiated.json()) as Record<string, string>;
    const token = await as("ann", "/rest/storage/auth/token", { method: "POST", body: "{}" });
    const { base_url } = (await token.json()) as { base_url: string };
    const uploaded = await as("ann", `${base_url}/files/upload`, { method: "POST", body: "x" });
    const { access_url } = (await uploaded.json()) as { access_url: string };
    for (const url of [file.url, upload_url, file_url, access_url])
      expect(url).toMatch(new RegExp(`^${filesUrl}/files/`));
    expect(base_url).toBe(filesUrl);
    expect((await fetch(file.url)).status).toBe(200);
    expect(await (await fetch(access_url)).text()).toBe("x");
  });

  it.each([
    ["POST", `/run/${STUB}`],
    ["POST", `/queue/${STUB}`],
    ["POST", `/${STUB}`],
    ["POST", "/rest/storage/upload/initiate"],
    ["POST", "/api/fal/proxy"],
    ["OPTIONS", `/queue/${STUB}`],
    ["GET", "/rest/workflows"],
    ["GET", "/.well-known/jwks.json"],
    ["GET", "/health/live"],
  ])("refuses %s %s, whatever key comes with it", async (method, path) => {
    const answer = await as("ann", filesUrl + path, { method, ...(method === "POST" && { body: "{}" }) });
    expect(answer.status).toBe(421);
  });

  it("refuses sockets", async () => {
    const refusal = (base: string) =>
      fetch(`${base}/${STUB}/realtime`, { headers: { authorization: `Key ${keys.ann}` } });
    expect((await refusal(filesUrl)).status).toBe(421);
    const { hostname, port } = new URL(filesUrl);
    const { request } = await import("node:http");
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const headers = {
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": Buffer.alloc(16).toString("base64"),
        authorization: `Key ${keys.ann}`,
      };
      request({ hostname, port, path: `/run/${STUB}/realtime`, headers })
        .on("response", (response) => resolve(response.resume().statusCode))
        .on("upgrade", (_, socket) => {
          socket.destroy();
          resolve(101);
        })
        .on("error", reject)
        .end();
    });
    expect(status).toBe(421);
  });

  it("is where a browser is sent that opens a file on the origin of the API", async () => {
    const { file } = await run("ann", { artifact_bytes: 10 });
    const old = file.url.replace(filesUrl, test.platform.url);
    const answer = await fetch(`${old}?a=1`, { redirect: "manual" });
    expect([answer.status, answer.headers.get("location")]).toEqual([307, `${file.url}?a=1`]);
    expect(answer.headers.get("access-control-allow-origin")).toBe("*");
    expect((await bytesAt(old)).length).toBe(10);
    // A key is not passed on by a redirect, so a call with one is answered.
    expect((await as("ann", old, { redirect: "manual" })).status).toBe(200);
  });
});

describe("an owner whose plan keeps files private", () => {
  it("gets signed addresses of what a run produces, which nobody else can do without", async () => {
    const { file } = await run("pia", { artifact_bytes: 100, seed: 1 });
    expect(file.url).toMatch(/\?identity=\d+\./);
    expect((await bytesAt(file.url)).length).toBe(100);
    expect((await fetch(file.url)).headers.get("cache-control")).toBe("private, no-cache");
    expect((await fetch(bare(file.url))).status).toBe(404);
    expect((await fetch(`${bare(file.url)}?identity=`)).status).toBe(404);
    expect((await as("quinn", bare(file.url))).status).toBe(404);
    expect((await as("pia", bare(file.url))).status).toBe(200);
    const secret = await test.secret("uploads");
    const past = createSignatures({ secret, clock: { nowMs: () => Date.now() } });
    const expired = past.identityQuery(fileIdOf(file.url), "pia", Date.now() - 1_000);
    expect((await fetch(bare(file.url) + expired)).status).toBe(404);
  });

  it("gets fresh signatures with each reading, of a record that stays as it was", async () => {
    const headers = { "idempotency-key": "one-request" };
    const submitted = await as("pia", `/queue/${STUB}`, {
      method: "POST",
      headers,
      body: JSON.stringify({ artifact_bytes: 50, seed: 2 }),
    });
    const { request_id } = (await submitted.json()) as { request_id: string };
    const record = await test.record(request_id);
    const recorded = JSON.stringify(record?.outcome);
    expect(recorded).toMatch(/\?identity="/);
    const read = async () =>
      (await (await as("pia", `/queue/${STUB}/requests/${request_id}`)).json()) as Output;
    for (const { file } of [await read(), await read()]) expect((await bytesAt(file.url)).length).toBe(50);
    expect(JSON.stringify((await test.record(request_id))?.outcome)).toBe(recorded);

    const again = { artifact_bytes: 50, seed: 3 };
    const first = await run("pia", again, { "idempotency-key": "one-run" });
    const replay = await run("pia", again, { "idempotency-key": "one-run" });
    expect(bare(replay.file.url)).toBe(bare(first.file.url));
    expect((await bytesAt(replay.file.url)).length).toBe(50);
  });

  it("gets them in streams, from nodes and pipelines too, whose inputs are read by id", async () => {
    const node = (input: object, depends: string[]) => ({ type: "run", app: STUB, depends, input });
    const nodes = {
      a: node({ artifact_bytes: 70, seed: 4 }, ["input"]),
      b: node({ file_url: "$a.file.url" }, ["a"]),
      out: { type: "display", depends: ["b"], fields: { file: "$a.file", read: "$b.input_file" } },
    };
    const answer = await as("pia", "/run/workflows/execute/stream", {
      method: "POST",
      body: JSON.stringify({ input: {}, workflow: nodes }),
    });
    const text = await answer.text();
    const urls = [...text.matchAll(/"url":"([^"]+)"/g)].map(([, url]) => url as string);
    expect(urls.length).toBeGreaterThan(1);
    for (const url of urls) {
      expect(url).toMatch(/\?identity=\d+\./);
      expect((await bytesAt(url)).length).toBe(70);
    }
    expect(text).toContain(digestOf(await bytesAt(urls[0] as string)));
  });

  it("gets them by webhook, in outputs of every size, over which the signature is made", async () => {
    const hook = receiver.hook();
    for (const payload of ["small", "x".repeat(100_000)])
      await as("pia", `/queue/${STUB}?fal_webhook=${encodeURIComponent(hook.url)}`, {
        method: "POST",
        body: JSON.stringify({ artifact_bytes: 60, seed: 5, payload }),
      });
    for (const { body } of (await hook.arrived(2)) as Delivery[]) {
      const { url } = body.payload.file as { url: string };
      expect(url).toMatch(/\?identity=\d+\./);
      expect((await bytesAt(url)).length).toBe(60);
    }
  });

  it("sees them in the list of requests", async () => {
    const { file } = await run("pia", { artifact_bytes: 65, seed: 6 });
    const find = async () => {
      const query = `endpoint_id=${STUB}&expand=payloads&limit=50`;
      const answer = await as("pia", `${test.platform.adminUrl}/v1/models/requests/by-endpoint?${query}`);
      const { items } = (await answer.json()) as { items: { json_output?: Output }[] };
      return items.flatMap(({ json_output }) => json_output?.file?.url ?? []);
    };
    await expect.poll(async () => (await find()).map(bare)).toContain(bare(file.url));
    const url = (await find()).find((each) => bare(each) === bare(file.url)) as string;
    expect((await bytesAt(url)).length).toBe(65);
  });

  it("may use them as inputs after they have expired, and no other owner may", async () => {
    const { file } = await run("pia", { artifact_bytes: 80, seed: 7 });
    const secret = await test.secret("uploads");
    const signatures = createSignatures({ secret, clock: { nowMs: () => Date.now() } });
    const expired = bare(file.url) + signatures.identityQuery(fileIdOf(file.url), "pia", Date.now() - 1_000);
    const digest = digestOf(await bytesAt(file.url));
    for (const url of [file.url, expired, bare(file.url)])
      expect((await run("pia", { file_url: url })).input_file?.sha256).toBe(digest);
    for (const url of [expired, bare(file.url)])
      await expect(run("quinn", { file_url: url })).rejects.toThrow("422");
    // A signature that has not expired is a grant to whoever has it.
    expect((await run("quinn", { file_url: file.url })).input_file?.sha256).toBe(digest);
  });

  it("repeats a call with the same idempotency key, although the file was signed anew", async () => {
    const { file } = await run("pia", { artifact_bytes: 80, seed: 8 });
    const secret = await test.secret("uploads");
    const signatures = createSignatures({ secret, clock: { nowMs: () => Date.now() } });
    const headers = { "idempotency-key": "signed-anew" };
    const later =
      bare(file.url) + signatures.identityQuery(fileIdOf(file.url), "pia", Date.now() + 9_000_000);
    const first = await run("pia", { file_url: file.url, prompt: file.url }, headers);
    expect(await run("pia", { file_url: later, prompt: later }, headers)).toMatchObject({
      input_file: first.input_file as object,
    });
  });

  it("has private uploads, with signed addresses", async () => {
    const initiated = await as("pia", "/rest/storage/upload/initiate", { method: "POST", body: "{}" });
    const { upload_url, file_url } = (await initiated.json()) as Record<"upload_url" | "file_url", string>;
    expect((await fetch(upload_url, { method: "PUT", body: "mine" })).status).toBe(200);
    const uploaded = await as("pia", `${filesUrl}/files/upload`, { method: "POST", body: "mine" });
    const { access_url } = (await uploaded.json()) as { access_url: string };
    for (const url of [file_url, access_url]) {
      expect(await (await fetch(url)).text()).toBe("mine");
      expect((await fetch(bare(url))).status).toBe(404);
    }
    const parts = await as("pia", `${filesUrl}/files/upload/multipart`, { method: "POST" });
    // Python's client appends to this address.
    expect(((await parts.json()) as { access_url: string }).access_url).not.toContain("?");
  });

  it("may say otherwise, for one call and by the settings of its files", async () => {
    const preference = { "x-fal-object-lifecycle-preference": '{"initial_acl":{"default":"allow"}}' };
    const shown = await run("pia", { artifact_bytes: 90, seed: 9 }, preference);
    expect(shown.file.url).not.toContain("?");
    expect((await fetch(shown.file.url)).status).toBe(200);
    const readers = { initial_acl: { default: "forbid", rules: [{ user: "quinn", decision: "allow" }] } };
    const some = await run(
      "pia",
      { artifact_bytes: 90, seed: 9 },
      { "x-fal-object-lifecycle-preference": JSON.stringify(readers) },
    );
    expect((await fetch(some.file.url)).status).toBe(200);
    expect((await fetch(bare(some.file.url))).status).toBe(403);
    expect((await as("quinn", bare(some.file.url))).status).toBe(200);
  });
});

describe("what one owner has", () => {
  it("cannot be found out by another one who has the same bytes", async () => {
    const produced = { artifact_bytes: 120, seed: 10 };
    const [ann, bob] = [await run("ann", produced), await run("bob", produced)];
    const bytes = await bytesAt(ann.file.url);
    expect(await bytesAt(bob.file.url)).toEqual(bytes);
    expect(bob.file.url).not.toBe(ann.file.url);
    const digest = digestOf(bytes);
    const guessed = `${filesUrl}/files/${digest.slice(0, 2)}/${digest}.bin`;
    for (const method of ["GET", "HEAD"]) {
      expect((await fetch(guessed, { method })).status).toBe(404);
      expect((await fetch(guessed, { method, headers: { "if-none-match": `"${digest}"` } })).status).toBe(
        404,
      );
      expect((await fetch(guessed, { method, headers: { "if-match": '"x"' } })).status).toBe(404);
    }
    const signed = { method: "POST", body: JSON.stringify({ duration: 60, scope: ["read"] }) };
    expect((await as("bob", `${guessed}/sign`, signed)).status).toBe(404);
    const acl = `${test.platform.adminUrl}/v1/storage/files/acl?url=${encodeURIComponent(guessed)}`;
    expect((await as("bob", acl)).status).toBe(404);
    await expect(run("bob", { file_url: guessed })).rejects.toThrow("422");
    // The same owner has the same file at the same address: a retry makes no second one.
    expect((await run("ann", produced)).file.url).toBe(ann.file.url);
  });

  it("is a plain 404 to others while it is private, whatever they ask of it", async () => {
    const { file } = await run("pia", { artifact_bytes: 130, seed: 11 });
    const hidden = bare(file.url);
    const unknown = hidden.replace(fileIdOf(hidden), "0".repeat(32));
    const etag = (await fetch(file.url)).headers.get("etag") ?? "";
    const answers = async (url: string) => {
      const requests: RequestInit[] = [
        {},
        { method: "HEAD" },
        { headers: { "if-none-match": etag } },
        { headers: { "if-match": '"other"' } },
        { headers: { range: "bytes=500-" } },
        { method: "PUT", body: "x" },
        { method: "DELETE" },
      ];
      return Promise.all(
        requests.map(async (init) => {
          const answer = await as("quinn", url, init);
          const headers = Object.fromEntries(answer.headers);
          for (const varying of ["date", "x-fal-request-id", "keep-alive"]) delete headers[varying];
          return { status: answer.status, headers, body: await answer.text() };
        }),
      );
    };
    expect(await answers(hidden)).toEqual(await answers(unknown));
  });

  it("does not shorten the work of another one: equal nodes and equal uploads are done again", async () => {
    const nodes = {
      a: { type: "run", app: STUB, depends: ["input"], input: { artifact_bytes: 75, seed: 12 } },
      out: { type: "display", depends: ["a"], fields: { file: "$a.file" } },
    };
    const execute = async (owner: string) => {
      const answer = await as(owner, "/run/workflows/execute", {
        method: "POST",
        body: JSON.stringify({ input: {}, workflow: nodes }),
      });
      return (await answer.json()) as Output;
    };
    const [first, second] = [await execute("pia"), await execute("quinn")];
    expect(bare(second.file.url)).not.toBe(bare(first.file.url));
    const upload = async (owner: string) => {
      const answer = await as(owner, `${filesUrl}/files/upload`, { method: "POST", body: "the same bytes" });
      return { status: answer.status, ...((await answer.json()) as { access_url: string }) };
    };
    const uploads = [await upload("pia"), await upload("quinn"), await upload("quinn")];
    expect(uploads.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(new Set(uploads.map(({ access_url }) => fileIdOf(access_url))).size).toBe(3);
  });
});
