import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "tar";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { sweepPushes } from "../../src/api/admin/routes/models/publish-archive.ts";
import { countedPostgres } from "./counted-postgres.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";
import { type PushedModel, packageArchive } from "./pushed-model.ts";

let test: TestPlatform;
let second: Awaited<ReturnType<TestPlatform["gatewayHere"]>>;
let root: string;
beforeAll(async () => {
  test = await startTestPlatform();
  second = await test.gatewayHere();
  root = await mkdtemp(join(tmpdir(), "tempera-push-"));
});
afterAll(async () => {
  await second[Symbol.asyncDispose]();
  await test[Symbol.asyncDispose]();
  await rm(root, { recursive: true, force: true });
});

const admin = (path: string, init: RequestInit = {}): Promise<Response> =>
  fetch(`${test.platform.adminUrl}${path}`, {
    ...init,
    headers: { authorization: `Key ${test.platform.key}`, ...init.headers },
  });

const pushBytes = (body: Buffer, query = ""): Promise<Response> =>
  admin(`/v1/registry/versions${query}`, {
    method: "POST",
    body: new Uint8Array(body),
    headers: { "content-type": "application/gzip" },
  });
const push = async (model: PushedModel, query = ""): Promise<Response> =>
  pushBytes(await packageArchive(root, model), query);
const setState = (
  endpoint: string,
  version: string,
  state: string,
  headers: Record<string, string> = {},
): Promise<Response> =>
  admin(`/v1/registry/versions/${version}/${endpoint}`, {
    method: "PUT",
    body: JSON.stringify({ state }),
    headers,
  });

const errorOf = async (response: Response): Promise<{ status: number; code: string; message: string }> => {
  const { error } = (await response.json()) as { error: { code: string; message: string } };
  return { status: response.status, code: error.code, message: error.message };
};

const submit = (
  gateway: { call: TestPlatform["call"] },
  endpoint: string,
  input: object = {},
): Promise<Response> => gateway.call(`/queue/${endpoint}`, { method: "POST", body: JSON.stringify(input) });
const run = (
  gateway: { call: TestPlatform["call"] },
  endpoint: string,
  input: object = {},
): Promise<Response> => gateway.call(`/${endpoint}`, { method: "POST", body: JSON.stringify(input) });
const statusOf = async (gateway: { call: TestPlatform["call"] }, endpoint: string): Promise<number> =>
  (await submit(gateway, endpoint)).status;

const versionOf = async (requestId: string): Promise<string | undefined> =>
  (await test.record(requestId))?.version;
const objectsLeft = async (): Promise<{ uploads: number; versions: number; blobs: number }> => {
  const [row] = await test.sql<{ uploads: number; versions: number; blobs: number }[]>`
    SELECT (SELECT count(*)::int FROM model_uploads) AS uploads,
           (SELECT count(*)::int FROM model_versions) AS versions,
           (SELECT count(*)::int FROM model_blobs) AS blobs`;
  return row as { uploads: number; versions: number; blobs: number };
};

