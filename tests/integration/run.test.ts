/** One call: sync runs and streams, over HTTP and with the official client. */
import { createFalClient, ValidationError } from "@fal-ai/client";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const STUB = "tempera/stub";
const QWEN = "fal-ai/qwen-image";
const RUNS_MAX = 4;

let test: TestPlatform;
beforeAll(async () => {
  test = await startTestPlatform({ TEMPERA_RUNS_MAX: String(RUNS_MAX) });
});
afterAll(() => test[Symbol.asyncDispose]());

const post = (path: string, input: object, init: RequestInit = {}): Promise<Response> =>
  test.call(path, { method: "POST", body: JSON.stringify(input), ...init });
const client = () =>
  createFalClient({
    credentials: test.platform.key,
    proxyUrl: { url: `${test.platform.url}/api/fal/proxy`, when: "always" },
  });
/** Waits for the end of a request and reads its status from the queue API. */
async function ending(requestId: string): Promise<{ error_type?: string }> {
  for await (const { data } of events(await test.call(`/queue/${STUB}/requests/${requestId}/status/stream`)))
    if ((data as { status?: string }).status === "COMPLETED") return data as { error_type?: string };
  throw new Error("the status stream ended before the request had");
}

interface SentEvent {
  id?: string;
  // biome-ignore lint/suspicious/noExplicitAny: each test knows what it reads
  data: any;
}
/** Reads a stream of events. Throws for a refusal, which would pass for a stream without events. */
async function* events(response: Response): AsyncGenerator<SentEvent> {
  if (!response.ok) throw new Error(`the stream was refused: ${response.status} ${await response.text()}`);
  let text = "";
  const chunks = (response.body ?? new Blob([]).stream()).pipeThrough(new TextDecoderStream());
  for await (const chunk of chunks as unknown as AsyncIterable<string>) {
    text += chunk;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const lines = text.slice(0, end).split("\n");
      text = text.slice(end + 2);
      const field = (name: string) =>
        lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      const [id, data] = [field("id"), field("data")];
      if (data !== undefined) yield { ...(id !== undefined && { id }), data: JSON.parse(data) };
    }
  }
}
async function all(response: Response): Promise<SentEvent[]> {
  const sent: SentEvent[] = [];
  for await (const event of events(response)) sent.push(event);
  return sent;
}

