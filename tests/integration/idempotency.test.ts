import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const STUB = "tempera/stub";
let test: TestPlatform;
let urls: [string, string];
beforeAll(async () => {
  test = await startTestPlatform();
  urls = [test.platform.url, (await test.secondGateway()).url];
});
afterAll(() => test[Symbol.asyncDispose]());

type Body = Record<string, unknown>;
interface Answer {
  status: number;
  headers: Headers;
  body: Body;
}
async function call(
  url: string,
  path: string,
  input: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const answer = await fetch(`${url}${path}`, {
    method: "POST",
    body: JSON.stringify(input),
    headers: { authorization: `Key ${test.platform.key}`, "content-type": "application/json", ...headers },
  });
  return { status: answer.status, headers: answer.headers, body: (await answer.json()) as Body };
}
const submit = (url: string, input: unknown, key?: string, header = "idempotency-key") =>
  call(url, `/queue/${STUB}`, input, key === undefined ? {} : { [header]: key });
const ended = async (requestId: string): Promise<void> => {
  for await (const { status } of test.client.follow(STUB, requestId)) if (status === "COMPLETED") return;
};
/**
 * The requests that have a workflow. A workflow is named by its request, so there is at most one for each.
 */
const jobsOf = async (requestIds: string[]): Promise<string[]> => {
  const states = await Promise.all(requestIds.map((id) => test.workflow(id)));
  return requestIds.filter((_, i) => states[i] !== undefined);
};
const rows = async (key: string) =>
  test.sql<{ request_id: string }[]>`SELECT request_id FROM claims WHERE key = ${`key:${key}`}`;

