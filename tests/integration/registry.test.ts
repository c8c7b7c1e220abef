import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestPlatform, type TestPlatform } from "./platform.ts";
import { type PushedModel, packageArchive } from "./pushed-model.ts";

/** Every process knows of a change within this time, the docs promise. */
const SEEN_WITHIN_MS = 5_000;

let test: TestPlatform;
let second: Awaited<ReturnType<TestPlatform["secondGateway"]>>;
let root: string;
beforeAll(async () => {
  test = await startTestPlatform();
  second = await test.secondGateway();
  root = await mkdtemp(join(tmpdir(), "tempera-push-"));
});
afterAll(async () => {
  await second[Symbol.asyncDispose]();
  await test[Symbol.asyncDispose]();
  await rm(root, { recursive: true, force: true });
});

const admin = (path: string, init: RequestInit = {}): Promise<Response> =>
  fetch(`${test.platform.adminUrl}${path}`, { ...init, headers: { authorization: `Key ${test.platform.key}`, ...init.headers } });

const pushBytes = (body: Buffer, query = ""): Promise<Response> =>
  admin(`/v1/registry/versions${query}`, { method: "POST", body: new Uint8Array(body), headers: { "content-type": "application/gzip" } });
const push = async (model: PushedModel, query = ""): Promise<Response> => pushBytes(await packageArchive(root, model), query);
const setState = (endpoint: string, version: string, state: string, headers: Record<string, string> = {}): Promise<Response> =>
  admin(`/v1/registry/versions/${version}/${endpoint}`, { method: "PUT", body: JSON.stringify({ state }), headers });

const errorOf = async (response: Response): Promise<{ status: number; code: string; message: string }> => {
  const { error } = (await response.json()) as { error: { code: string; message: string } };
  return { status: response.status, code: error.code, message: error.message };
};

const submit = (gateway: { call: TestPlatform["call"] }, endpoint: string, input: object = {}): Promise<Response> =>
  gateway.call(`/queue/${endpoint}`, { method: "POST", body: JSON.stringify(input) });
const run = (gateway: { call: TestPlatform["call"] }, endpoint: string, input: object = {}): Promise<Response> =>
  gateway.call(`/${endpoint}`, { method: "POST", body: JSON.stringify(input) });
const statusOf = async (gateway: { call: TestPlatform["call"] }, endpoint: string): Promise<number> =>
  (await submit(gateway, endpoint)).status;

const versionOf = async (requestId: string): Promise<string | undefined> => (await test.record(requestId))?.version;
const objectsLeft = async (): Promise<{ uploads: number; versions: number; blobs: number }> => {
  const [row] = await test.sql<{ uploads: number; versions: number; blobs: number }[]>`
    SELECT (SELECT count(*)::int FROM model_uploads) AS uploads, (SELECT count(*)::int FROM model_versions) AS versions,
           (SELECT count(*)::int FROM model_blobs) AS blobs`;
  return row as { uploads: number; versions: number; blobs: number };
};

