import { type Context, Hono } from "hono";
import { beforeEach, describe, expect, it } from "vitest";
import { LIMITS } from "../../core/limits.ts";
import { basicToKey, readAuthorization } from "../../fal/authorization.ts";
import { answerError } from "../http/answer-error.ts";
import { createAuthFailureLimiter, createAuthFailures, noteWrongKey } from "./auth-failure-limiter.ts";

const GOOD = "6f1c2b3a-0000-4000-8000-00000000000a";
const idOf = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, "0")}`;
const silent = { debug() {}, info() {}, warn() {}, error() {} };

let now: number;
let lookups: number;
let app: Hono;
/** The waits of refusals, in milliseconds, and how each ends. */
let waits: { ms: number; end: () => void }[];
let wait: (ms: number) => Promise<void>;
/** The answer to a wrong key. */
let refusal: (c: Context) => Response;
beforeEach(() => {
  now = 0;
  lookups = 0;
  app = new Hono();
  const failures = createAuthFailures({ nowMs: () => now, rest: (ms) => wait(ms) });
  refusal = (c) => c.text("no", 401);
  wait = async (ms) => void waits.push({ ms, end: () => {} });
  waits = [];
  app.use(createAuthFailureLimiter({ failures }));
  app.get("/public", (c) => c.text("ok"));
  app.get("/", (c) => {
    lookups++;
    // As the key ring does: an id is the same in capitals.
    const { keyId, secret } = readAuthorization(basicToKey(c.req.header("authorization") ?? ""), undefined);
    if (keyId !== GOOD || secret !== "secret") return refusal(c);
    failures.accept(`${GOOD}:secret`);
    return c.text("ok");
  });
  app.onError((error, c) => answerError(c, error, { log: silent }));
});

const call = (authorization: string | undefined, remoteAddress = "192.0.2.1", path = "/") =>
  app.request(path, authorization === undefined ? {} : { headers: { authorization } }, {
    incoming: { socket: { remoteAddress } },
  });
const tryMany = async (count: number, address?: string) => {
  for (let n = 0; n < count; n++) await call(`Key ${idOf(n)}:x`, address);
};

describe("an address that guesses keys", () => {
  it("is refused without a look-up after too many wrong ones, with the time to wait", async () => {
    await tryMany(LIMITS.authFailuresMax);
    lookups = 0;
    const refused = await call(`Key ${idOf(9999)}:x`);
    expect(refused.status).toBe(429);
    expect(refused.headers.get("retry-after")).toBe(String(LIMITS.authFailureWindowSeconds));
    await tryMany(10_000);
    expect(lookups).toBe(0);
    now += LIMITS.authFailureWindowSeconds * 1000;
    expect((await call(`Key ${GOOD}:secret`)).status).toBe(200);
  });

  it("waits for each refusal, so that it cannot ask at full speed", async () => {
    await tryMany(LIMITS.authFailuresMax);
    expect(waits).toEqual([]);
    wait = (ms) => new Promise((end) => waits.push({ ms, end }));
    let replies = 0;
    const calls = Array.from({ length: LIMITS.authRefusalsWaitingMax + 2 }, async () => {
      await call(`Key ${idOf(9999)}:x`);
      replies++;
    });
    // More calls than may wait are answered at once: to hold them would cost more.
    await Promise.all(calls.slice(-2));
    expect([replies, waits.length]).toEqual([2, LIMITS.authRefusalsWaitingMax]);
    expect(waits[0]?.ms).toBe(LIMITS.authRefusalMs);
    const other = call(`Key ${idOf(9999)}:x`, "192.0.2.7");
    expect((await other).status).toBe(401);
    for (const { end } of waits) end();
    await Promise.all(calls);
    wait = async (ms) => void waits.push({ ms, end: () => {} });
    await call(`Key ${idOf(9999)}:x`);
    expect(waits).toHaveLength(LIMITS.authRefusalsWaitingMax + 1);
  });

  it("locks out neither other addresses nor a key at the same address that was accepted before", async () => {
    expect((await call(`Key ${GOOD}:secret`)).status).toBe(200);
    await tryMany(LIMITS.authFailuresMax);
    expect((await call(`Key ${GOOD}:secret`)).status).toBe(200);
    expect((await call(`Key ${GOOD}:secret`, "192.0.2.2")).status).toBe(200);
    expect((await call(undefined)).status).toBe(401);
  });

  it.each([
    ["in capitals", `Key ${GOOD.toUpperCase()}:secret`],
    ["with the scheme of a browser", `Basic ${Buffer.from(`${GOOD}:secret`).toString("base64")}`],
    ["with the scheme of logins", ` bearer  ${GOOD}:secret `],
  ])("does not lock out a key that was accepted before, sent %s", async (_, authorization) => {
    expect((await call(authorization)).status).toBe(200);
    await tryMany(LIMITS.authFailuresMax);
    expect((await call(authorization)).status).toBe(200);
    expect((await call(`Key ${GOOD}:secret`)).status).toBe(200);
    expect((await call(authorization.replace(/secret|[^:=]{6}=*\s*$/, "guess"))).status).toBe(429);
  });

  it("is refused although it knows the id of a key in use, or calls what needs no key", async () => {
    expect((await call(`Key ${GOOD}:secret`)).status).toBe(200);
    await tryMany(LIMITS.authFailuresMax);
    lookups = 0;
    expect((await call(`Key ${GOOD}:guess`)).status).toBe(429);
    expect((await call(`Key ${GOOD}:guess`, "192.0.2.2", "/public")).status).toBe(200);
    expect((await call(`Key ${GOOD}:guess`)).status).toBe(429);
    expect(lookups).toBe(0);
  });

  it("is refused although the answers hide that its keys are wrong, as those of a private file", async () => {
    refusal = (c) => {
      noteWrongKey(c);
      return c.text("unknown", 404);
    };
    await tryMany(LIMITS.authFailuresMax);
    expect((await call(`Key ${idOf(9999)}:x`)).status).toBe(429);
  });

  it("is refused when it guesses the tokens of streams", async () => {
    for (let n = 0; n < LIMITS.authFailuresMax; n++)
      await call(undefined, "192.0.2.1", `/?fal_jwt_token=${n}`);
    expect((await call(undefined, "192.0.2.1", "/?fal_jwt_token=x")).status).toBe(429);
    expect((await call(`Key ${idOf(1)}:x`)).status).toBe(429);
  });

  it("is a /64 of IPv6, and the same address in every spelling", async () => {
    await tryMany(LIMITS.authFailuresMax, "2001:db8:1:2::1");
    expect((await call(`Key ${idOf(1)}:x`, "2001:db8:1:2:ffff::7")).status).toBe(429);
    expect((await call(`Key ${idOf(1)}:x`, "2001:db8:1:3::1")).status).toBe(401);
    for (let n = 0; n < LIMITS.authFailuresMax; n++)
      await call(`Key ${idOf(n)}:x`, `2001:db8::${(n + 1).toString(16)}`);
    expect((await call(`Key ${idOf(1)}:x`, "2001:db8::a:b:c:d")).status).toBe(429);
    await tryMany(LIMITS.authFailuresMax, "::ffff:192.0.2.9");
    expect((await call(`Key ${idOf(1)}:x`, "192.0.2.9")).status).toBe(429);
  });

  it("does not count calls from within this process", async () => {
    for (let n = 0; n < LIMITS.authFailuresMax + 1; n++)
      expect((await app.request("/", { headers: { authorization: `Key ${idOf(n)}:x` } })).status).toBe(401);
  });
});