describe("a model that is pushed", () => {
  it("is served by two gateways within 5 s and run by the GPU worker, until it is disabled", async () => {
    const endpoint = "acme/live";
    expect(await statusOf(second, endpoint)).toBe(404);
    const pushed = await push({ endpoint });
    expect(await pushed.json()).toMatchObject({
      endpoint_id: endpoint,
      version: "1.0.0",
      state: "enabled",
      already_there: false,
    });
    expect(pushed.status).toBe(201);
    for (const gateway of [test, second])
      await expect.poll(() => statusOf(gateway, endpoint), { interval: 50 }).toBe(200);

    const answer = await run(second, endpoint, { prompt: "hello" });
    expect({ status: answer.status, body: await answer.json() }).toMatchObject({
      status: 200,
      body: { echo: "hello" },
    });

    expect((await setState(endpoint, "1.0.0", "disabled")).status).toBe(200);
    for (const gateway of [test, second])
      await expect.poll(() => statusOf(gateway, endpoint), { interval: 50 }).toBe(404);
  });

  it("never changes: other content is refused with its digest; the same content is accepted", async () => {
    const endpoint = "acme/fixed";
    const { digest } = (await (await push({ endpoint })).json()) as { digest: string };
    const again = await push({ endpoint });
    expect(await again.json()).toMatchObject({ digest, already_there: true });
    const other = await errorOf(await push({ endpoint, files: { "weights.bin": "other" } }));
    expect(other).toMatchObject({
      status: 409,
      code: "version_taken",
      message: expect.stringContaining(digest),
    });
    await expect(
      test.sql`UPDATE model_versions SET input_schema = '{}' WHERE endpoint = ${endpoint}`,
    ).rejects.toThrow(/does not change/);
    expect((await objectsLeft()).uploads).toBe(0);
  });

  it("is refused when its schema breaks callers, with each break, unless that is requested", async () => {
    const endpoint = "acme/breaking";
    const text = (maxLength: number) => ({ type: "string", maxLength });
    await push({ endpoint, input: { type: "object", properties: { prompt: text(100), style: text(10) } } });
    const narrower = {
      endpoint,
      version: "1.1.0",
      input: {
        type: "object",
        required: ["seed"],
        properties: { prompt: text(50), seed: { type: "integer" } },
      },
    };
    const refused = await errorOf(await push(narrower));
    expect(refused).toMatchObject({ status: 409, code: "breaking_schema_change" });
    for (const part of [
      "input.prompt: maxLength 100 became 50",
      "input.style: was removed",
      "input.seed: is required now",
      "since 1.0.0",
      "--breaking",
    ])
      expect(refused.message).toContain(part);
    const requested = await push(narrower, "?breaking=true");
    expect({ status: requested.status, body: await requested.json() }).toMatchObject({
      status: 201,
      body: { breaks: expect.arrayContaining([expect.stringContaining("style")]) },
    });
  });

  it("that is interrupted leaves nothing: no version, no bytes, no record of bytes", async () => {
    const archive = await packageArchive(root, {
      endpoint: "acme/cut",
      files: { "a.bin": Buffer.alloc(400_000, "a"), "b.bin": randomBytes(3_000_000) },
    });
    const before = await objectsLeft();
    const { hostname, port } = new URL(test.platform.adminUrl);
    const socket = connect(Number(port), hostname);
    socket.write(
      `POST /v1/registry/versions HTTP/1.1\r\nhost: x\r\nauthorization: Key ${test.platform.key}\r\n` +
        `content-length: ${archive.length}\r\n\r\n`,
    );
    await new Promise((sent) => socket.write(archive.subarray(0, archive.length / 2), sent));
    await expect.poll(async () => (await objectsLeft()).uploads).toBeGreaterThan(before.uploads);
    const keys = (await test.sql<{ object_key: string }[]>`SELECT object_key FROM model_uploads`).map(
      ({ object_key }) => object_key,
    );
    socket.destroy();
    await expect.poll(objectsLeft).toEqual(before);
    for (const key of keys) expect(await second.parts.objects.head(key)).toBeUndefined();
    expect(await statusOf(test, "acme/cut")).toBe(404);

    const { status, code } = await errorOf(await pushBytes(archive.subarray(0, archive.length / 2)));
    expect({ status, code }).toEqual({ status: 422, code: "package_invalid" });
    expect(await objectsLeft()).toEqual(before);
  });

  it("that is refused at its first entry gets the answer while most of it is still being sent", async () => {
    const folder = join(root, "refused");
    await mkdir(folder);
    await symlink("/etc/passwd", join(folder, "a-link"));
    await writeFile(join(folder, "large.bin"), randomBytes(60_000_000));
    const file = `${folder}.tar.gz`;
    await create({ file, cwd: folder, gzip: { level: 1 }, portable: true }, ["a-link", "large.bin"]);
    await expect(test.client.sendFile("/v1/registry/versions", file, "application/gzip")).rejects.toThrow(
      /"a-link" is a SymbolicLink/,
    );
    expect((await objectsLeft()).uploads).toBe(0);
  });

  it("shares the bytes of a file that another version has", async () => {
    const { blobs } = await objectsLeft();
    const files = { "shared.bin": "the same in both" };
    await push({ endpoint: "acme/shares", files });
    await push({ endpoint: "acme/shares", version: "1.0.1", files: { ...files, "own.bin": "its own" } });
    expect(await objectsLeft()).toMatchObject({ blobs: blobs + 2, uploads: 0 });
  });

  it("is swept: leftovers of a killed process, and unshared weights of versions long removed", async () => {
    const { modelVersions, objects } = second.parts;
    const killed = "weights/killed/0";
    await modelVersions.beginUpload("00000000-0000-7000-8000-000000000001", killed);
    await objects.put(killed, Buffer.from("half"), { bytes: 4, contentType: "application/octet-stream" });
    const endpoint = "acme/swept";
    const files = { "shared.bin": "shared by two", "own.bin": "of one only" };
    await push({ endpoint, files });
    await push({ endpoint, version: "1.1.0", files: { "shared.bin": "shared by two" } });
    const keysOf = async (version: string): Promise<string[]> =>
      ((await modelVersions.content(endpoint, version))?.files ?? []).map(({ objectKey }) => objectKey);
    const [own, shared] = (await keysOf("1.0.0")) as [string, string];
    await setState(endpoint, "1.0.0", "removed");
    const dayMs = 24 * 3600 * 1000;
    expect(await sweepPushes({ modelVersions, objects, clock: { nowMs: () => Date.now() + dayMs } })).toBe(1);
    expect(await objects.head(killed)).toBeUndefined();
    expect(await objects.head(own)).toBeDefined();
    await sweepPushes({ modelVersions, objects, clock: { nowMs: () => Date.now() + 8 * dayMs } });
    expect(await objects.head(own)).toBeUndefined();
    expect(await objects.head(shared)).toBeDefined();
    expect(await keysOf("1.1.0")).toEqual([shared]);
    // A push restores it with its weights.
    expect(await (await push({ endpoint, files })).json()).toMatchObject({
      already_there: true,
      state: "enabled",
    });
    for (const key of await keysOf("1.0.0")) expect(await objects.head(key)).toBeDefined();
  });

  it("lets running requests finish on their version when a newer one is pushed", async () => {
    const endpoint = "acme/keeps";
    await push({ endpoint });
    await expect.poll(() => statusOf(test, endpoint)).toBe(200);
    const { request_id } = (await (await submit(test, endpoint, { delay_ms: 2_000 })).json()) as {
      request_id: string;
    };
    await push({ endpoint, version: "1.1.0" });
    expect((await setState(endpoint, "1.0.0", "removed")).status).toBe(200);
    const later = (await (await submit(test, endpoint)).json()) as { request_id: string };
    expect(await versionOf(request_id)).toBe("1.0.0");
    expect((await test.record(request_id))?.outcome).toMatchObject({ ok: true });
    expect(await versionOf(later.request_id)).toBe("1.1.0");
    // A version number is never free again, and only a push restores a removed version.
    expect(await errorOf(await setState(endpoint, "1.0.0", "enabled"))).toMatchObject({
      status: 404,
      code: "version_unknown",
    });
  });
});