describe("a sync run", () => {
  it.each([`/run/${STUB}`, `/${STUB}`, `/${STUB}/`])(
    "POST %s answers with the bare output and says who served it",
    async (path) => {
      const answer = await post(path, { prompt: "hello", seed: 7 });
      expect(answer.status).toBe(200);
      expect(await answer.json()).toEqual({ echo: "hello", attempt: 1, seed: 7 });
      expect(Object.fromEntries(answer.headers)).toMatchObject({
        "content-type": "application/json",
        "x-fal-request-id": expect.stringMatching(/^[0-9a-f-]{36}$/),
        "x-fal-billable-units": "1",
        "x-fal-served-from": expect.stringMatching(/./),
      });
    },
  );

  it("is a request like any other, which the queue API shows", async () => {
    const requestId = (await post(`/${STUB}`, { prompt: "kept" })).headers.get("x-fal-request-id") ?? "";
    expect(await (await test.call(`/queue/${STUB}/requests/${requestId}`)).json()).toMatchObject({
      echo: "kept",
    });
    expect((await test.record(requestId))?.outcome?.ok).toBe(true);
  });

  it("accepts a start timeout of a month, longer than a timer of Node can be", async () => {
    const answer = await post(
      `/${STUB}`,
      { prompt: "patient" },
      { headers: { "x-fal-request-timeout": "2592000" } },
    );
    expect([answer.status, await answer.json()]).toMatchObject([200, { echo: "patient" }]);
  });

  it("reads the input of GET from the query, each value with the type of the schema", async () => {
    const answer = await test.call(`/${STUB}?prompt=12&seed=5&delay_ms=1&steps=2&fal_anything=x`);
    expect(answer.status).toBe(200);
    expect(await answer.json()).toEqual({ echo: "12", attempt: 1, seed: 5 });
    const refused = await test.call(`/${STUB}?delay_ms=soon`);
    expect(refused.status).toBe(422);
    expect(await refused.json()).toMatchObject({ detail: [{ loc: ["body", "delay_ms"] }] });
  });

  it.each([
    ["PUT", `/${STUB}`, 405, { detail: "Method Not Allowed" }],
    ["POST", "/nobody/nothing", 404, { detail: 'Application "nothing" not found' }],
    ["POST", `/${STUB}/nowhere`, 404, { detail: "Path /nowhere not found" }],
    ["POST", "/one", 404, { detail: "Path /one not found" }],
  ])("%s %s: %i", async (method, path, status, body) => {
    const answer = await test.call(path, { method });
    expect([answer.status, await answer.json()]).toEqual([status, body]);
    expect(answer.headers.get("x-fal-request-id")).toBeTruthy();
  });

  it("401 without a key", async () => {
    const answer = await fetch(`${test.platform.url}/${STUB}`, { method: "POST", body: "{}" });
    expect(answer.status).toBe(401);
  });

  it("answers a failure with its own status, without a second attempt", async () => {
    const refused = await post(`/${STUB}`, { fail: "invalid" });
    expect(refused.status).toBe(422);
    const crashed = await post(`/${STUB}`, { fail: "crash", fail_attempts: 1 });
    expect(crashed.status).toBe(503);
    expect(crashed.headers.get("x-fal-error-type")).toBe("runner_disconnected");
    expect(crashed.headers.get("x-fal-needs-retry")).toBe("1");
    const record = await test.record(crashed.headers.get("x-fal-request-id") ?? "");
    expect(record).toMatchObject({ attempts: 1 });
  });

  it("leaves no dead letter, nor does a stream: the caller gets the error and retries", async () => {
    const run = await post(`/${STUB}`, { fail: "crash", prompt: "run" });
    const stream = await post(`/${STUB}/stream`, { fail: "crash", prompt: "stream" });
    expect((await all(stream)).at(-1)?.data).toMatchObject({ type: "error", error: { status: 503 } });
    // Nobody waits for a queue request without a second attempt, so it leaves a dead letter.
    const { request_id: queued } = (await (
      await post(`/queue/${STUB}`, { fail: "crash", prompt: "queue" }, { headers: { "x-fal-no-retry": "1" } })
    ).json()) as {
      request_id: string;
    };
    const ids = [run, stream].map((answer) => answer.headers.get("x-fal-request-id") ?? "");
    // The dead letter is written with the outcome or not at all.
    for (const id of [...ids, queued]) expect((await test.record(id))?.outcome?.ok).toBe(false);
    const letters = (await test.deadLetters()).map(({ requestId }) => requestId);
    expect(letters).toContain(queued);
    for (const id of ids) expect(letters).not.toContain(id);
    expect((await post(`/${STUB}`, {})).status).toBe(200);
  });

  it.each([
    ["image_too_small", { min_width: 64, min_height: 64 }, 422, "false"],
    ["internal_server_error", undefined, 500, "false"],
    ["generation_timeout", undefined, 504, "true"],
    ["downstream_service_error", undefined, 400, "false"],
    ["downstream_service_unavailable", undefined, 500, "true"],
  ])(
    "answers a model error of its engine with its type, status and numbers: %s",
    async (type, ctx, status, retryable) => {
      const answer = await post(`/${STUB}`, {
        fail: "model",
        error_type: type,
        ...(ctx && { error_ctx: ctx }),
      });
      expect(answer.status).toBe(status);
      expect(answer.headers.get("x-fal-retryable")).toBe(retryable);
      const fault = { msg: expect.any(String), type, url: `https://docs.fal.ai/errors/#${type}` };
      const loc = ctx ? ["body", "fail"] : ["body"];
      expect(await answer.json()).toEqual({ detail: [{ loc, ...fault, ...(ctx && { ctx }) }] });
      if (status === 500) {
        const requestId = answer.headers.get("x-fal-request-id") ?? "";
        expect(await ending(requestId)).toMatchObject({
          error: "Invalid status code: 500",
          error_type: type,
        });
      }
    },
  );

  it("is cancelled when its caller disconnects", async () => {
    const leaving = new AbortController();
    const start = new Date();
    const answer = post(`/${STUB}`, { delay_ms: 60_000, steps: 600 }, { signal: leaving.signal }).catch(
      (error: Error) => error.name,
    );
    let requestId: string | undefined;
    while (requestId === undefined)
      requestId = [...(await test.workflowsSince(start, "inferenceJob"))].find(
        ([, state]) => state === "RUNNING",
      )?.[0];
    leaving.abort();
    expect(await answer).toBe("AbortError");
    expect(await ending(requestId)).toMatchObject({ error_type: "client_cancelled" });
  });

  it("answers the caller's start deadline with 504", async () => {
    const width = 64;
    const blockers = await Promise.all(
      Array.from({ length: width }, () =>
        post(`/queue/${STUB}`, { delay_ms: 60_000 }).then(
          (answer) => answer.json() as Promise<{ request_id: string }>,
        ),
      ),
    );
    try {
      await Promise.all(blockers.map(({ request_id }) => started(request_id)));
      const answer = await post(`/${STUB}`, {}, { headers: { "x-fal-request-timeout": "0.3" } });
      expect(answer.status).toBe(504);
      expect(answer.headers.get("x-fal-request-timeout-type")).toBe("user");
    } finally {
      for (const { request_id } of blockers)
        await test.call(`/queue/${STUB}/requests/${request_id}/cancel`, { method: "PUT" });
      for (const { request_id } of blockers) await ending(request_id);
    }

    // Status streams count as open calls, and this owner may have few.
    async function started(id: string): Promise<void> {
      const status = async () => (await test.call(`/queue/${STUB}/requests/${id}/status`)).json();
      await expect.poll(status).toMatchObject({ status: "IN_PROGRESS" });
    }
  });

  it("applies the start deadline while the engine is still loading", async () => {
    // Each early death makes the next start wait longer: half a second after the second, and the start itself
    // takes as long.
    for (let i = 0; i < 2; i++) expect((await post(`/${STUB}`, { fail: "crash" })).status).toBe(503);
    const answer = await post(`/${STUB}`, {}, { headers: { "x-fal-request-timeout": "0.3" } });
    expect([answer.status, answer.headers.get("x-fal-request-timeout-type")]).toEqual([504, "user"]);
    expect(await answer.json()).toMatchObject({ error_type: "startup_timeout" });
    expect((await post(`/${STUB}`, {})).status).toBe(200);
  });

  it("limits the calls that an owner has open, and counts ended ones no longer", async () => {
    const leaving = new AbortController();
    const open = Array.from({ length: RUNS_MAX }, () =>
      post(`/${STUB}/stream`, { delay_ms: 60_000 }, { signal: leaving.signal }).then(
        (answer) => answer.status,
      ),
    );
    expect(await Promise.all(open)).toEqual(open.map(() => 200));
    const refused = await post(`/${STUB}`, {});
    expect(refused.status).toBe(429);
    expect(await refused.json()).toMatchObject({ error_type: "concurrent_requests_limit" });
    expect(Object.fromEntries(refused.headers)).toMatchObject({
      "x-fal-error-type": "concurrent_requests_limit",
      "x-fal-needs-retry": "1",
      "retry-after": expect.stringMatching(/^\d+$/),
    });
    leaving.abort();
    await expect.poll(async () => (await post(`/${STUB}`, {})).status).toBe(200);
    for (let i = 0; i < RUNS_MAX * 2; i++) await post(`/${STUB}`, { fail: "invalid" });
    expect((await post(`/${STUB}`, {})).status).toBe(200);
  });

  it("answers data URIs with sync_mode", async () => {
    const answer = await post(`/${QWEN}`, {
      prompt: "a small red circle on a blue background",
      num_inference_steps: 2,
      sync_mode: true,
    });
    const { images } = (await answer.json()) as { images: { url: string }[] };
    expect(images[0]?.url).toMatch(/^data:image\/png;base64,/);
  });

  it("serves the official client", async () => {
    const { data, requestId } = await client().run(STUB, { input: { prompt: "from the client" } });
    expect(data).toMatchObject({ echo: "from the client" });
    expect(requestId).toMatch(/^[0-9a-f-]{36}$/);
    const viaGet = await client().run(STUB, { input: { prompt: "by query" }, method: "get" });
    expect(viaGet.data).toMatchObject({ echo: "by query" });
    const failure = await client()
      .run(STUB, { input: { steps: -1 } })
      .catch((error) => error);
    expect(failure).toBeInstanceOf(ValidationError);
  });
});