describe("a submit with an idempotency key", () => {
  it("is the same request again at another gateway, while it runs and after its end", async () => {
    const key = randomUUID();
    const first = await submit(urls[0], { prompt: "x", delay_ms: 300 }, key);
    expect(first.status).toBe(200);
    expect(first.headers.get("idempotent-replayed")).toBeNull();
    const again = await submit(urls[1], { delay_ms: 300, prompt: "x" }, key, "x-idempotency-key");
    expect(again).toMatchObject({ status: 200, body: { request_id: first.body.request_id } });
    expect(again.headers.get("idempotent-replayed")).toBe("true");
    expect(again.headers.get("x-fal-request-id")).toBe(first.body.request_id);
    expect(Object.keys(again.body).sort()).toEqual(Object.keys(first.body).sort());
    await ended(first.body.request_id as string);
    const done = await submit(urls[1], { prompt: "x", delay_ms: 300 }, key);
    expect(done).toMatchObject({
      status: 200,
      body: { request_id: first.body.request_id, status: "COMPLETED" },
    });
  });

  it("is the same request for another spelling of a value", async () => {
    const key = randomUUID();
    const first = await submit(urls[0], { prompt: "x", steps: 1 }, key);
    const again = await submit(urls[1], { prompt: "x", steps: "1" }, key);
    expect(again).toMatchObject({ status: 200, body: { request_id: first.body.request_id } });
    await ended(first.body.request_id as string);
  });

  it("is 422 with another input or endpoint, names the key and the request, and is never 409", async () => {
    const key = randomUUID();
    const first = await submit(urls[0], { prompt: "x" }, key);
    const other = await submit(urls[1], { prompt: "y" }, key);
    expect(other.status).toBe(422);
    const [fault] = other.body.detail as { loc: string[]; msg: string }[];
    expect(fault?.loc).toEqual(["header", "idempotency-key"]);
    expect(fault?.msg).toContain(key);
    expect(fault?.msg).toContain(first.body.request_id);
    await ended(first.body.request_id as string);
  });

  it("is 422 for a malformed key and for two that differ, and stores nothing", async () => {
    const tooLong = "x".repeat(256);
    expect((await submit(urls[0], {}, tooLong)).status).toBe(422);
    expect(await rows(tooLong)).toHaveLength(0);
    const differing = await call(
      urls[0],
      `/queue/${STUB}`,
      {},
      { "idempotency-key": "a", "x-idempotency-key": "b" },
    );
    expect(differing.status).toBe(422);
    expect(await rows("a")).toHaveLength(0);
  });

  it("starts one job for simultaneous calls at two gateways, many times over", async () => {
    const pairs = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const key = randomUUID();
        const answers = await Promise.all([...urls, ...urls].map((url) => submit(url, { prompt: key }, key)));
        expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
        const ids = new Set(answers.map(({ body }) => body.request_id as string));
        expect(ids.size).toBe(1);
        return [...ids][0] as string;
      }),
    );
    await Promise.all(pairs.map(ended));
    const [{ count }] = await test.sql<
      [{ count: number }]
    >`SELECT count(*)::int FROM requests WHERE request_id = ANY(${pairs}::uuid[])`;
    expect(count).toBe(20);
    expect(await jobsOf(pairs)).toHaveLength(20);
  });

  it("leaves the key free after an input that the model refuses", async () => {
    const key = randomUUID();
    expect((await submit(urls[0], { delay_ms: "soon" }, key)).status).toBe(422);
    await expect.poll(() => rows(key)).toHaveLength(0);
    const right = await submit(urls[0], { delay_ms: 1 }, key);
    expect(right.status).toBe(200);
    await ended(right.body.request_id as string);
  });

  it("is started by the next call when the gateway that claimed the key died before the start", async () => {
    const key = randomUUID();
    const claimed = randomUUID();
    // A gateway that dies between claim and start leaves the claim, and perhaps an entry in the event log.
    const first = await submit(urls[0], { prompt: key }, randomUUID());
    const [{ fingerprint, owner_id }] = await test.sql<[{ fingerprint: string; owner_id: string }]>`
      SELECT fingerprint, owner_id FROM claims WHERE request_id = ${first.body.request_id as string}`;
    await test.sql`INSERT INTO claims (owner_id, key, request_id, fingerprint, expires_at)
                   VALUES (${owner_id}, ${`key:${key}`}, ${claimed}, ${fingerprint},
                           now() + interval '1 hour')`;
    const next = await submit(urls[1], { prompt: key }, key);
    expect(next).toMatchObject({ status: 200, body: { request_id: claimed } });
    await ended(claimed);
    expect(await jobsOf([claimed])).toEqual([claimed]);
    await ended(first.body.request_id as string);
  });

  it("expires by the clock of the database", async () => {
    const key = randomUUID();
    const [{ owner_id }] = await test.sql<[{ owner_id: string }]>`SELECT owner_id FROM claims LIMIT 1`;
    const yesterdays = randomUUID();
    await test.sql`INSERT INTO claims (owner_id, key, request_id, fingerprint, expires_at)
                   VALUES (${owner_id}, ${`key:${key}`}, ${yesterdays}, 'of another input',
                           now() - interval '1 second')`;
    const next = await submit(urls[0], { prompt: "b" }, key);
    expect(next.status).toBe(200);
    expect(next.body.request_id).not.toBe(yesterdays);
    expect((await submit(urls[1], { prompt: "b" }, key)).body.request_id).toBe(next.body.request_id);
    await ended(next.body.request_id as string);
  });

  it("is the same request although a database crash lost the claim", async () => {
    const key = randomUUID();
    const first = await submit(urls[0], { prompt: key, delay_ms: 300 }, key);
    await test.sql`DELETE FROM claims WHERE key = ${`key:${key}`}`;
    const again = await submit(urls[1], { prompt: key, delay_ms: 300 }, key);
    expect(again).toMatchObject({ status: 200, body: { request_id: first.body.request_id } });
    await ended(first.body.request_id as string);
    // The second start did not disturb its job.
    expect((await test.record(first.body.request_id as string))?.outcome).toMatchObject({ ok: true });
  });

  it("is another request for another owner", async () => {
    const key = randomUUID();
    const first = await submit(urls[0], { prompt: "a" }, key);
    const made = await test.client.admin<{ key: string }>("POST", "/v1/keys", {
      alias: "stranger",
      owner: "stranger",
    });
    const theirs = await call(
      urls[0],
      `/queue/${STUB}`,
      { prompt: "other" },
      { authorization: `Key ${made.key}`, "idempotency-key": key },
    );
    expect(theirs.status).toBe(200);
    expect(theirs.body.request_id).not.toBe(first.body.request_id);
    await ended(first.body.request_id as string);
  });

  it("makes no claim without a key", async () => {
    const [{ before }] = await test.sql<[{ before: number }]>`SELECT count(*)::int AS before FROM claims`;
    const first = await submit(urls[0], { prompt: "same" });
    const second = await submit(urls[0], { prompt: "same" });
    expect(second.body.request_id).not.toBe(first.body.request_id);
    const [{ after }] = await test.sql<[{ after: number }]>`SELECT count(*)::int AS after FROM claims`;
    expect(after).toBe(before);
    await Promise.all([first, second].map(({ body }) => ended(body.request_id as string)));
  });
});

