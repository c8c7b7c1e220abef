import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isRequestId } from "../../src/core/requests/request.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const STUB = "tempera/stub";
let test: TestPlatform;
beforeAll(async () => {
  test = await startTestPlatform();
});
afterAll(() => test[Symbol.asyncDispose]());

type Body = Record<string, unknown>;
const json = async (response: Promise<Response> | Response): Promise<Body> =>
  (await (await response).json()) as Body;
const post = (path: string, input: unknown, headers: Record<string, string> = {}): Promise<Response> =>
  test.call(path, {
    method: "POST",
    body: JSON.stringify(input),
    headers: { "content-type": "application/json", ...headers },
  });
const submit = async (input: unknown, headers?: Record<string, string>): Promise<string> =>
  (await json(post(`/queue/${STUB}`, input, headers))).request_id as string;
const at = (id: string, rest = ""): string => `/queue/${STUB}/requests/${id}${rest}`;
const finished = async (id: string): Promise<void> => {
  for await (const status of test.client.follow(STUB, id)) if (status.status === "COMPLETED") return;
};
const running = async (id: string): Promise<void> => {
  for await (const { status } of test.client.follow(STUB, id)) if (status !== "IN_QUEUE") return;
};

describe("submit", () => {
  it("answers with fal's nine fields, and its addresses work", async () => {
    const response = await post(`/queue/${STUB}`, { prompt: "hello" });
    expect(response.status).toBe(200);
    const body = await json(response);
    expect(body).toMatchObject({ status: "IN_QUEUE", logs: null, metrics: {} });
    expect(body.queue_position).toBeTypeOf("number");
    expect(isRequestId(body.request_id as string)).toBe(true);
    expect(body.gateway_request_id).toBe(body.request_id);
    expect(response.headers.get("x-fal-request-id")).toBe(body.request_id);
    for (const name of ["status_url", "response_url"]) {
      const answer = await fetch(body[name] as string, {
        headers: { authorization: `Key ${test.platform.key}` },
      });
      expect([200, 202, 400]).toContain(answer.status);
    }
    expect(body.cancel_url).toBe(`${test.platform.url}${at(body.request_id as string, "/cancel")}`);
    await finished(body.request_id as string);
    const result = await test.call(at(body.request_id as string));
    expect(result.status).toBe(200);
    expect(result.headers.get("x-fal-request-id")).toBe(body.request_id);
  });

  it("ignores unknown fields, and names them in the request's log", async () => {
    const id = await submit({ prompt: "x", colour: "red" });
    await finished(id);
    const { logs } = await json(test.call(at(id, "/status?logs=1")));
    expect(JSON.stringify(logs)).toContain("colour");
  });

  it("refuses with 429 by fal_max_queue_length before anything is queued", async () => {
    const running = await Promise.all(Array.from({ length: 64 }, () => submit({ delay_ms: 60_000 })));
    const waiting = await Promise.all(Array.from({ length: 3 }, () => submit({})));
    const refused = await post(`/queue/${STUB}?fal_max_queue_length=0`, {});
    expect(refused.status).toBe(429);
    expect(refused.headers.get("retry-after")).toBeTruthy();
    await Promise.all([...running, ...waiting].map((id) => test.call(at(id, "/cancel"), { method: "PUT" })));
    await Promise.all([...running, ...waiting].map(finished));
  });
});

