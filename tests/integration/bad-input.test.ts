import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isRequestId } from "../../src/core/requests/request.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const QWEN = "/queue/fal-ai/qwen-image";
let test: TestPlatform;
beforeAll(async () => {
  test = await startTestPlatform();
});
afterAll(() => test[Symbol.asyncDispose]());

const send = (body: string | Buffer, path = QWEN, headers: Record<string, string> = {}): Promise<Response> =>
  test.call(path, { method: "POST", body, headers: { "content-type": "application/json", ...headers } });

/** Checks a refusal before the queue: the contract's status and body, an id, and no job with that id. */
async function refused(response: Response, status: number): Promise<{ detail: unknown }> {
  expect(response.status).toBe(status);
  const id = response.headers.get("x-fal-request-id") ?? "";
  expect(isRequestId(id)).toBe(true);
  const body = (await response.json()) as { detail: unknown };
  expect(body.detail).toBeTruthy();
  const after = await test.call(`${QWEN}/requests/${id}/status`);
  expect(after.status).toBe(404);
  return body;
}

const faults = async (
  input: unknown,
): Promise<{ loc: unknown[]; type: string; msg: string; ctx?: object }[]> =>
  (await refused(await send(JSON.stringify(input)), 422)).detail as {
    loc: unknown[];
    type: string;
    msg: string;
  }[];

describe("422 in fal's format", () => {
  it("for a missing field", async () => {
    expect(await faults({})).toMatchObject([
      { loc: ["body", "prompt"], msg: "Field required", type: "missing" },
    ]);
  });
  it("for wrong types", async () => {
    const found = await faults({ prompt: 5, num_images: "two", enable_safety_checker: "maybe" });
    expect(found.map(({ loc, type }) => [loc[1], type])).toEqual(
      expect.arrayContaining([
        ["prompt", "string_type"],
        ["num_images", "int_parsing"],
        ["enable_safety_checker", "bool_parsing"],
      ]),
    );
  });
  it("not for values that can be read as the right type: the model gets what was read", async () => {
    const input = {
      payload: "7",
      steps: "2",
      sync_mode: "off",
      delay_ms: "0",
    };
    const answer = await send(JSON.stringify(input), "/run/tempera/stub");
    expect([answer.status, ((await answer.json()) as { echo?: unknown }).echo]).toMatchObject([200, "7"]);
  });
  it("for numbers out of range, with their limits", async () => {
    const found = await faults({ prompt: "x", num_inference_steps: 9999, guidance_scale: -1, num_images: 0 });
    expect(found).toEqual(
      expect.arrayContaining([
        expect.objectContaining({
          loc: ["body", "num_inference_steps"],
          type: "less_than_equal",
          ctx: { le: 250 },
        }),
        expect.objectContaining({
          loc: ["body", "guidance_scale"],
          type: "greater_than_equal",
          ctx: { ge: 0 },
        }),
        expect.objectContaining({ loc: ["body", "num_images"], type: "greater_than_equal", ctx: { ge: 1 } }),
      ]),
    );
  });
  it("for an unknown image size, and for one that is too small", async () => {
    expect(await faults({ prompt: "x", image_size: "enormous" })).toMatchObject([
      { loc: ["body", "image_size"], type: "one_of" },
    ]);
    expect(await faults({ prompt: "x", image_size: { width: 0, height: 512 } })).toMatchObject([
      { loc: ["body", "image_size", "width"] },
    ]);
  });
  it("for features that this model does not have", async () => {
    expect(
      await faults({ prompt: "x", loras: [{ path: "https://example.test/a.safetensors" }] }),
    ).toMatchObject([{ loc: ["body", "loras"], type: "feature_not_supported" }]);
    expect(await faults({ prompt: "x", acceleration: "high" })).toMatchObject([
      { loc: ["body", "acceleration"], type: "feature_not_supported" },
    ]);
  });
  it("for a prompt of 1 MB", async () => {
    expect(await faults({ prompt: "a".repeat(1_000_000) })).toMatchObject([
      { loc: ["body", "prompt"], type: "sequence_too_long" },
    ]);
  });
  it("for NUL bytes and lone surrogates", async () => {
    expect(await faults({ prompt: "a\u0000b" })).toMatchObject([
      { loc: ["body", "prompt"], type: "value_error" },
    ]);
    expect((await refused(await send('{"prompt": "\\ud800"}'), 422)).detail).toMatchObject([
      { loc: ["body", "prompt"], type: "value_error" },
    ]);
  });
  it("for deep nesting", async () => {
    const deep = `{"prompt": "x", "extra": ${"[".repeat(100_000)}${"]".repeat(100_000)}}`;
    await refused(await send(deep), 422);
  });
  it("for arrays, strings, numbers and null in place of an object", async () => {
    for (const body of ["[]", '"text"', "null", "5"]) await refused(await send(body), 422);
  });
  it("for an input that names Object.prototype, which it does not reach", async () => {
    await refused(
      await send('{"__proto__": {"prompt": "x"}, "constructor": {"prototype": {"polluted": 1}}}'),
      422,
    );
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });
});

describe("bodies that are not inputs", () => {
  it("are 400 as malformed JSON", async () => {
    for (const body of ["{", "prompt=hello", "{'prompt': 1}", Buffer.from([0xff, 0xfe, 0x00])])
      await refused(await send(body), 400);
  });
  it("are 413 at 50 MB, with a declared length or without", async () => {
    const big = Buffer.alloc(50_000_000, 0x61);
    await refused(await send(big), 413);
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        for (let i = 0; i < 50; i++) controller.enqueue(big.subarray(0, 1_000_000));
        controller.close();
      },
    });
    const chunked = await test.call(QWEN, {
      method: "POST",
      body: stream,
      duplex: "half",
      headers: { "content-type": "application/json" },
    } as RequestInit);
    await refused(chunked, 413);
  });
});

