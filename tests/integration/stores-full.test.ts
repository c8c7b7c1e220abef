/** Stores that are full or away while jobs have something to store, behind relays. */
import { randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { type ObjectRelay, startObjectRelay } from "./object-relay.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const STUB = "tempera/stub";
const WITH_FILE = { prompt: "x", artifact_bytes: 2_000 };
const FULL = "The object store has no space left (XMinioStorageFull)";

let relay: ObjectRelay;
let test: TestPlatform;

/** Starts a platform whose object store is behind the relay. */
async function startBehindRelay(env: Record<string, string>): Promise<void> {
  relay = await startObjectRelay(process.env.TEST_S3_ENDPOINT ?? "");
  test = await startTestPlatform({
    S3_ENDPOINT: relay.url,
    S3_ACCESS_KEY: process.env.TEST_S3_ACCESS_KEY ?? "",
    S3_SECRET_KEY: process.env.TEST_S3_SECRET_KEY ?? "",
    S3_BUCKET: `full-${randomBytes(4).toString("hex")}`,
    TEMPERA_WORKER_MODELS: STUB,
    ...env,
  });
}
async function stop(): Promise<void> {
  await test[Symbol.asyncDispose]();
  await relay[Symbol.asyncDispose]();
}
afterEach(() => {
  relay.state = "well";
});

/** Follows a request to its end. Returns its log lines; `onLine` receives each as it comes. */
async function follow(requestId: string, onLine: (line: string) => unknown = () => {}): Promise<string[]> {
  const lines = new Set<string>();
  for await (const { logs } of test.client.follow(STUB, requestId))
    for (const { message } of logs ?? []) {
      if (!lines.has(message)) await onLine(message);
      lines.add(message);
    }
  return [...lines];
}

/** Cancels a job that has a file to store at a line of its log, and expects that it ends by the cancel. */
async function cancelAtLine(isThatLine: (line: string) => boolean): Promise<void> {
  const { request_id: id } = await test.client.submit(STUB, WITH_FILE);
  await follow(id, async (line) => {
    if (isThatLine(line)) await test.client.cancel(STUB, id);
  });
  expect(await test.record(id)).toMatchObject({ outcome: { error: { code: "client_cancelled" } } });
}

describe("a job whose result a store does not take", () => {
  beforeAll(() => startBehindRelay({}));
  afterAll(stop);

  const FULL_LINE = "The object store is full; the result is stored when it has space.";
  it.each([
    ["a file", "full", WITH_FILE, FULL_LINE],
    ["a large output", "full", { payload: "x".repeat(40_000), delay_ms: 500 }, FULL_LINE],
    ["a file", "away", WITH_FILE, "The object store is unavailable; the result is stored when it is back."],
  ] as const)(
    "is stored without another inference: %s, and the store was %s",
    async (_, state, input, line) => {
      // A large input needs space itself.
      if (input === WITH_FILE) relay.state = state;
      const { request_id: id } = await test.client.submit(STUB, input);
      relay.state = state;
      const lines = await follow(id, (said) => {
        if (said === line) relay.state = "well";
      });
      expect(lines).toContain(line);
      expect(await test.client.result(STUB, id)).toMatchObject({ attempt: 1 });
      expect(await test.record(id)).toMatchObject({ attempts: 1 });
      expect(await test.deadLetters()).toEqual([]);
    },
  );

  it("is cancelled while it waits", async () => {
    relay.state = "full";
    await cancelAtLine((line) => line.startsWith("The object store is full"));
  });
});

it("a call that needs space is refused with store_full", async () => {
  await startBehindRelay({});
  relay.state = "full";
  const call = (path: string, body: object) =>
    test.call(path, {
      method: "POST",
      body: JSON.stringify(body),
      headers: { "content-type": "application/json" },
    });
  for (const path of [`/queue/${STUB}`, `/${STUB}`, `/${STUB}/stream`]) {
    const refused = await call(path, { payload: "x".repeat(40_000) });
    expect([path, refused.status, refused.headers.get("x-fal-error-type")]).toEqual([
      path,
      503,
      "store_full",
    ]);
    expect(await refused.json()).toMatchObject({
      detail: expect.stringContaining(FULL),
      error_type: "store_full",
    });
  }
  const { upload_url: url } = (await (
    await call("/rest/storage/upload/initiate?storage_type=fal-cdn-v3", {
      content_type: "text/plain",
      file_name: "a.txt",
    })
  ).json()) as { upload_url: string };
  const upload = await fetch(url, { method: "PUT", body: "text", headers: { "content-type": "text/plain" } });
  expect([upload.status, await upload.json()]).toMatchObject([503, { error_type: "store_full" }]);
  await stop();
});

describe("a job that gives its result up", () => {
  beforeAll(() => startBehindRelay({ TEMPERA_RESULT_WAIT_SECONDS: "0", TEMPERA_STORE_WAIT_SECONDS: "3" }));
  afterAll(stop);

  it("is run again after a pause, without using up its attempts", async () => {
    relay.state = "full";
    const { request_id: id } = await test.client.submit(STUB, WITH_FILE);
    const lines = await follow(id, (line) => {
      if (line.endsWith("in 2 s.")) relay.state = "well";
    });
    expect(lines).toEqual([
      "The object store is full; the request is tried again in 1 s.",
      "The object store is full; the request is tried again in 2 s.",
    ]);
    expect(await test.client.result(STUB, id)).toMatchObject({ attempt: 3 });
  });

  it.each([
    ["full", `store_full: ${FULL}; free space, or enlarge the volume of the bucket.`],
    ["away", "internal_error: The object store cannot be reached. Try again."],
  ] as const)("ends as a dead letter that names the store when it stays %s", async (state, reason) => {
    relay.state = state;
    const { request_id: id } = await test.client.submit(STUB, WITH_FILE);
    await follow(id);
    // The first run, and one after each pause of 1 s and 2 s: the time is used up.
    expect(await test.record(id)).toMatchObject({ attempts: 3, outcome: { ok: false } });
    expect((await test.deadLetters()).find(({ requestId }) => requestId === id)).toMatchObject({ reason });
  });

  it("is cancelled in a pause", async () => {
    relay.state = "full";
    await cancelAtLine((line) => line.endsWith("in 2 s."));
  });

  it("ends at once when its caller wants one attempt", async () => {
    relay.state = "full";
    const { request_id: id } = await test.client.submit(STUB, WITH_FILE, { "x-fal-no-retry": "1" });
    await follow(id);
    expect(await test.record(id)).toMatchObject({ attempts: 1, outcome: { error: { code: "store_full" } } });
  });
});