describe("status", () => {
  it("is 202 for a waiting and a running request and 200 at the end, with logs only on demand", async () => {
    const blocking = await Promise.all(Array.from({ length: 64 }, () => submit({ delay_ms: 60_000 })));
    await Promise.all(blocking.map(running));
    const id = await submit({ delay_ms: 400, steps: 4 });
    for (const [request, state] of [
      [id, "IN_QUEUE"],
      [blocking[0] ?? "", "IN_PROGRESS"],
    ] as const) {
      const answer = await test.call(at(request, "/status"));
      expect(answer.status).toBe(202);
      expect(await json(answer)).toMatchObject({ status: state, logs: null });
    }
    await Promise.all(blocking.map((each) => test.call(at(each, "/cancel"), { method: "PUT" })));
    await finished(id);
    expect(await json(test.call(at(id, "/status")))).toMatchObject({ status: "COMPLETED", logs: null });
    const done = await test.call(at(id, "/status?logs=true"));
    expect(done.status).toBe(200);
    const body = await json(done);
    expect(Array.isArray(body.logs)).toBe(true);
    expect((body.metrics as Body).inference_time).toBeGreaterThan(0.3);
  });

  it("finds the same request by the short form, the full form and with trailing slashes", async () => {
    const id = await submit({});
    await finished(id);
    for (const path of [
      at(id, "/status"),
      at(id, "/status/"),
      `/queue/tempera/stub/some/path/requests/${id}/status`,
    ]) {
      const body = await json(test.call(path));
      expect(body.request_id).toBe(id);
    }
    const bare = await (await test.call(at(id))).text();
    for (const path of [at(id, "/"), at(id, "/response"), at(id, "/response/")])
      expect(await (await test.call(path)).text()).toBe(bare);
  });

  it("is 404 NOT_FOUND for an unknown, a malformed and another owner's id", async () => {
    const id = await submit({});
    const made = await test.client.admin<{ key: string }>("POST", "/v1/keys", {
      alias: "stranger",
      owner: "stranger",
    });
    const stranger = { headers: { authorization: `Key ${made.key}` } };
    for (const answer of [
      await test.call(at("0190aaaa-0000-7000-8000-000000000000", "/status")),
      await test.call(at("nonsense", "/status")),
      await test.call(at(id, "/status"), stranger),
      await test.call(at(id, "/cancel"), { ...stranger, method: "PUT" }),
    ]) {
      expect(answer.status).toBe(404);
      expect(await json(answer)).toEqual({ status: "NOT_FOUND" });
    }
    const result = await test.call(at(id), stranger);
    expect(result.status).toBe(404);
    expect(await json(result)).toEqual({ detail: "Request not found" });
    await finished(id);
  });
});

describe("status stream", () => {
  const read = async (id: string, headers: Record<string, string> = {}): Promise<string> =>
    (await test.call(at(id, "/status/stream?logs=1"), { headers })).text();

  it("streams every state and ends after COMPLETED, whatever the Accept header is", async () => {
    const id = await submit({ delay_ms: 200, steps: 5 });
    const response = await test.call(at(id, "/status/stream"), { headers: { accept: "application/json" } });
    expect(response.headers.get("content-type")).toMatch(/^text\/event-stream/);
    const text = await response.text();
    const states = [...text.matchAll(/^data: (.*)$/gm)].map(([, data]) => JSON.parse(data as string).status);
    expect(states.at(-1)).toBe("COMPLETED");
    expect(states.filter((state) => state === "COMPLETED")).toHaveLength(1);
  });

  it("sends one COMPLETED event when it is opened after the end", async () => {
    const id = await submit({});
    await finished(id);
    const events = (await read(id)).trim().split("\n\n");
    expect(events).toHaveLength(1);
    expect(JSON.parse(events[0]?.split("data: ")[1] ?? "").status).toBe("COMPLETED");
  });

  it("resumes after Last-Event-ID without sending a log line twice", async () => {
    const id = await submit({ delay_ms: 50, steps: 3, unknown_field: 1 });
    await finished(id);
    const whole = await read(id);
    const logs = (text: string): string[] =>
      [...text.matchAll(/^data: (.*)$/gm)].flatMap(([, data]) =>
        (JSON.parse(data as string).logs ?? []).map((line: Body) => line.message),
      );
    expect(logs(whole).length).toBeGreaterThan(0);
    const lastId = [...whole.matchAll(/^id: (.*)$/gm)].at(-1)?.[1] ?? "";
    expect(logs(await read(id, { "last-event-id": lastId }))).toEqual([]);
    expect(logs(await read(id, { "last-event-id": "garbage" }))).toEqual(logs(whole));
  });

  it("answers 404 as JSON before the stream opens", async () => {
    const response = await test.call(at("0190aaaa-0000-7000-8000-000000000000", "/status/stream"));
    expect(response.status).toBe(404);
    expect(await json(response)).toEqual({ status: "NOT_FOUND" });
  });
});