describe("prompts in any script", () => {
  it("are accepted: Chinese, Arabic, emoji, combining marks, right-to-left, very long words", async () => {
    for (const prompt of [
      "一个红色的圆",
      "دائرة حمراء كبيرة",
      "🔴🔵👩‍👩‍👧‍👦",
      "é̂ñ̃",
      "\u202eabc",
      "x".repeat(5000),
      " ",
      "",
    ]) {
      const response = await send(JSON.stringify({ prompt, num_inference_steps: 2, image_size: "square" }));
      expect(response.status).toBe(200);
      const { request_id: id } = (await response.json()) as { request_id: string };
      for await (const status of test.client.follow("fal-ai/qwen-image", id))
        expect(status.error).toBeUndefined();
      const output = (await (await test.call(`${QWEN}/requests/${id}`)).json()) as { prompt: string };
      expect(output.prompt).toBe(prompt);
    }
  });
});

describe("authentication and routing", () => {
  it("answers 401 to a missing, malformed, unknown or revoked key", async () => {
    const cases: [Record<string, string>, RegExp][] = [
      [{ authorization: "" }, /Authentication is required/],
      [{ authorization: "Key nonsense" }, /Invalid Key Authorization header format/],
      [{ authorization: "Basic YTpi" }, /Invalid Key Authorization header format/],
      [{ authorization: "Key 0190aaaa-0000-7000-8000-000000000000:secret" }, /No user found/],
      [{ authorization: `Key ${test.platform.key}x` }, /No user found/],
    ];
    for (const [headers, message] of cases) {
      const response = await send('{"prompt":"x"}', QWEN, headers);
      expect(response.status).toBe(401);
      expect(((await response.json()) as { detail: string }).detail).toMatch(message);
      expect(response.headers.get("x-fal-request-id")).toBeTruthy();
    }
    const made = await test.client.admin<{ key: string; key_id: string }>("POST", "/v1/keys", {
      alias: "short-lived",
    });
    const status = async (): Promise<number> =>
      (await send("{}", QWEN, { authorization: `Key ${made.key}` })).status;
    expect(await status()).toBe(422);
    await test.client.admin("DELETE", `/v1/keys/${made.key_id}`);
    await expect.poll(status, { interval: 50 }).toBe(401);
  });

  it("answers 404 to an unknown application and an unknown path", async () => {
    const app = await refused(await send("{}", "/queue/nobody/nothing"), 404);
    expect(app.detail).toBe('Application "nothing" not found');
    const path = await refused(await send("{}", `${QWEN}/no/such/path`), 404);
    expect(path.detail).toBe("Path /no/such/path not found");
    for (const bad of [
      "/queue/",
      "/queue/one",
      "/queue/files/x",
      "/nowhere",
      "/queue/a/b%00c",
      "/queue/%2e%2e/x",
    ]) {
      expect((await send("{}", bad)).status).toBe(404);
    }
  });

  it("answers 405 to a wrong method", async () => {
    const id = "0190aaaa-0000-7000-8000-000000000000";
    for (const [method, path, allow] of [
      ["GET", QWEN, "POST"],
      ["POST", `${QWEN}/requests/${id}/status`, "GET, HEAD"],
      ["POST", `${QWEN}/requests/${id}/cancel`, "PUT"],
      ["DELETE", `${QWEN}/requests/${id}`, "GET, HEAD"],
    ] as const) {
      const response = await test.call(path, { method });
      expect(response.status).toBe(405);
      expect(response.headers.get("allow")).toBe(allow);
      expect(await response.json()).toEqual({ detail: "Method Not Allowed" });
    }
  });

  it("requires an ADMIN key for admin calls", async () => {
    const made = await test.client.admin<{ key: string }>("POST", "/v1/keys", { alias: "plain" });
    const response = await fetch(`${test.platform.adminUrl}/v1/keys`, {
      headers: { authorization: `Key ${made.key}` },
    });
    expect(response.status).toBe(403);
    expect(await response.json()).toMatchObject({ error: { type: "authorization_error" } });
    const invalid = await fetch(`${test.platform.adminUrl}/v1/keys`, {
      method: "POST",
      body: '{"alias": "", "scope": "ROOT"}',
      headers: { authorization: `Key ${test.platform.key}` },
    });
    expect(invalid.status).toBe(422);
    const listed = JSON.stringify(await test.client.admin("GET", "/v1/keys"));
    expect(listed).not.toContain(made.key.split(":")[1]);
  });
});

describe("malformed headers are never a 500", () => {
  it("for timeouts, priorities, retry settings and queue lengths", async () => {
    for (const headers of [
      { "x-fal-request-timeout": "soon" },
      { "x-fal-request-timeout": "-5" },
      { "x-fal-request-timeout": "1e999" },
      { "x-fal-queue-priority": "highest" },
      { "x-fal-no-retry": "maybe" },
      { "x-fal-retry-config": "{" },
      { "x-fal-retry-config": '{"timeout":{"retries":-1},"server_error":7}' },
    ]) {
      expect(
        (await send('{"delay_ms":0}', "/queue/tempera/stub", headers as Record<string, string>)).status,
      ).toBe(200);
    }
    // A file that is meant to be private must not become public because of a typing error.
    const preference = { "x-fal-object-lifecycle-preference": "{" };
    expect((await send('{"delay_ms":0}', "/queue/tempera/stub", preference)).status).toBe(422);
    for (const length of ["", "x", "-1", "1e9"])
      expect((await send("{}", `/queue/tempera/stub?fal_max_queue_length=${length}`)).status).toBe(200);
  });
});
