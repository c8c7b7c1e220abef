/** Webhooks from the receiver's view; dead letters and signing keys from the operator's. */
import { createHash, createPublicKey, type JsonWebKey, verify } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Delivery, type Receiver, startReceiver } from "../conformance/fal/receiver.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const STUB = "tempera/stub";

let test: TestPlatform;
let receiver: Receiver;
beforeAll(async () => {
  receiver = await startReceiver("127.0.0.1");
  test = await startTestPlatform({
    TEMPERA_WEBHOOK_DELAYS: "0.1,0.1",
    TEMPERA_WEBHOOK_TIMEOUT: "1",
    TEMPERA_ALLOW_PRIVATE_ADDRESSES: "127.0.0.0/8",
  });
});
afterAll(async () => {
  await test[Symbol.asyncDispose]();
  await receiver.close();
});

async function submit(
  url: string,
  input: object = {},
  headers: Record<string, string> = {},
): Promise<{ status: number; request_id: string; detail?: string }> {
  const answer = await test.call(`/queue/${STUB}?fal_webhook=${encodeURIComponent(url)}`, {
    method: "POST",
    headers,
    body: JSON.stringify(input),
  });
  return { ...((await answer.json()) as { request_id: string }), status: answer.status };
}

interface DeliveryView {
  state: string;
  attempts: number;
  history: { round: number; attempt: number; status: number | null; error: string | null }[];
}
/** Resolves with the record of a delivery once it is `enough`. */
async function delivery(requestId: string, enough: (view: DeliveryView) => boolean): Promise<DeliveryView> {
  let found: DeliveryView | undefined;
  await expect
    .poll(async () => {
      found = await test.client
        .admin<DeliveryView>("GET", `/v1/deliveries/${requestId}`)
        .catch(() => undefined);
      return found !== undefined && enough(found);
    })
    .toBe(true);
  return found as DeliveryView;
}

/** Verifies a webhook as a receiver would, by the documentation of fal's webhooks alone. */
async function verifies({ headers, raw }: Delivery): Promise<boolean> {
  const { keys } = (await (await fetch(`${test.platform.url}/.well-known/jwks.json`)).json()) as {
    keys: JsonWebKey[];
  };
  const named = (name: string) => String(headers[`x-fal-webhook-${name}`]);
  const digest = createHash("sha256").update(raw).digest("hex");
  const message = Buffer.from([named("request-id"), named("user-id"), named("timestamp"), digest].join("\n"));
  const signature = Buffer.from(named("signature"), "hex");
  if (Math.abs(Date.now() / 1000 - Number(named("timestamp"))) > 300) return false;
  return keys.some((key) => verify(null, message, createPublicKey({ key, format: "jwk" }), signature));
}

