/** The unmodified official JavaScript client, with only `proxyUrl` set. */
import { createFalClient, type QueueStatus, ValidationError } from "@fal-ai/client";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

let test: TestPlatform;
beforeAll(async () => {
  test = await startTestPlatform();
});
afterAll(() => test[Symbol.asyncDispose]());

const client = () =>
  createFalClient({
    credentials: test.platform.key,
    proxyUrl: { url: `${test.platform.url}/api/fal/proxy`, when: "always" },
  });

describe("fal.subscribe", () => {
  it("makes an image of a prompt by polling, with logs on the way", async () => {
    const updates: QueueStatus[] = [];
    const { data, requestId } = await client().subscribe("fal-ai/qwen-image", {
      input: { prompt: "a large red circle on a blue background", num_inference_steps: 8, seed: 5 },
      logs: true,
      pollInterval: 50,
      onQueueUpdate: (update) => updates.push(update),
    });
    const { images, seed } = data as {
      images: { url: string; width: number; height: number }[];
      seed: number;
    };
    expect(seed).toBe(5);
    expect(images[0]).toMatchObject({ width: 1024, height: 768 });
    expect(requestId).toMatch(/^[0-9a-f-]{36}$/);
    expect(updates.at(-1)?.status).toBe("COMPLETED");
    const bytes = Buffer.from(await (await fetch(images[0]?.url ?? "")).arrayBuffer());
    expect(bytes.subarray(1, 4).toString()).toBe("PNG");
  });

  it("gets every log line exactly once by streaming", async () => {
    const messages: string[] = [];
    await client().subscribe("fal-ai/qwen-image", {
      input: { prompt: "a small green heart on a white background", num_inference_steps: 4 },
      mode: "streaming",
      logs: true,
      onQueueUpdate: (update) => {
        if ("logs" in update) messages.push(...(update.logs ?? []).map(({ message }) => message));
      },
    });
    expect(messages.length).toBeGreaterThan(0);
  });

  it("throws a ValidationError at the submit of a bad input", async () => {
    const failure = await client()
      .subscribe("fal-ai/qwen-image", { input: { prompt: "x", num_images: 99 } })
      .catch((error) => error);
    expect(failure).toBeInstanceOf(ValidationError);
    expect((failure as ValidationError).fieldErrors[0]).toMatchObject({ loc: ["body", "num_images"] });
    expect((failure as ValidationError).requestId).toBeTruthy();
  });
});

describe("fal.queue", () => {
  it("submits, reads the status, cancels and reads the result", async () => {
    const { queue } = client();
    const { request_id: requestId } = await queue.submit("tempera/stub", {
      input: { delay_ms: 30_000, steps: 300 },
    });
    expect((await queue.status("tempera/stub", { requestId })).status).not.toBe("COMPLETED");
    await queue.cancel("tempera/stub", { requestId });
    await queue.subscribeToStatus("tempera/stub", { requestId, pollInterval: 50 });
    await expect(queue.result("tempera/stub", { requestId })).rejects.toMatchObject({
      status: 499,
      requestId,
    });
  });
});

describe("the proxy", () => {
  const proxied = (target: string): Promise<Response> =>
    test.call("/api/fal/proxy", { headers: { "x-fal-target-url": target } });

  it("keeps the target's query string", async () => {
    const { request_id: id } = await test.client.submit("tempera/stub", {});
    const body = (await (
      await proxied(`https://queue.fal.run/tempera/stub/requests/${id}/status?logs=1`)
    ).json()) as { logs: unknown };
    expect(Array.isArray(body.logs)).toBe(true);
  });

  it("answers 400 to a foreign host, a missing header and a malformed URL", async () => {
    for (const target of [
      "https://example.test/x",
      "http://127.0.0.1:8080/",
      "https://queue.fal.run:444/x",
      "https://user@queue.fal.run/x",
      "file:///etc/passwd",
      "x",
      "",
    ]) {
      const response = await proxied(target);
      expect(response.status).toBe(400);
      expect(await response.json()).toEqual({ detail: "Invalid request" });
    }
  });

  it("carries the id of the inner request", async () => {
    const { request_id: id } = await test.client.submit("tempera/stub", {});
    const response = await proxied(`https://queue.fal.run/tempera/stub/requests/${id}/status`);
    expect(response.headers.get("x-fal-request-id")).toBe(id);
  });
});