describe("two administrators at once", () => {
  it("push one version with two contents: the first one is published", async () => {
    const endpoint = "acme/race";
    const archives = await Promise.all(
      ["a", "b"].map((content) =>
        packageArchive(join(root, content), { endpoint, files: { "w.bin": content } }),
      ),
    );
    const answers = await Promise.all(archives.map((archive) => pushBytes(archive)));
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 409]);
    expect((await objectsLeft()).uploads).toBe(0);
  });

  it("change one version from the same state: the second is refused", async () => {
    const endpoint = "acme/edited";
    const pushed = await push({ endpoint });
    const match = { "if-match": pushed.headers.get("etag") ?? "" };
    const answers = await Promise.all([
      setState(endpoint, "1.0.0", "disabled", match),
      setState(endpoint, "1.0.0", "removed", match),
    ]);
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 412]);
    const loser = answers.find(({ status }) => status === 412) as Response;
    expect(await errorOf(loser)).toMatchObject({
      code: "precondition_failed",
      message: expect.stringContaining("somebody else"),
    });
    const [made] = await test.sql<{ before: { state: string }; after: { state: string } }[]>`
      SELECT before, after FROM audit
      WHERE action = 'models.state' AND state = 'made' AND subject = ${`${endpoint} 1.0.0`}`;
    expect(made).toMatchObject({
      before: { state: "enabled" },
      after: { state: expect.stringMatching(/disabled|removed/) },
    });
  });
});