describe("cancel", () => {
  it("stops a running request; its result is 499, and a second cancel is 400", async () => {
    const id = await submit({ fail: "hang" });
    let cancelled = false;
    for await (const status of test.client.follow(STUB, id)) {
      if (status.status === "IN_PROGRESS" && !cancelled) {
        cancelled = true;
        const answer = await test.call(at(id, "/cancel"), { method: "PUT" });
        expect(answer.status).toBe(202);
        expect(await json(answer)).toEqual({ status: "CANCELLATION_REQUESTED" });
      }
      if (status.status === "COMPLETED") expect(status).toMatchObject({ error_type: "client_cancelled" });
    }
    const result = await test.call(at(id));
    expect(result.status).toBe(499);
    expect(result.headers.get("x-fal-error-type")).toBe("client_cancelled");
    const again = await test.call(at(id, "/cancel"), { method: "PUT" });
    expect(again.status).toBe(400);
    expect(await json(again)).toEqual({ status: "ALREADY_COMPLETED" });
  });

  it("keeps a waiting request from ever starting", async () => {
    const blockers = await Promise.all(Array.from({ length: 64 }, () => submit({ delay_ms: 5_000 })));
    await Promise.all(blockers.map(running));
    const id = await submit({});
    expect((await test.call(at(id, "/cancel"), { method: "PUT" })).status).toBe(202);
    const states: string[] = [];
    for await (const { status } of test.client.follow(STUB, id)) states.push(status);
    expect(states).not.toContain("IN_PROGRESS");
    await Promise.all(blockers.map((blocker) => test.call(at(blocker, "/cancel"), { method: "PUT" })));
    await Promise.all(blockers.map(finished));
  });
});

describe("result", () => {
  it("is 400 before the end", async () => {
    const id = await submit({ delay_ms: 300 });
    const early = await test.call(at(id));
    expect(early.status).toBe(400);
    expect(await json(early)).toEqual({ detail: "Request is still in progress" });
    await finished(id);
  });

  it("carries inputs and outputs over the inline limit", async () => {
    const payload = { text: "é😀".repeat(40_000) };
    const id = await submit({ payload });
    await finished(id);
    expect(JSON.stringify(await json(test.call(at(id))))).toContain(payload.text);
  });
});

