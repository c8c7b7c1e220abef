/**
 * The admin service on a running platform: concurrent changes, attempts of callers to exceed their rights,
 * and the commands that use the service.
 */
import { execFile } from "node:child_process";
import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const STUB = "tempera/stub";

let test: TestPlatform;
let mine: string;
let theirs: string;
beforeAll(async () => {
  test = await startTestPlatform({ TEMPERA_WORKER_MODELS: STUB });
  const make = async (owner: string): Promise<string> =>
    (await json<{ key: string }>(admin("POST", "/v1/keys", { body: { alias: owner, owner } }))).key;
  [mine, theirs] = [await make("acme"), await make("rival")];
});
afterAll(() => test[Symbol.asyncDispose]());

interface CallOptions {
  body?: unknown;
  key?: string;
  headers?: Record<string, string>;
}
const admin = (
  method: string,
  path: string,
  { body, key = test.platform.key, headers = {} }: CallOptions = {},
): Promise<Response> =>
  fetch(`${test.platform.adminUrl}${path}`, {
    method,
    headers: { authorization: `Key ${key}`, ...headers },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
const json = async <T>(answer: Promise<Response>): Promise<T> => (await (await answer).json()) as T;
const tempera = (...args: string[]): Promise<{ code: number; out: string; err: string }> =>
  new Promise((done) => {
    const env = {
      ...process.env,
      TEMPERA_URL: test.platform.url,
      TEMPERA_ADMIN_URL: test.platform.adminUrl,
      TEMPERA_KEY: test.platform.key,
    };
    execFile(
      process.execPath,
      [join(PROJECT, "scripts/tempera.mjs"), ...args],
      { cwd: PROJECT, env },
      (error, out, err) => done({ code: error ? Number(error.code ?? 1) : 0, out, err }),
    );
  });

const upload = async (key: string, headers: Record<string, string> = {}): Promise<string> => {
  const answer = await test.call("/files/upload", {
    method: "POST",
    body: "bytes",
    headers: { authorization: `Key ${key}`, "content-type": "text/plain", ...headers },
  });
  return ((await answer.json()) as { access_url: string }).access_url;
};

/** Runs the stub until its record is written; returns the request's id and output. */
async function run(input: object, key = mine): Promise<{ id: string; output: { file?: { url: string } } }> {
  const headers = { authorization: `Key ${key}` };
  const submitted = (await (
    await test.call(`/queue/${STUB}`, { method: "POST", body: JSON.stringify(input), headers })
  ).json()) as {
    request_id: string;
  };
  const id = submitted.request_id;
  await test.record(id);
  return {
    id,
    output: (await (await test.call(`/queue/${STUB}/requests/${id}`, { headers })).json()) as {
      file?: { url: string };
    },
  };
}

describe("concurrent changes of one resource", () => {
  it.each([
    [
      "/v1/storage/settings",
      { expiration_duration_seconds: 1_000_000 },
      { expiration_duration_seconds: 2_000_000 },
    ],
    ["file", { default: "forbid" }, { default: "hide" }],
  ])(
    "makes one change of %s and refuses the other with 412; both have an audit record",
    async (where, one, other) => {
      const path =
        where === "file" ? `/v1/storage/files/acl?url=${encodeURIComponent(await upload(mine))}` : where;
      const read = await admin("GET", path, { key: mine });
      const ifMatch = read.headers.get("etag") ?? "";
      expect(ifMatch).toMatch(/^"\d+"$/);
      const put = (body: object): Promise<Response> =>
        admin("PUT", path, { body, key: mine, headers: { "if-match": ifMatch } });
      const answers = await Promise.all([put(one), put(other)]);
      expect(answers.map(({ status }) => status).sort()).toEqual([200, 412]);
      const [won, lost] = answers[0]?.status === 200 ? answers : [...answers].reverse();
      expect(await lost?.json()).toMatchObject({
        error: { code: "precondition_failed", message: expect.stringContaining("somebody else") },
      });
      expect(await json(admin("GET", path, { key: mine }))).toEqual(await won?.json());
      expect((await put(one)).status).toBe(412);
      expect((await admin("PUT", path, { body: one, key: mine, headers: { "if-match": "*" } })).status).toBe(
        200,
      );
      expect(
        (await admin("PUT", path, { body: one, key: mine, headers: { "if-match": 'W/"x' } })).status,
      ).toBe(412);

      const action = where === "file" ? "files.acl" : "storage.settings";
      const { audit } = await json<{ audit: { state: string; error_code: string | null }[] }>(
        admin("GET", `/v1/tempera/audit?action=${action}`),
      );
      expect(audit.map(({ state, error_code }) => error_code ?? state).sort()).toEqual([
        "made",
        "made",
        "precondition_failed",
        "precondition_failed",
      ]);
      await admin("PUT", "/v1/storage/settings", { body: {}, key: mine });
    },
  );

  it("refuses a revision that no resource has, past the integers of PostgreSQL", async () => {
    const call = { body: {}, key: mine, headers: { "if-match": '"8732363698809"' } };
    expect((await admin("PUT", "/v1/storage/settings", call)).status).toBe(412);
  });
});

describe("storage settings", () => {
  it("apply to new files within seconds; a header without an access list opens no hidden file", async () => {
    const set = {
      expiration_duration_seconds: 3600,
      initial_acl: { default: "hide", rules: [{ user: "friend", decision: "allow" }] },
    };
    expect(await json(admin("PUT", "/v1/storage/settings", { body: set, key: theirs }))).toEqual(set);
    const hidden = async (headers?: Record<string, string>): Promise<boolean> =>
      (await fetch(await upload(theirs, headers))).status === 404;
    await expect.poll(() => hidden()).toBe(true);
    expect(await hidden({ "x-fal-object-lifecycle": '{"expiration_duration_seconds":60}' })).toBe(true);
    expect(await hidden({ "x-fal-object-lifecycle": '{"initial_acl":{"default":"allow"}}' })).toBe(false);
    const { output } = await run({ artifact_bytes: 100, seed: 1 }, theirs);
    expect((await fetch(output.file?.url as string)).status).toBe(404);
    // The new files of another owner do not change.
    expect((await fetch(await upload(mine))).status).toBe(200);

    const file = await upload(theirs);
    const path = `/v1/storage/files/acl?url=${encodeURIComponent(file)}`;
    expect(await json(admin("GET", path, { key: theirs }))).toEqual(set.initial_acl);
    expect((await admin("GET", path, { key: mine })).status).toBe(404);
    expect((await admin("PUT", path, { body: { default: "allow" }, key: mine })).status).toBe(404);
    const sign = `/v1/storage/files/sign?url=${encodeURIComponent(file)}`;
    expect((await admin("POST", sign, { body: {}, key: mine })).status).toBe(404);
    const { signed_url } = await json<{ signed_url: string }>(
      admin("POST", sign, { body: { expiration_seconds: 60 }, key: theirs }),
    );
    expect(await (await fetch(signed_url)).text()).toBe("bytes");
    expect((await admin("PUT", path, { body: { default: "allow" }, key: theirs })).status).toBe(200);
    expect((await fetch(file)).status).toBe(200);
    for (const body of [
      { default: "maybe" },
      {},
      { default: "allow", rules: [{ user: "", decision: "allow" }] },
      { default: "allow", ruls: [] },
    ])
      expect((await admin("PUT", path, { body, key: theirs })).status).toBe(422);
    expect((await admin("GET", "/v1/storage/files/acl?url=http://example.com/x", { key: mine })).status).toBe(
      404,
    );
  });
});

describe("payload deletion", () => {
  it("keeps bytes that another request produced too, but no file with a record of its own", async () => {
    const same = { artifact_bytes: 3_000, seed: 424242 };
    const [first, second] = [await run(same), await run(same, theirs)];
    const erase = async (id: string) =>
      (
        await json<{ cdn_delete_results: { link: string; exception: string | null }[] }>(
          admin("DELETE", `/v1/models/requests/${id}/payloads`),
        )
      ).cdn_delete_results;
    // The first owner's file is an artifact without a record; the second owner's settings give each file a
    // record.
    const url = first.output.file?.url as string;
    const third = await run(same);
    expect(third.output.file?.url).toBe(url);
    expect(await erase(first.id)).toEqual([
      { link: url, exception: expect.stringContaining("Another request") },
    ]);
    expect((await fetch(url)).status).toBe(200);
    expect(await erase(third.id)).toEqual([{ link: url, exception: null }]);
    expect((await fetch(url)).status).toBe(404);
    expect(await erase(second.id)).toEqual([{ link: second.output.file?.url, exception: null }]);
    expect(await erase(second.id)).toEqual([]);
    expect(
      (await test.call(`/queue/${STUB}/requests/${first.id}`, { headers: { authorization: `Key ${mine}` } }))
        .status,
    ).toBe(404);
  });

  it("deletes the inputs, outputs and files of a pipeline's nodes, also in nested pipelines", async () => {
    const secret = "a-prompt-to-be-forgotten";
    const inner = { stages: [[{ prompt: secret, artifact_bytes: 3_000, seed: 424244 }]] };
    const input = { stages: [[{ prompt: secret, artifact_bytes: 3_000, seed: 424243 }], [inner]] };
    const { request_id: id } = await test.client.submit("tempera/stub-pipeline", input);
    for await (const _ of test.client.follow("tempera/stub-pipeline", id));
    await test.record(id);
    const { cdn_delete_results: results } = await json<{
      cdn_delete_results: { link: string; exception: string | null }[];
    }>(admin("DELETE", `/v1/models/requests/${id}/payloads`));
    expect(results.map(({ exception }) => exception)).toEqual([null, null]);
    for (const { link } of results) expect((await fetch(link)).status).toBe(404);
    const rows = await test.sql<{ everything: string }[]>`
      WITH RECURSIVE family AS (
        SELECT * FROM requests WHERE request_id = ${id}
        UNION ALL SELECT r.* FROM requests r JOIN family f ON r.parent_id = f.request_id
      ) SELECT job::text || outcome::text AS everything FROM family`;
    expect(rows).toHaveLength(4);
    for (const { everything } of rows) expect(everything).not.toContain(secret);
    expect(await test.sql`SELECT FROM node_results WHERE output::text LIKE ${`%${secret}%`}`).toHaveLength(0);
  });

  it("replies 400 for an unfinished and 404 for an unknown request; deletes large payloads", async () => {
    const { request_id } = await test.client.submit(STUB, { delay_ms: 60_000 });
    expect((await admin("DELETE", `/v1/models/requests/${request_id}/payloads`)).status).toBe(400);
    await test.client.cancel(STUB, request_id);
    expect((await admin("DELETE", "/v1/models/requests/not-an-id/payloads")).status).toBe(404);
    const { id } = await run({ prompt: "x".repeat(200_000) });
    const list = `/v1/models/requests/by-endpoint?endpoint_id=${STUB}&request_id=${id}&expand=payloads`;
    const items = async () =>
      (await json<{ items: { json_input?: { prompt: string }; json_output?: object }[] }>(admin("GET", list)))
        .items;
    expect((await items())[0]?.json_input?.prompt).toHaveLength(200_000);
    expect((await tempera("requests", "delete-payloads", id)).code).toBe(0);
    expect((await items())[0]).not.toHaveProperty("json_input");
    expect((await items())[0]).not.toHaveProperty("json_output");
    expect(
      await (
        await admin("GET", `/v1/serverless/requests/by-endpoint?endpoint_id=${STUB}&request_id=${id}`)
      ).json(),
    ).toMatchObject({
      items: [{ request_id: id, billable_units: 1, runner_id: null }],
    });
  });
});

describe("hostile and unauthorized calls", () => {
  it.each([
    ["a line break in the key", `Key a:b\r\nx-injected: 1`],
    ["a key of 12,000 characters", `Key ${"a".repeat(12_000)}`],
    ["a key of all kinds of characters", `Key ${"é:ü".repeat(50)}`],
  ])("refuses %s in the platform's form without echoing it", async (_, authorization) => {
    const { port } = new URL(test.platform.adminUrl);
    const reply = await new Promise<string>((done) => {
      const socket = connect(Number(port), "localhost", () => {
        socket.write(
          Buffer.from(
            `GET /v1/keys HTTP/1.1\r\nhost: localhost\r\nauthorization: ` +
              `${authorization}\r\nconnection: close\r\n\r\n`,
            "latin1",
          ),
        );
      });
      let text = "";
      socket.on("data", (chunk) => {
        text += chunk;
      });
      socket.on("close", () => done(text));
    });
    expect(reply).toMatch(/^HTTP\/1\.1 401 /);
    expect(reply).toContain('"type":"authorization_error"');
    expect(reply).not.toMatch(/x-injected|aaaa|é/);
  });

  it("refuses headers of 64 KiB with 431 before it reads anything", async () => {
    const status = await new Promise<number>((done, fail) => {
      const request = httpRequest(
        `${test.platform.adminUrl}/v1/keys`,
        { headers: { "x-huge": "h".repeat(64 * 1024) } },
        (answer) => {
          answer.resume();
          done(answer.statusCode ?? 0);
        },
      );
      request.on("error", fail);
      request.end();
    });
    expect(status).toBe(431);
  });

  it("treats names that look like header lines, paths or SQL as names", async () => {
    for (const name of [
      "x\r\nset-cookie: a=b",
      "../../keys",
      "'; DROP TABLE keys; --",
      "\u0000",
      "a".repeat(5_000),
    ]) {
      const answer = await admin("GET", `/v1/tempera/owners/${encodeURIComponent(name)}`);
      expect(answer.status).toBe(422);
      expect(answer.headers.get("set-cookie")).toBeNull();
    }
    expect((await admin("GET", "/v1/keys")).status).toBe(200);
    expect((await admin("POST", "/v1/keys", { body: { alias: "x".repeat(100_000) } })).status).toBe(413);
  });

  it("shows an API key only the requests of its owner", async () => {
    const { id } = await run({ prompt: "mine" });
    const list = (key: string, more = "") =>
      admin("GET", `/v1/models/requests/by-endpoint?endpoint_id=${STUB}&request_id=${id}${more}`, { key });
    expect((await json<{ items: object[] }>(list(mine))).items).toHaveLength(1);
    expect((await json<{ items: object[] }>(list(theirs))).items).toHaveLength(0);
    expect((await list(theirs, "&owner=acme")).status).toBe(403);
    expect(
      (await json<{ items: { owner: string }[] }>(list(test.platform.key, "&owner=acme"))).items[0]?.owner,
    ).toBe("acme");
    const { models } = await json<{ models: object[] }>(
      admin("GET", `/v1/models?endpoint_id=${STUB}`, { key: mine }),
    );
    expect(models[0]).not.toHaveProperty("serving");
  });

  it("names the missing call of fal's in a 501", async () => {
    const answer = await admin("GET", "/v1/compute/instances/7");
    expect(answer.status).toBe(501);
    expect(await answer.json()).toMatchObject({
      error: { type: "not_implemented", message: expect.stringContaining("/v1/compute/instances") },
    });
    expect((await admin("POST", "/v1/assets/collections/7/items", { key: mine })).status).toBe(501);
  });
});

describe("the tempera command", () => {
  it("shows owners, requests, the audit and storage, as tables and as JSON", async () => {
    await run({ prompt: "first" });
    await run({ prompt: "listed" });
    const owners = JSON.parse((await tempera("owners", "list", "--limit", "1000", "--json")).out) as {
      owner: string;
    }[];
    expect(owners.map(({ owner }) => owner)).toEqual(["acme", "admin", "rival"]);
    expect((await tempera("owners", "list")).out).toMatch(/^OWNER {2,}KEYS/);
    expect(JSON.parse((await tempera("owners", "show", "acme", "--json")).out)).toMatchObject({
      owner: "acme",
      keys_active: 1,
      requests_unfinished: 0,
    });

    expect(
      (await tempera("requests", "list", STUB, "--owner", "acme", "--limit", "2")).out.trim().split("\n"),
    ).toHaveLength(3);
    const [newest] = JSON.parse(
      (await tempera("requests", "list", STUB, "--payloads", "--limit", "1")).out,
    ) as { json_input: object }[];
    expect(newest?.json_input).toMatchObject({ prompt: "listed" });

    const [last] = JSON.parse(
      (await tempera("audit", "list", "--action", "keys.create", "--json", "--limit", "1")).out,
    ) as object[];
    expect(last).toMatchObject({
      action: "keys.create",
      owner: "admin",
      state: "made",
      after: { owner: "rival" },
    });
    expect((await tempera("audit", "list", "--action", "keys")).out).toMatch(/keys\.create/);

    expect((await tempera("queue", "size", STUB)).out.trim()).toBe("0");
    expect((await tempera("queue", "flush", STUB)).code).toBe(0);
    expect(await tempera("queue", "size", "no/such")).toMatchObject({
      code: 1,
      err: expect.stringContaining("There is no app no/such"),
    });

    const settings = JSON.parse((await tempera("storage", "settings", "--expires", "86400")).out) as object;
    expect(settings).toEqual({ expiration_duration_seconds: 86_400, initial_acl: null });
    expect(JSON.parse((await tempera("storage", "settings", "--expires", "never")).out)).toMatchObject({
      expiration_duration_seconds: null,
    });
    expect((await tempera("storage", "settings", "--expires", "soon")).code).toBe(1);
    const file = await upload(test.platform.key);
    expect(JSON.parse((await tempera("storage", "acl", file, "--set", '{"default":"forbid"}')).out)).toEqual({
      default: "forbid",
      rules: [],
    });
    expect((await fetch(file)).status).toBe(403);
    expect((await fetch((await tempera("storage", "sign", file)).out.trim())).status).toBe(200);
    expect((await tempera("workers", "list")).out).toMatch(/^WORKER/);
  });
});