describe("a warm gateway", () => {
  it("reads nothing from the database for a call: no keys, registry, rollouts or flags", async () => {
    await using counted = await countedPostgres(test.databaseUrl);
    await using warm = await test.gatewayHere({ databaseUrl: counted.url });
    const call = async (): Promise<void> =>
      void expect((await run(warm, "tempera/stub", { prompt: "x" })).status).toBe(200);
    await call();
    counted.statements.length = 0;
    const calls = 50;
    for (let i = 0; i < calls; i++) await call();
    // A key and what its owner holds are read again after seconds, the registry now and then, and the driver
    // reads types on each new connection: none of it is caused by a call.
    const ofTimers = /FROM keys|count\(\*\)|FROM stored_totals|pg_catalog\.pg_type/;
    const caused = (): string[] => counted.statements.filter((text) => !ofTimers.test(text));
    expect(caused()).toEqual([]);
    // Proof that the counter works: a submit writes its row, and nothing else.
    counted.statements.length = 0;
    expect((await submit(warm, "tempera/stub")).status).toBe(200);
    await expect.poll(caused).toEqual([expect.stringMatching(/^\s*INSERT INTO requests/)]);
  });
});

describe("rollouts", () => {
  interface RolloutBody {
    rollout_id: string;
    state: string;
    reason: string | null;
    from_version: string;
  }
  const begin = async (endpoint: string, share: number, rules?: object): Promise<RolloutBody> => {
    const body = JSON.stringify({
      endpoint_id: endpoint,
      to_version: "1.1.0",
      share,
      ...(rules && { rules }),
    });
    const response = await admin("/v1/rollouts", { method: "POST", body });
    expect(response.status).toBe(201);
    return (await response.json()) as RolloutBody;
  };
  const rolloutOf = async (id: string): Promise<RolloutBody | undefined> =>
    ((await (await admin("/v1/rollouts")).json()) as { rollouts: RolloutBody[] }).rollouts.find(
      ({ rollout_id }) => rollout_id === id,
    );
  /** A newer version that always fails; its schema has the same fields as that of the older one. */
  const failing = {
    properties: { prompt: { type: "string" }, fail: { type: "string", default: "error" } },
    type: "object",
  };
  const working = {
    properties: { prompt: { type: "string" }, fail: { type: "string", default: "none" } },
    type: "object",
  };
  const versions = async (endpoint: string, count: number): Promise<string[]> => {
    const answers = await Promise.all(Array.from({ length: count }, () => submit(second, endpoint)));
    const ids = await Promise.all(
      answers.map(async (answer) => ((await answer.json()) as { request_id: string }).request_id),
    );
    return (await Promise.all(ids.map(versionOf))) as string[];
  };

  it("give a share to the newer version, and roll it back by rules when it fails, audited", async () => {
    const endpoint = "acme/failing";
    await push({ endpoint, input: working });
    await push({ endpoint, version: "1.1.0", input: failing }, "?state=disabled");
    const rollout = await begin(endpoint, 50, { window_seconds: 60, requests_min: 5, error_margin: 10 });
    expect(rollout.from_version).toBe("1.0.0");
    await expect.poll(() => second.parts.registry.rollout(endpoint)?.share).toBe(50);
    // Neither version may change during a rollout.
    expect(await errorOf(await push({ endpoint, version: "1.2.0", input: working }))).toMatchObject({
      code: "rollout_running",
    });
    expect(await errorOf(await setState(endpoint, "1.0.0", "disabled"))).toMatchObject({
      code: "rollout_running",
    });

    const seen = await versions(endpoint, 40);
    const newer = seen.filter((version) => version === "1.1.0").length;
    expect(newer).toBeGreaterThan(5);
    expect(newer).toBeLessThan(35);
    await expect
      .poll(async () => (await rolloutOf(rollout.rollout_id))?.state, { interval: 200 })
      .toBe("rolled_back");
    expect((await rolloutOf(rollout.rollout_id))?.reason).toMatch(
      /^1\.1\.0 fails 100\.0 % of \d+ requests in 60 s, 1\.0\.0 fails 0\.0 %/,
    );
    const [record] = await test.sql<{ key_id: string; state: string }[]>`
      SELECT key_id, state FROM audit
      WHERE action = 'rollouts.rollback' AND subject = ${`${endpoint} 1.1.0`}`;
    expect(record).toEqual({ key_id: "rollout-rules", state: "made" });
    await expect.poll(() => second.parts.registry.rollout(endpoint)).toBeUndefined();
    expect(new Set(await versions(endpoint, 10))).toEqual(new Set(["1.0.0"]));
  });

  it("are controlled by hand: one per endpoint, the share raised, promoted once", async () => {
    const endpoint = "acme/rolls";
    await push({ endpoint });
    await push({ endpoint, version: "1.1.0" }, "?state=disabled");
    const { rollout_id: id } = await begin(endpoint, 0);
    const again = JSON.stringify({ endpoint_id: endpoint, to_version: "1.1.0", share: 5 });
    expect(await errorOf(await admin("/v1/rollouts", { method: "POST", body: again }))).toMatchObject({
      status: 409,
      code: "rollout_running",
    });
    const change = (path: string, body: object = {}, headers = {}): Promise<Response> =>
      admin(`/v1/rollouts/${id}/${path}`, {
        method: path === "share" ? "PUT" : "POST",
        body: JSON.stringify(body),
        headers,
      });
    const raised = await change("share", { share: 100 });
    expect(await raised.json()).toMatchObject({ share: 100, state: "running" });
    expect((await change("promote", {}, { "if-match": '"1"' })).status).toBe(412);
    const ends = await Promise.all([change("promote"), change("rollback")]);
    expect(ends.map(({ status }) => status).sort()).toEqual([200, 404]);
    expect((await change("promote")).status).toBe(404);
  });
});