describe("a delivery", () => {
  it("of an output verifies against the JWKS, and a changed body does not", async () => {
    const hook = receiver.hook();
    const { request_id } = await submit(hook.url, { prompt: "told é", seed: 3 });
    const [got] = (await hook.arrived(1)) as [Delivery];
    expect(got.body).toEqual({
      request_id,
      gateway_request_id: request_id,
      status: "OK",
      payload: { echo: "told é", attempt: 1, seed: 3 },
    });
    expect(got.headers).toMatchObject({
      "content-type": "application/json",
      "x-fal-webhook-request-id": request_id,
    });
    expect(await verifies(got)).toBe(true);
    expect(await verifies({ ...got, raw: Buffer.concat([got.raw, Buffer.from(" ")]) })).toBe(false);
    expect(await delivery(request_id, ({ state }) => state === "delivered")).toMatchObject({
      attempts: 1,
      history: [{ status: 200, error: null }],
    });
  });

  it("of a failure carries the body of the result endpoint", async () => {
    const hook = receiver.hook();
    const { request_id } = await submit(hook.url, { fail: "invalid" });
    const [got] = (await hook.arrived(1)) as [Delivery];
    expect(got.body).toMatchObject({ request_id, status: "ERROR", error: "Invalid status code: 422" });
    expect(got.body.payload).toEqual(await (await test.call(`/queue/${STUB}/requests/${request_id}`)).json());
  });

  it("of a big output is complete", async () => {
    const hook = receiver.hook();
    const payload = "ü".repeat(300_000);
    await submit(hook.url, { payload });
    const [got] = (await hook.arrived(1)) as [Delivery];
    expect(got.body.payload.echo).toBe(payload);
    expect(await verifies(got)).toBe(true);
  });

  it("after a retry by the platform names the attempt that succeeded", async () => {
    const hook = receiver.hook();
    const { request_id } = await submit(hook.url, { fail: "crash", fail_attempts: 1 });
    const [got] = (await hook.arrived(1)) as [Delivery];
    expect(got.body).toMatchObject({ request_id, status: "OK", payload: { attempt: 2 } });
    expect(got.body.gateway_request_id).not.toBe(request_id);
  });

  it("is repeated after a 500, with a new timestamp and signature", async () => {
    const hook = receiver.hook(
      (_got, nth, response) => void response.writeHead(nth === 1 ? 500 : 200).end("not now"),
    );
    const { request_id } = await submit(hook.url);
    const got = await hook.arrived(2);
    expect(got.map(({ body }) => body.request_id)).toEqual([request_id, request_id]);
    expect(await Promise.all(got.map(verifies))).toEqual([true, true]);
    const { history } = await delivery(request_id, ({ state }) => state === "delivered");
    expect(history).toMatchObject([
      { attempt: 1, status: 500, error: expect.stringContaining("not now") },
      { attempt: 2, status: 200 },
    ]);
  });

  it.each([
    ["never answers", () => {}, /within|time/],
    [
      "redirects",
      (_got: Delivery, _nth: number, response: import("node:http").ServerResponse) =>
        void response.writeHead(302, { location: "/elsewhere" }).end(),
      /redirected/,
    ],
  ])("to a receiver that %s uses up its attempts, and waits for an operator", async (_how, reply, error) => {
    let mended = false;
    const hook = receiver.hook((got, nth, response) =>
      mended ? void response.writeHead(204).end() : reply(got, nth, response),
    );
    const { request_id } = await submit(hook.url);
    const dead = await delivery(request_id, ({ state }) => state === "dead");
    expect(dead.history.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
    expect(dead.history[0]?.error).toMatch(error);
    const { deliveries } = await test.client.admin<{ deliveries: { request_id: string }[] }>(
      "GET",
      "/v1/deliveries?state=dead",
    );
    expect(deliveries.map((each) => each.request_id)).toContain(request_id);
    mended = true;
    await test.client.admin("POST", `/v1/deliveries/${request_id}/redeliver`, {});
    const again = await delivery(request_id, ({ state }) => state === "delivered");
    expect(again.history.at(-1)).toMatchObject({ round: 2, attempt: 1, status: 204 });
  });

  it("reads almost nothing of an answer of a gigabyte", async () => {
    let sent = 0;
    const chunk = Buffer.alloc(1024 * 1024);
    const hook = receiver.hook((_got, _nth, response) => {
      response.writeHead(200);
      const more = (): void => {
        while (!response.destroyed && sent < 1024 ** 3) {
          sent += chunk.length;
          if (!response.write(chunk)) return void response.once("drain", more);
        }
        response.end();
      };
      more();
    });
    const { request_id } = await submit(hook.url);
    await delivery(request_id, ({ state }) => state === "delivered");
    expect(sent).toBeLessThan(64 * 1024 * 1024);
  });

  it("to a stuck host does not delay those to other hosts", async () => {
    const STUCK = 60;
    let given = 0;
    const stuck = receiver.hook((_got, _nth, response) => void response.once("close", () => given++));
    const other = await startReceiver("127.0.0.2");
    try {
      await Promise.all(Array.from({ length: STUCK }, () => submit(stuck.url)));
      await stuck.arrived(1);
      const hook = other.hook();
      await submit(hook.url);
      await hook.arrived(1);
      expect(given, "stuck deliveries that were given up before").toBeLessThan(STUCK);
    } finally {
      await other.close();
    }
  });
});

describe("an address that cannot be used", () => {
  it.each([
    "ftp://example.com/x",
    "not a url",
    "http://user:pass@example.com/",
    "http://10.0.0.1/hook",
    "http://169.254.169.254/latest",
    "http://[::ffff:10.0.0.1]/",
    `https://example.com/${"x".repeat(3000)}`,
  ])("%s is refused at submit", async (url) => {
    const { status, detail } = await submit(url);
    expect(status).toBe(400);
    expect(detail).toMatch(/^The webhook address /);
  });
});

describe("signing keys", () => {
  it("rotate: the new key is published before it signs, and the signatures of both verify", async () => {
    const before = receiver.hook();
    await submit(before.url);
    const [old] = (await before.arrived(1)) as [Delivery];
    await test.client.admin("POST", "/v1/signing-keys/rotate", {});
    await expect(test.client.admin("POST", "/v1/signing-keys/rotate", {})).rejects.toMatchObject({
      status: 409,
    });
    await test.client.admin("POST", "/v1/signing-keys/rotate", { now: true });
    const { signing_keys } = await test.client.admin<{ signing_keys: { state: string }[] }>(
      "GET",
      "/v1/signing-keys",
    );
    expect(signing_keys.map(({ state }) => state).sort()).toEqual(["next", "retired", "signing"]);
    const after = receiver.hook();
    await submit(after.url);
    const [fresh] = (await after.arrived(1)) as [Delivery];
    expect(await verifies(old)).toBe(true);
    expect(await verifies(fresh)).toBe(true);
  });
});

describe("a dead letter", () => {
  it("is retried once, as a new request, and can be discarded", async () => {
    const hook = receiver.hook();
    const { request_id } = await submit(
      hook.url,
      { fail: "crash", prompt: "again" },
      { "x-fal-no-retry": "1" },
    );
    await hook.arrived(1);
    const letter = await test.client.admin<{ attempts: number; input: object }>(
      "GET",
      `/v1/dead-letters/${request_id}`,
    );
    expect(letter).toMatchObject({ attempts: 1, input: { prompt: "again" }, webhook_url: hook.url });
    const { dead_letters } = await test.client.admin<{ dead_letters: { request_id: string }[] }>(
      "GET",
      "/v1/dead-letters",
    );
    expect(dead_letters.map((each) => each.request_id)).toEqual([request_id]);
    const retry = () =>
      test.client.admin<{ request_id: string }>("POST", `/v1/dead-letters/${request_id}/retry`);
    const [first, second] = [await retry(), await retry()];
    expect(first.request_id).not.toBe(request_id);
    expect(second.request_id).toBe(first.request_id);
    const [, retried] = (await hook.arrived(2)) as [Delivery, Delivery];
    expect(retried.body).toMatchObject({ request_id: first.request_id, retry_of: request_id });
    await delivery(first.request_id, ({ state }) => state === "delivered");
    // A delivery can be started again only when the workflow of the previous one has closed.
    const redeliver = () =>
      test.client.admin<{ status: string }>("POST", `/v1/deliveries/${first.request_id}/redeliver`, {});
    await expect.poll(async () => (await redeliver()).status).toBe("STARTED");
    const [, , redelivered] = (await hook.arrived(3)) as [Delivery, Delivery, Delivery];
    expect(redelivered.body).toEqual(retried.body);
    await test.client.admin("DELETE", `/v1/dead-letters/${first.request_id}`);
    await expect(test.client.admin("GET", `/v1/dead-letters/${first.request_id}`)).rejects.toMatchObject({
      status: 404,
    });
    const left = await test.client.admin<{ dead_letters: unknown[] }>("GET", "/v1/dead-letters");
    expect(left.dead_letters).toEqual([]);
  });
});