describe("a sync run with an idempotency key", () => {
  it("has the same answer at another gateway without a second run", async () => {
    const key = randomUUID();
    const first = await call(urls[0], `/${STUB}`, { prompt: "run" }, { "idempotency-key": key });
    const again = await call(urls[1], `/${STUB}`, { prompt: "run" }, { "idempotency-key": key });
    expect(first.status).toBe(200);
    expect(again).toMatchObject({ status: 200, body: first.body });
    expect(again.headers.get("x-fal-request-id")).toBe(first.headers.get("x-fal-request-id"));
    expect(again.headers.get("idempotent-replayed")).toBe("true");
  });

  it("repeats a failure too", async () => {
    const key = randomUUID();
    const first = await call(urls[0], `/${STUB}`, { fail: "error" }, { "idempotency-key": key });
    const again = await call(urls[1], `/${STUB}`, { fail: "error" }, { "idempotency-key": key });
    expect(first.status).toBe(500);
    expect(again).toMatchObject({ status: 500, body: first.body });
    expect(again.headers.get("x-fal-request-id")).toBe(first.headers.get("x-fal-request-id"));
  });

  it("goes on when its caller leaves, and answers the next call", async () => {
    const key = randomUUID();
    const left = new AbortController();
    const first = fetch(`${urls[0]}/${STUB}`, {
      method: "POST",
      body: JSON.stringify({ delay_ms: 1_000 }),
      headers: { authorization: `Key ${test.platform.key}`, "idempotency-key": key },
      signal: left.signal,
    }).catch(() => {});
    await expect.poll(() => rows(key)).toHaveLength(1);
    const [{ request_id: requestId }] = (await rows(key)) as unknown as [{ request_id: string }];
    await expect.poll(() => jobsOf([requestId])).toHaveLength(1);
    left.abort();
    await first;
    const again = await call(urls[1], `/${STUB}`, { delay_ms: 1_000 }, { "idempotency-key": key });
    expect(again.status).toBe(200);
    expect(again.headers.get("x-fal-request-id")).toBe(requestId);
  });
});

describe("a key with sameInputSeconds", () => {
  it("makes one request of equal inputs within that time, and another one of another input", async () => {
    const made = await test.client.admin<{ key: string; key_id: string }>("POST", "/v1/keys", {
      alias: "python",
      owner: "python",
    });
    await test.sql`INSERT INTO key_allowances VALUES (${made.key_id}, '{"sameInputSeconds": 60}')`;
    const headers = { authorization: `Key ${made.key}` };
    const ids = await Promise.all(
      [urls[0], urls[1], urls[0]].map(
        async (url) => (await call(url, `/queue/${STUB}`, { prompt: "p", seed: 1 }, headers)).body.request_id,
      ),
    );
    expect(new Set(ids).size).toBe(1);
    const other = await call(urls[0], `/queue/${STUB}`, { prompt: "q", seed: 1 }, headers);
    expect(other.body.request_id).not.toBe(ids[0]);
    // The claim has expired by the database's clock.
    await test.sql`UPDATE claims SET expires_at = now() - interval '1 second' WHERE key LIKE 'same:%'`;
    expect(
      (await call(urls[0], `/queue/${STUB}`, { prompt: "p", seed: 1 }, headers)).body.request_id,
    ).not.toBe(ids[0]);
  });
});