describe("a stream", () => {
  it("sends each step, and the whole output last", async () => {
    const answer = await post(`/${STUB}/stream`, { prompt: "é 🙂", delay_ms: 60, steps: 3 });
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      "content-type": "text/event-stream",
      "x-fal-request-id": expect.stringMatching(/./),
    });
    const sent = (await all(answer)).map(({ data }) => data);
    expect(sent.filter(({ type }) => type === "progress").map(({ step, steps }) => [step, steps])).toEqual([
      [1, 3],
      [2, 3],
      [3, 3],
    ]);
    expect(sent.at(-1)).toEqual({ echo: "é 🙂", attempt: 1, seed: expect.anything() });
  });

  it("sends previews, images of the unfinished output, where the model makes them", async () => {
    const answer = await post(`/${STUB}/stream`, { steps: 2, previews: true });
    const sent = (await all(answer)).map(({ data }) => data);
    expect(sent.map(({ type }) => type)).toEqual(["preview", "progress", "preview", "progress", undefined]);
    expect(sent[0]).toMatchObject({
      step: 1,
      images: [{ url: expect.stringMatching(/^data:image\/png;base64,iVBOR/), content_type: "image/png" }],
    });
    // Nobody streams a queue request: no preview is made for it, and its status stream shows none.
    const { request_id } = (await (await post(`/queue/${STUB}`, { steps: 2, previews: true })).json()) as {
      request_id: string;
    };
    await ending(request_id);
  });

  it("sends images as previews of an image, at little cost to the run", async () => {
    const input = { prompt: "a large red circle on a blue background", num_inference_steps: 12, seed: 5 };
    const sent = (await all(await post(`/${QWEN}/stream`, input))).map(({ data }) => data);
    const previews = sent.filter(({ type }) => type === "preview");
    expect(previews.length).toBeGreaterThan(0);
    expect(previews.length).toBeLessThan(12);
    for (const { images } of previews) {
      const bytes = Buffer.from(images[0].url.split(",")[1], "base64");
      expect(bytes.length).toBeLessThan(48 * 1024);
      expect(await sharp(bytes).metadata()).toMatchObject({ format: "jpeg", width: 256 });
    }
    expect(sent.at(-1).images[0].url).toMatch(/^http/);
    // The image is the same with and without previews.
    const plain = (await (await post(`/${QWEN}`, input)).json()) as { images: { url: string }[] };
    expect(plain.images[0]?.url).toBe(sent.at(-1).images[0].url);
  });

  it("ends a failure with an error event and a clean end", async () => {
    const sent = await all(await post(`/${STUB}/stream`, { fail: "error" }));
    expect(sent.map(({ data }) => data)).toEqual([
      {
        type: "error",
        message: expect.stringMatching(/./),
        error: {
          status: 500,
          body: { detail: expect.stringMatching(/./), error_type: "runner_server_error" },
        },
      },
    ]);
  });

  it("refuses an invalid input before it opens", async () => {
    const refused = await post(`/${STUB}/stream`, { steps: "many" });
    expect(refused.status).toBe(422);
    expect(refused.headers.get("content-type")).toBe("application/json");
  });

  it("resumes after Last-Event-ID with the remaining events of the same job, once each", async () => {
    const first = new AbortController();
    const answer = await post(`/${STUB}/stream`, { delay_ms: 1_500, steps: 15 }, { signal: first.signal });
    const requestId = answer.headers.get("x-fal-request-id");
    const seen: SentEvent[] = [];
    for await (const event of events(answer)) {
      seen.push(event);
      if (seen.length === 3) break;
    }
    first.abort();
    const headers = { "last-event-id": seen.at(-1)?.id ?? "" };
    const resumed = await post(`/${STUB}/stream`, {}, { headers });
    expect(resumed.headers.get("x-fal-request-id")).toBe(requestId);
    const rest = await all(resumed);
    const steps = [...seen, ...rest].flatMap(({ data }) => (data.type === "progress" ? [data.step] : []));
    expect(steps).toEqual(Array.from({ length: 15 }, (_, i) => i + 1));
    expect(rest.at(-1)?.data).toMatchObject({ attempt: 1 });
    // A browser connects again after a clean end, and stops at 204.
    const over = await test.call(`/${STUB}/stream`, { headers: { "last-event-id": rest.at(-1)?.id ?? "" } });
    expect([over.status, over.headers.get("cache-control")]).toEqual([204, "no-store"]);
  });

  it("does not resume another owner's or another model's stream, or an unknown id", async () => {
    const sent = await all(await post(`/${STUB}/stream`, {}));
    const id = sent.at(-1)?.id ?? "";
    for (const headers of [{ "last-event-id": "garbage" }, { "last-event-id": `${id}x` }]) {
      expect((await post(`/${STUB}/stream`, {}, { headers })).status).toBe(404);
    }
    expect(
      (await post(`/${QWEN}/stream`, { prompt: "x" }, { headers: { "last-event-id": id } })).status,
    ).toBe(404);
  });

  it("treats an empty Last-Event-ID as absent", async () => {
    const sent = await all(
      await post(`/${STUB}/stream`, { prompt: "new" }, { headers: { "last-event-id": "" } }),
    );
    expect(sent.at(-1)?.data).toMatchObject({ echo: "new" });
  });

  it("does not resume a queue request, which therefore no disconnect can cancel", async () => {
    const { request_id } = (await (
      await post(`/queue/${STUB}`, { delay_ms: 60_000, steps: 600 })
    ).json()) as { request_id: string };
    const refused = await post(`/${STUB}/stream`, {}, { headers: { "last-event-id": `${request_id}/0-0` } });
    expect([refused.status, await refused.json()]).toEqual([404, { detail: "Request not found" }]);
    await test.call(`/queue/${STUB}/requests/${request_id}/cancel`, { method: "PUT" });
    await ending(request_id);
  });

  it("is cancelled when its caller does not return", async () => {
    const leaving = new AbortController();
    const answer = await post(
      `/${STUB}/stream`,
      { delay_ms: 60_000, steps: 600 },
      { signal: leaving.signal },
    );
    for await (const _ of events(answer)) break;
    leaving.abort();
    expect(await ending(answer.headers.get("x-fal-request-id") ?? "")).toMatchObject({
      error_type: "client_cancelled",
    });
  });

  it("accepts a token in the query, for its app only, until it expires", async () => {
    const tokenFor = async (apps: string[], seconds = 60) =>
      (await (
        await post("/rest/tokens/", { allowed_apps: apps, token_expiration: seconds })
      ).json()) as string;
    const open = (token: string) =>
      fetch(`${test.platform.url}/${STUB}/stream?fal_jwt_token=${token}`, { method: "POST", body: "{}" });
    const good = await open(await tokenFor(["stub"]));
    expect(good.status).toBe(200);
    expect((await all(good)).length).toBeGreaterThan(0);
    expect((await open(await tokenFor(["other"]))).status).toBe(403);
    const forged = await open("a.b.c");
    expect([forged.status, forged.headers.get("content-type")]).toEqual([401, "application/json"]);
  });

  it("serves the official client: its events, and its done() with the output", async () => {
    const stream = await client().stream(STUB, { input: { prompt: "streamed", delay_ms: 40, steps: 2 } });
    const sent: unknown[] = [];
    for await (const event of stream) sent.push(event);
    expect(sent).toHaveLength(3);
    expect(await stream.done()).toEqual(sent.at(-1));
    expect(sent.at(-1)).toMatchObject({ echo: "streamed" });
  });
});