describe("jobs", () => {
  it("end with 504 as the user's timeout when they do not start within X-Fal-Request-Timeout", async () => {
    const blockers = await Promise.all(Array.from({ length: 64 }, () => submit({ delay_ms: 6_000 })));
    await Promise.all(blockers.map(running));
    const id = await submit({}, { "x-fal-request-timeout": "1.0" });
    await finished(id);
    const result = await test.call(at(id));
    expect(result.status).toBe(504);
    expect(result.headers.get("x-fal-request-timeout-type")).toBe("user");
    expect(result.headers.get("x-fal-error-type")).toBe("startup_timeout");
    await Promise.all(blockers.map((blocker) => test.call(at(blocker, "/cancel"), { method: "PUT" })));
    await Promise.all(blockers.map(finished));
  });

  it("do not end by a start deadline once they run", async () => {
    // Long enough for a busy machine to start it.
    const id = await submit({ delay_ms: 11_000 }, { "x-fal-request-timeout": "10" });
    await finished(id);
    expect((await test.call(at(id))).status).toBe(200);
  });

  it("run again after an engine crash: IN_PROGRESS, back to IN_QUEUE, then the output", async () => {
    const id = await submit({ delay_ms: 20, fail: "crash", fail_attempts: 1 });
    const states: string[] = [];
    for await (const { status } of test.client.follow(STUB, id))
      if (states.at(-1) !== status) states.push(status);
    expect(states.join(" ")).toMatch(/IN_PROGRESS IN_QUEUE IN_PROGRESS COMPLETED$/);
    expect(await json(test.call(at(id)))).toMatchObject({ attempt: 2 });
  });

  it("end with the request error and a dead letter after two crashes", async () => {
    const id = await submit({ fail: "crash" });
    await finished(id);
    const result = await test.call(at(id));
    expect(result.status).toBe(422);
    expect(await json(result)).toMatchObject({ error_type: "input_quarantined" });
    await expect.poll(async () => (await test.deadLetters()).map(({ requestId }) => requestId)).toContain(id);
  });

  it("have one attempt only with X-Fal-No-Retry", async () => {
    const id = await submit({ fail: "crash", fail_attempts: 1 }, { "x-fal-no-retry": "true" });
    await finished(id);
    expect((await test.call(at(id))).status).toBe(503);
  });

  it("do not retry a model's own failure", async () => {
    const id = await submit({ fail: "error" });
    await finished(id);
    const result = await test.call(at(id));
    expect(result.status).toBe(500);
    expect(await json(result)).toMatchObject({ error_type: "runner_server_error" });
  });

  it("of low priority wait behind later normal ones", async () => {
    const blockers = await Promise.all(Array.from({ length: 64 }, () => submit({ delay_ms: 60_000 })));
    await Promise.all(blockers.map(running));
    const low = await Promise.all(
      Array.from({ length: 10 }, () => submit({ delay_ms: 200 }, { "x-fal-queue-priority": "low" })),
    );
    await expect.poll(() => test.backlog(STUB)).toBe(10);
    const normal = await Promise.all(Array.from({ length: 10 }, () => submit({ delay_ms: 200 })));
    await expect.poll(() => test.backlog(STUB)).toBe(20);
    const started = async (id: string): Promise<number> => {
      await finished(id);
      return (await test.record(id))?.startedAtMs ?? Number.NaN;
    };
    await test.call(at(blockers[0] as string, "/cancel"), { method: "PUT" });
    const [lows, normals] = await Promise.all([
      Promise.all(low.map(started)),
      Promise.all(normal.map(started)),
    ]);
    expect(Math.max(...normals)).toBeLessThan(Math.min(...lows));
    await Promise.all(
      blockers.slice(1).map((blocker) => test.call(at(blocker, "/cancel"), { method: "PUT" })),
    );
    await Promise.all(blockers.map(finished));
  });
});

describe("artifacts", () => {
  it("are served with Range, HEAD, content type, CORS and immutable caching", async () => {
    const id = await submit({ artifact_bytes: 100_000, seed: 7 });
    await finished(id);
    const { file } = (await json(test.call(at(id)))) as {
      file: { url: string; file_size: number; content_type: string };
    };
    const whole = await fetch(file.url, { headers: { origin: "http://example.test" } });
    const bytes = Buffer.from(await whole.arrayBuffer());
    expect(bytes.length).toBe(100_000);
    expect(whole.headers.get("content-type")).toBe(file.content_type);
    expect(whole.headers.get("cache-control")).toContain("immutable");
    expect(whole.headers.get("access-control-allow-origin")).toBe("*");
    const head = await fetch(file.url, { method: "HEAD" });
    expect(head.headers.get("content-length")).toBe("100000");
    const part = await fetch(file.url, { headers: { range: "bytes=10-19" } });
    expect(part.status).toBe(206);
    expect(part.headers.get("content-range")).toBe("bytes 10-19/100000");
    expect(Buffer.from(await part.arrayBuffer())).toEqual(bytes.subarray(10, 20));
    expect((await fetch(file.url, { headers: { range: "bytes=200000-" } })).status).toBe(416);
    expect(
      (await fetch(file.url, { headers: { "if-none-match": whole.headers.get("etag") ?? "" } })).status,
    ).toBe(304);
    for (const bad of ["/files/../key", "/files/ab/..%2f..%2fkey", "/files/aa/xyz.png", "/files/"]) {
      expect((await fetch(`${test.platform.url}${bad}`)).status).toBe(404);
    }
  });
});
