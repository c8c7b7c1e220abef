/** Plans and owners by the admin service and the command line, and admin changes with idempotency keys. */
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
let test: TestPlatform;
beforeAll(async () => {
  test = await startTestPlatform();
});
afterAll(() => test[Symbol.asyncDispose]());

type Body = Record<string, unknown>;
async function admin(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
  const answer = await fetch(`${test.platform.adminUrl}${path}`, {
    method,
    headers: { authorization: `Key ${test.platform.key}`, "content-type": "application/json", ...headers },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  return {
    status: answer.status,
    headers: answer.headers,
    body: (text === "" ? undefined : JSON.parse(text)) as Body,
  };
}
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

describe("plans and owners", () => {
  it("are created, changed field by field, shown and removed from the command line", async () => {
    expect(
      (await tempera("plans", "set", "gold", "requests_per_second=50", "burst=100", "weight=3")).out,
    ).toContain("weight=3");
    expect((await tempera("plans", "set", "gold", "private_files=true")).out).toContain("private_files=true");
    const changed = ["burst=none", "private_files=none", "queued=7"];
    expect((await tempera("plans", "set", "gold", ...changed)).out.trim()).toBe(
      "gold: requests_per_second=50 queued=7 weight=3",
    );
    expect((await tempera("owners", "set", "ann", "--plan", "gold", "queued=9", "in_progress=2")).code).toBe(
      0,
    );
    expect((await tempera("owners", "show", "ann")).out.trim()).toBe(
      "ann: plan gold; requests_per_second=50 in_progress=2 queued=9 weight=3",
    );
    expect((await tempera("owners", "list")).out).toMatch(/ann\s+\d+\s+gold/);
    expect((await tempera("plans", "remove", "gold")).err).toContain(
      "This plan is in use. Give its owners another plan first.",
    );
    await tempera("owners", "set", "ann", "--plan", "default", "queued=none");
    expect((await tempera("plans", "remove", "gold")).code).toBe(0);
    expect((await tempera("plans", "remove", "gold")).err).toContain("There is no such plan.");
    expect((await tempera("plans", "remove", "default")).code).toBe(1);
    expect((await tempera("plans", "set", "gold", "burst=many")).err).toContain(
      '"burst=many" is not <name>=<number>',
    );
  });

  it("keep the changes of administrators who change different fields at the same time", async () => {
    await Promise.all(
      ["burst", "queued", "in_progress", "upload_bytes_per_day"].map((field) =>
        admin("PATCH", "/v1/tempera/plans/shared", { [field]: 5 }),
      ),
    );
    expect((await admin("GET", "/v1/tempera/plans")).body.plans).toContainEqual(
      expect.objectContaining({
        plan: "shared",
        limits: expect.objectContaining({ burst: 5, queued: 5, in_progress: 5, upload_bytes_per_day: 5 }),
      }),
    );
  });

  it.each([
    ["PATCH", "/v1/tempera/plans/x", { brust: 1 }],
    ["PATCH", "/v1/tempera/plans/x", { weight: 0 }],
    ["PATCH", "/v1/tempera/plans/x", { burst: 1.5 }],
    ["PATCH", "/v1/tempera/plans/x%20y", { burst: 1 }],
    ["PATCH", "/v1/tempera/owners/ann", { exceptions: { queued: "many" } }],
  ])("%s %s %j is refused, and changes nothing", async (method, path, body) => {
    expect((await admin(method, path, body)).status).toBe(422);
    expect(await test.sql`SELECT FROM plans WHERE plan_id LIKE 'x%'`).toHaveLength(0);
  });

  it("are 404 for an unknown plan or key, and 403 for a key of another scope", async () => {
    expect((await admin("PATCH", "/v1/tempera/owners/bob", { plan: "nonesuch" })).status).toBe(404);
    expect((await admin("GET", `/v1/tempera/keys/${randomUUID()}/limits`)).status).toBe(404);
    expect((await admin("PATCH", `/v1/tempera/keys/${randomUUID()}/limits`, { burst: 1 })).status).toBe(404);
    const made = await test.client.admin<{ key: string }>("POST", "/v1/keys", { alias: "api" });
    expect(
      (await admin("GET", "/v1/tempera/plans", undefined, { authorization: `Key ${made.key}` })).status,
    ).toBe(403);
  });

  it("are recorded in the audit log, before and after each change", async () => {
    await admin("PATCH", "/v1/tempera/owners/carol", { exceptions: { queued: 1 } });
    await admin("PATCH", "/v1/tempera/owners/carol", { exceptions: { queued: 2 } });
    const { audit } = (await admin("GET", "/v1/tempera/audit?subject=carol")).body as {
      audit: { before: Body; after: Body }[];
    };
    expect(audit[0]).toMatchObject({
      before: { exceptions: { queued: 1 } },
      after: { exceptions: { queued: 2 } },
    });
  });
});

describe("a change with an idempotency key", () => {
  const create = (alias: string, key: string) =>
    admin("POST", "/v1/keys", { alias }, { "idempotency-key": key });

  it("is made once and has the same answer, secret included, for simultaneous calls", async () => {
    const key = randomUUID();
    const answers = await Promise.all(Array.from({ length: 5 }, () => create("once", key)));
    expect(answers.map(({ status }) => status)).toEqual([201, 201, 201, 201, 201]);
    expect(new Set(answers.map(({ body }) => body.key)).size).toBe(1);
    expect(answers.filter(({ headers }) => headers.get("idempotent-replayed") === "true")).toHaveLength(4);
    expect(await test.sql`SELECT FROM keys WHERE alias = 'once'`).toHaveLength(1);
    // The stored answer does not reveal the secret.
    const [{ answer }] = await test.sql<
      [{ answer: Buffer }]
    >`SELECT answer FROM claims WHERE key = ${`write:${key}`}`;
    expect(answer.toString("latin1")).not.toContain(String(answers[0]?.body.key_secret));
  });

  it("is 422 with another body, and a refused one leaves the key free", async () => {
    const key = randomUUID();
    expect((await create("\u0000", key)).status).toBe(422);
    expect((await create("first", key)).status).toBe(201);
    const reused = await create("second", key);
    expect(reused.status).toBe(422);
    expect(JSON.stringify(reused.body)).toContain(key);
  });

  it("repeats an answer without a body without one", async () => {
    const made = await create("to revoke", randomUUID());
    const key = randomUUID();
    for (const replayed of [null, "true"]) {
      const revoked = await admin("DELETE", `/v1/keys/${made.body.key_id}`, undefined, {
        "idempotency-key": key,
      });
      expect(revoked).toMatchObject({ status: 204, body: undefined });
      expect(revoked.headers.get("idempotent-replayed")).toBe(replayed);
    }
  });

  it("is made by the next call when the process that claimed it died", async () => {
    const key = randomUUID();
    const first = await create("died", randomUUID());
    await test.sql`INSERT INTO claims (owner_id, key, request_id, fingerprint, expires_at, claimed_at)
                   SELECT owner_id, ${`write:${key}`}, ${randomUUID()}, fingerprint, expires_at,
                          now() - interval '1 hour'
                   FROM claims WHERE request_id = ${first.headers.get("x-fal-request-id")}`;
    const next = await create("died", key);
    expect(next.status).toBe(201);
    expect(next.body.key).not.toBe(first.body.key);
    expect((await create("died", key)).body.key).toBe(next.body.key);
  });
});