describe("flags", () => {
  const setFlag = (kind: string, name: string, body: object): Promise<Response> =>
    admin(`/v1/flags/${kind}/${name}`, { method: "PUT", body: JSON.stringify(body) });
  const clear = (kind: string, name: string): Promise<Response> =>
    admin(`/v1/flags/${kind}/${name}`, { method: "DELETE" });
  const detailOf = async (response: Response): Promise<string> =>
    `${response.status} ${((await response.json()) as { detail: string }).detail}`;

  it("disable a model at two gateways within 5 s; nothing is queued; an owner's flag wins", async () => {
    expect((await setFlag("model", "tempera/stub", { share: 0 })).status).toBe(200);
    for (const gateway of [test, second]) {
      await expect.poll(() => statusOf(gateway, "tempera/stub"), { interval: 50 }).toBe(403);
      const refusals = [
        await submit(gateway, "tempera/stub"),
        await run(gateway, "tempera/stub"),
        await run(gateway, "tempera/stub/stream"),
      ];
      for (const refusal of refusals) {
        expect(await detailOf(refusal)).toMatch(
          /^403 The model tempera\/stub is switched off on this server/,
        );
        const id = refusal.headers.get("x-fal-request-id") ?? "";
        await expect(test.temporal.workflow.getHandle(id).describe()).rejects.toThrow(/not found/i);
      }
    }
    expect((await setFlag("model", "tempera/stub", { share: 100, owner: "admin" })).status).toBe(200);
    await expect.poll(() => statusOf(second, "tempera/stub"), { interval: 50 }).toBe(200);
    expect((await clear("model", "tempera/stub?owner=admin")).status).toBe(204);
    expect((await clear("model", "tempera/stub")).status).toBe(204);
    expect(await errorOf(await clear("model", "tempera/stub"))).toMatchObject({
      status: 404,
      code: "flag_unknown",
    });
    const actions = await test.sql<
      { action: string }[]
    >`SELECT action FROM audit WHERE subject LIKE 'model tempera/stub%' AND state = 'made' ORDER BY at`;
    expect(actions.map(({ action }) => action)).toEqual([
      "flags.set",
      "flags.set",
      "flags.clear",
      "flags.clear",
    ]);
  });

  it("disable behaviours: webhooks refused, streams without previews, no realtime", async () => {
    for (const name of ["webhooks", "previews", "realtime"])
      expect((await setFlag("behaviour", name, { share: 0 })).status).toBe(200);
    await second.parts.registry.refresh();
    const hooked = await second.call("/queue/tempera/stub?fal_webhook=https%3A%2F%2Fexample.com%2Fx", {
      method: "POST",
      body: "{}",
    });
    expect(await detailOf(hooked)).toMatch(
      /^403 webhooks is switched off on this server.*without fal_webhook/,
    );
    const streamed = async (): Promise<string> =>
      (await run(second, "tempera/stub/stream", { steps: 3, delay_ms: 60, previews: true })).text();
    const without = await streamed();
    expect(without).toContain('"progress"');
    expect(without).not.toContain('"preview"');
    const socket = new WebSocket(`${second.url.replace("http", "ws")}/tempera/stub/realtime`, {
      headers: { authorization: `Key ${test.platform.key}` },
    });
    const [message] = (await once(socket, "message")) as [Buffer];
    expect(String(message)).toContain("realtime is switched off on this server");
    for (const name of ["webhooks", "previews", "realtime"])
      expect((await clear("behaviour", name)).status).toBe(204);
    await second.parts.registry.refresh();
    expect(await streamed()).toContain('"preview"');
  });

  it("are refused for impossible names", async () => {
    expect(await errorOf(await setFlag("behaviour", "webhoks", { share: 0 }))).toMatchObject({
      status: 422,
      message: expect.stringContaining("there are webhooks, realtime, node_cache, previews"),
    });
    expect((await setFlag("model", "nonsense", { share: 0 })).status).toBe(422);
    expect((await setFlag("model", "a/b", { share: 101 })).status).toBe(422);
    expect((await setFlag("planet", "mars", { share: 0 })).status).toBe(422);
  });
});

describe("the GPU worker", () => {
  it("drops a disabled version once nothing runs on it, and keeps the enabled ones", async () => {
    const served = async (): Promise<string[]> => {
      const { engines } = (await (await admin("/v1/engines")).json()) as {
        engines: { endpoint_id: string; version: string }[];
      };
      return engines.map(({ endpoint_id, version }) => `${endpoint_id} ${version}`);
    };
    await expect.poll(served, { interval: 250 }).not.toContain("acme/live 1.0.0");
    const now = await served();
    expect(now).not.toContain("acme/keeps 1.0.0");
    expect(now).toEqual(expect.arrayContaining(["acme/keeps 1.1.0", "tempera/stub 1.0.0"]));
  });
});

describe("packages of the models folder", () => {
  it("always exist: pushing one is refused, and so is disabling it", async () => {
    expect(await errorOf(await push({ endpoint: "tempera/stub" }))).toMatchObject({
      status: 409,
      code: "version_taken",
    });
    expect(await errorOf(await setState("tempera/stub", "1.0.0", "disabled"))).toMatchObject({
      status: 409,
      message: expect.stringContaining("models folder"),
    });
  });
});