describe("a model that is pushed", () => {
  it("is known to two gateways within 5 s, is run by the GPU worker, and is gone everywhere when it is disabled", async () => {
    const endpoint = "acme/live";
    expect(await statusOf(second, endpoint)).toBe(404);
    const pushed = await push({ endpoint });
    expect(await pushed.json()).toMatchObject({ endpoint_id: endpoint, version: "1.0.0", state: "enabled", already_there: false });
    expect(pushed.status).toBe(201);
    for (const gateway of [test, second])
      await expect.poll(() => statusOf(gateway, endpoint), { timeout: SEEN_WITHIN_MS, interval: 50 }).toBe(200);

    const answer = await run(second, endpoint, { prompt: "hello" });
    expect({ status: answer.status, body: await answer.json() }).toMatchObject({ status: 200, body: { echo: "hello" } });

    expect((await setState(endpoint, "1.0.0", "disabled")).status).toBe(200);
    for (const gateway of [test, second])
      await expect.poll(() => statusOf(gateway, endpoint), { timeout: SEEN_WITHIN_MS, interval: 50 }).toBe(404);
  });

  it("stays what it is: other content is refused, with the digest that stands; the same content changes nothing", async () => {
    const endpoint = "acme/fixed";
    const { digest } = (await (await push({ endpoint })).json()) as { digest: string };
    const again = await push({ endpoint });
    expect(await again.json()).toMatchObject({ digest, already_there: true });
    const other = await errorOf(await push({ endpoint, files: { "weights.bin": "other" } }));
    expect(other).toMatchObject({ status: 409, code: "version_taken", message: expect.stringContaining(digest) });
    await expect(test.sql`UPDATE model_versions SET input_schema = '{}' WHERE endpoint = ${endpoint}`).rejects.toThrow(/does not change/);
    expect((await objectsLeft()).uploads).toBe(0);
  });

  it("whose schema breaks callers is refused, each break named, unless that is meant", async () => {
    const endpoint = "acme/breaking";
    const text = (maxLength: number) => ({ type: "string", maxLength });
    await push({ endpoint, input: { type: "object", properties: { prompt: text(100), style: text(10) } } });
    const narrower = {
      endpoint,
      version: "1.1.0",
      input: { type: "object", required: ["seed"], properties: { prompt: text(50), seed: { type: "integer" } } },
    };
    const refused = await errorOf(await push(narrower));
    expect(refused).toMatchObject({ status: 409, code: "schema_breaks" });
    for (const says of [
      "input.prompt: maxLength 100 became 50",
      "input.style: was removed",
      "input.seed: is required now",
      "since 1.0.0",
      "--breaking",
    ])
      expect(refused.message).toContain(says);
    const meant = await push(narrower, "?breaking=true");
    expect({ status: meant.status, body: await meant.json() }).toMatchObject({
      status: 201,
      body: { breaks: expect.arrayContaining([expect.stringContaining("style")]) },
    });
  });

  it("that is cut off half-way leaves nothing: no version, no bytes, no record of bytes", async () => {
    const archive = await packageArchive(root, {
      endpoint: "acme/cut",
      files: { "a.bin": Buffer.alloc(400_000, "a"), "b.bin": randomBytes(3_000_000) },
    });
    const before = await objectsLeft();
    const { hostname, port } = new URL(test.platform.adminUrl);
    const socket = connect(Number(port), hostname);
    socket.write(
      `POST /v1/registry/versions HTTP/1.1\r\nhost: x\r\nauthorization: Key ${test.platform.key}\r\ncontent-length: ${archive.length}\r\n\r\n`,
    );
    await new Promise((sent) => socket.write(archive.subarray(0, archive.length / 2), sent));
    await expect.poll(async () => (await objectsLeft()).uploads, { timeout: 5_000 }).toBeGreaterThan(before.uploads);
    const keys = (await test.sql<{ object_key: string }[]>`SELECT object_key FROM model_uploads`).map(({ object_key }) => object_key);
    socket.destroy();
    await expect.poll(objectsLeft, { timeout: 10_000 }).toEqual(before);
    for (const key of keys) expect(await second.parts.objects.head(key)).toBeUndefined();
    expect(await statusOf(test, "acme/cut")).toBe(404);

    const { status, code } = await errorOf(await pushBytes(archive.subarray(0, archive.length / 2)));
    expect({ status, code }).toEqual({ status: 422, code: "package_invalid" });
    expect(await objectsLeft()).toEqual(before);
  });

  it("shares the bytes of a file that another version has", async () => {
    const { blobs } = await objectsLeft();
    const files = { "shared.bin": "the same in both" };
    await push({ endpoint: "acme/shares", files });
    await push({ endpoint: "acme/shares", version: "1.0.1", files: { ...files, "own.bin": "its own" } });
    expect(await objectsLeft()).toMatchObject({ blobs: blobs + 2, uploads: 0 });
  });

  it("lets requests that run keep their version when a newer one comes", async () => {
    const endpoint = "acme/keeps";
    await push({ endpoint });
    await expect.poll(() => statusOf(test, endpoint), { timeout: SEEN_WITHIN_MS }).toBe(200);
    const { request_id } = (await (await submit(test, endpoint, { delay_ms: 2_000 })).json()) as { request_id: string };
    await push({ endpoint, version: "1.1.0" });
    expect((await setState(endpoint, "1.0.0", "removed")).status).toBe(200);
    const later = (await (await submit(test, endpoint)).json()) as { request_id: string };
    expect(await versionOf(request_id)).toBe("1.0.0");
    expect((await test.record(request_id))?.outcome).toMatchObject({ ok: true });
    expect(await versionOf(later.request_id)).toBe("1.1.0");
    // A number stays taken, and what was removed comes back by a push only.
    expect(await errorOf(await setState(endpoint, "1.0.0", "enabled"))).toMatchObject({ status: 404, code: "version_unknown" });
  });
});

describe("two admins at once", () => {
  it("push one version with two contents: one stands", async () => {
    const endpoint = "acme/race";
    const archives = await Promise.all(
      ["a", "b"].map((content) => packageArchive(join(root, content), { endpoint, files: { "w.bin": content } })),
    );
    const answers = await Promise.all(archives.map((archive) => pushBytes(archive)));
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 409]);
    expect((await objectsLeft()).uploads).toBe(0);
  });

  it("change one version from the same state of it: the second is told", async () => {
    const endpoint = "acme/edited";
    const pushed = await push({ endpoint });
    const match = { "if-match": pushed.headers.get("etag") ?? "" };
    const answers = await Promise.all([setState(endpoint, "1.0.0", "disabled", match), setState(endpoint, "1.0.0", "removed", match)]);
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 412]);
    const loser = answers.find(({ status }) => status === 412) as Response;
    expect(await errorOf(loser)).toMatchObject({ code: "changed_meanwhile", message: expect.stringContaining("somebody else") });
    const [made] = await test.sql<{ before: { state: string }; after: { state: string } }[]>`
      SELECT before, after FROM audit WHERE action = 'models.state' AND state = 'made' AND subject = ${`${endpoint} 1.0.0`}`;
    expect(made).toMatchObject({ before: { state: "enabled" }, after: { state: expect.stringMatching(/disabled|removed/) } });
  });
});

describe("packages of the models folder", () => {
  it("are always there: a push of theirs is refused, and so is disabling them", async () => {
    expect(await errorOf(await push({ endpoint: "tempera/stub" }))).toMatchObject({ status: 409, code: "version_taken" });
    expect(await errorOf(await setState("tempera/stub", "1.0.0", "disabled"))).toMatchObject({
      status: 409,
      message: expect.stringContaining("models folder"),
    });
  });
});
