/** A model whose engine is unhealthy on every GPU worker, for longer than its requests may wait. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const STUB = "tempera/stub";

let test: TestPlatform;
beforeAll(async () => {
  test = await startTestPlatform({
    TEMPERA_WORKER_MODELS: STUB,
    TEMPERA_UNSERVED_WAIT_SECONDS: "0",
    TEMPERA_ENGINE_TRIAL_SECONDS: "3600",
  });
});
afterAll(() => test[Symbol.asyncDispose]());

const ended = async (input: object, headers = {}): Promise<{ error?: string; error_type?: string }> => {
  const { request_id } = await test.client.submit(STUB, input, headers);
  for await (const status of test.client.follow(STUB, request_id) as AsyncGenerator<{
    status: string;
    error?: string;
    error_type?: string;
  }>)
    if (status.status === "COMPLETED") return status;
  throw new Error("The stream ended before the request.");
};

it("ends requests with the engine's failure, and runs them again after a reset", async () => {
  for (const owner of ["ann", "bob", "eve"]) {
    const { key } = await test.client.admin<{ key: string }>("POST", "/v1/keys", { alias: owner, owner });
    const crashed = await test.call(`/${STUB}`, {
      method: "POST",
      body: JSON.stringify({ fail: "crash", delay_ms: 20 }),
      headers: { authorization: `Key ${key}` },
    });
    expect(crashed.headers.get("x-fal-error-type")).toBe("runner_disconnected");
  }
  expect(await ended({ prompt: "unlucky" })).toMatchObject({
    error_type: "runner_scheduling_failure",
    error: expect.stringContaining("The engine was ended by SIGKILL"),
  });
  await fetch(`${test.platform.adminUrl}/v1/engines/reset`, {
    method: "POST",
    headers: { authorization: `Key ${test.platform.key}` },
    body: JSON.stringify({ endpoint_id: STUB }),
  });
  // The worker takes the reset when it is told of it, after the answer.
  const states = async () =>
    (await test.client.admin<{ engines: { state: string }[] }>("GET", "/v1/engines")).engines.map(
      ({ state }) => state,
    );
  await expect.poll(states).not.toContain("unhealthy");
  const { request_id } = await test.client.submit(STUB, { prompt: "lucky" }, { "x-fal-no-retry": "1" });
  for await (const { error } of test.client.follow(STUB, request_id)) expect(error).toBeUndefined();
  expect(await test.client.result(STUB, request_id)).toMatchObject({ echo: "lucky" });
});
