/**
 * Realtime sockets, tokens and HTTP over WebSocket: with the unmodified JavaScript client, and with bare
 * sockets.
 */
import { createHash, randomBytes } from "node:crypto";
import { createFalClient } from "@fal-ai/client";
import { decode, encode } from "@msgpack/msgpack";
import { decodeJwt } from "jose";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import { LIMITS } from "../../src/core/limits.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";
import { openSocket, type TestSocket } from "./sockets.ts";

const STUB = "tempera/stub";
const IDLE_MS = 3_000;
const SOCKETS_MAX = 80;
/** The sessions of one owner: enough to use every slot of the stub, and two that wait. */
const SESSIONS_MAX = 66;
/** The slots of the stub's engine. */
const SLOTS = 64;
let test: TestPlatform;
beforeAll(async () => {
  test = await startTestPlatform({
    TEMPERA_REALTIME_IDLE_SECONDS: String(IDLE_MS / 1000),
    TEMPERA_SOCKETS_MAX: String(SOCKETS_MAX),
    TEMPERA_SESSIONS_MAX: String(SESSIONS_MAX),
  });
});
afterAll(() => test[Symbol.asyncDispose]());

type Body = Record<string, unknown>;
const wsUrl = (path: string): string => `${test.platform.url.replace("http", "ws")}${path}`;
const withKey = () => ({ headers: { authorization: `Key ${test.platform.key}` } });
const connect = (path = `/${STUB}/realtime`, headers: Record<string, string> = {}): Promise<TestSocket> =>
  openSocket(wsUrl(path), { headers: { ...withKey().headers, ...headers } });
const requestToken = (path: string, body: unknown, headers?: Record<string, string>): Promise<Response> =>
  test.call(path, {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json", ...headers },
  });
const token = async (app: string, seconds = 120): Promise<string> =>
  (await (
    await requestToken("/rest/tokens/", { allowed_apps: [app], token_expiration: seconds })
  ).json()) as string;
/** Reads and decodes the next message that is not `x-fal-message`. */
async function output(socket: TestSocket): Promise<Body> {
  for (;;) {
    const message = await socket.next();
    const value = (typeof message === "string" ? JSON.parse(message) : decode(message)) as Body;
    if (value.type !== "x-fal-message") return value;
  }
}
const say = (socket: TestSocket, input: Body): void => socket.send(encode(input));

describe("tokens", () => {
  it.each(["/rest/tokens/", "/rest/tokens"])(
    "%s answers a JSON string, valid for 120 s unless another time is requested",
    async (path) => {
      const response = await requestToken(path, { allowed_apps: ["stub"] });
      expect(response.status).toBe(200);
      expect(response.headers.get("x-fal-request-id")).toBeTruthy();
      const jwt = (await response.json()) as string;
      const { exp = 0, iat = 0 } = decodeJwt(jwt);
      expect(exp - iat).toBe(120);
      expect(decodeJwt(await token("stub", 7)).exp).toBeLessThan(Date.now() / 1000 + 8);
    },
  );

  it("answers {token} on /rest/tokens/realtime, and reads duration", async () => {
    const response = await requestToken("/rest/tokens/realtime", {
      allowed_apps: [`${STUB}/realtime`],
      duration: 30,
    });
    const { token: jwt } = (await response.json()) as { token: string };
    const { exp = 0, iat = 0 } = decodeJwt(jwt);
    expect(exp - iat).toBe(30);
    await using socket = await openSocket(wsUrl(`/${STUB}/realtime?fal_jwt_token=${jwt}`));
    say(socket, { prompt: "hi" });
    expect(await output(socket)).toMatchObject({ echo: "hi" });
  });

  it("answers 401 for a bad key, 422 for an invalid body, 405 for GET", async () => {
    const bad = await requestToken(
      "/rest/tokens/",
      { allowed_apps: ["stub"] },
      { authorization: "Key nonsense" },
    );
    expect(bad.status).toBe(401);
    expect(((await bad.json()) as Body).detail).toBeTypeOf("string");
    for (const body of [
      {},
      { allowed_apps: [] },
      { allowed_apps: "stub" },
      { allowed_apps: ["stub"], token_expiration: 0 },
      [],
    ]) {
      expect((await requestToken("/rest/tokens/", body)).status).toBe(422);
    }
    expect(
      (
        await requestToken("/rest/tokens/", {
          allowed_apps: ["stub"],
          token_expiration: LIMITS.tokenSecondsMax + 1,
        })
      ).status,
    ).toBe(422);
    expect((await test.call("/rest/tokens/")).status).toBe(405);
  });
});

describe("the JavaScript client", () => {
  const sockets: WebSocket[] = [];
  const opened = vi.fn();
  /** Node's global socket, redirected to the gateway under test. The client is otherwise unchanged. */
  class RewrittenSocket extends WebSocket {
    constructor(url: string) {
      opened(url);
      super(url.replace("wss://fal.run", wsUrl("/run")));
      sockets.push(this);
    }
  }
  beforeAll(() => {
    vi.stubGlobal("WebSocket", RewrittenSocket);
  });
  afterAll(async () => {
    // The client uses the global until its last socket has closed.
    await Promise.all(sockets.map((ws) => ws.readyState === WebSocket.CLOSED || closing(ws)));
    vi.unstubAllGlobals();
  });
  afterEach(() => opened.mockClear());
  const fal = () =>
    createFalClient({
      credentials: test.platform.key,
      proxyUrl: { url: `${test.platform.url}/api/fal/proxy`, when: "always" },
    });
  const closing = (ws: WebSocket): Promise<number> => new Promise((resolve) => ws.once("close", resolve));

  it("echoes msgpack with its bytes, and closes without an error", async () => {
    const onError = vi.fn();
    const results: Body[] = [];
    let arrived = () => {};
    const connection = fal().realtime.connect(STUB, {
      throttleInterval: 0,
      onResult: (result: Body) => {
        results.push(result);
        arrived();
      },
      onError,
    });
    const exchange = async (input: Body): Promise<Body | undefined> => {
      const reply = new Promise<void>((resolve) => {
        arrived = resolve;
      });
      connection.send(input);
      await reply;
      return results.at(-1);
    };
    const bytes = new Uint8Array(70_000).map((_, i) => i);
    const answer = await exchange({ payload: { image: bytes, é: ["😀", 1.5, null] } });
    const { image, ...rest } = (answer as Body).echo as { image: Uint8Array };
    expect(Buffer.from(image).equals(Buffer.from(bytes))).toBe(true);
    expect(rest).toEqual({ é: ["😀", 1.5, null] });
    expect(await exchange({ prompt: "again" })).toMatchObject({ echo: "again" });
    expect(opened).toHaveBeenCalledTimes(1);
    const code = closing(sockets.at(-1) as WebSocket);
    connection.close();
    expect(await code).toBe(1000);
    expect(onError).not.toHaveBeenCalled();
  });

  it("connects again at the next send after the idle time, without an error", async () => {
    const onError = vi.fn();
    let arrived = (_: Body) => {};
    const next = () =>
      new Promise<Body>((resolve) => {
        arrived = resolve;
      });
    const connection = fal().realtime.connect(STUB, {
      throttleInterval: 0,
      onResult: (result: Body) => arrived(result),
      onError,
    });
    const first = next();
    connection.send({ prompt: "one" });
    expect(await first).toMatchObject({ echo: "one" });
    expect(await closing(sockets.at(-1) as WebSocket)).toBe(1000);
    const second = next();
    connection.send({ prompt: "two" });
    expect(await second).toMatchObject({ echo: "two" });
    expect(opened).toHaveBeenCalledTimes(2);
    expect(onError).not.toHaveBeenCalled();
    connection.close();
  });

  it("fetches another token when the first has expired, and goes on", async () => {
    const onError = vi.fn();
    const tokens = ["not.a.token", await token(`${STUB}/realtime`)];
    const tokenProvider = vi.fn(async () => tokens.shift() ?? "");
    let arrived = (_: Body) => {};
    const connection = fal().realtime.connect(STUB, {
      throttleInterval: 0,
      tokenProvider,
      onResult: (result: Body) => arrived(result),
      onError,
    });
    const before = sockets.length;
    connection.send({ prompt: "refused" });
    while (sockets.length === before) await new Promise(setImmediate);
    expect(await closing(sockets.at(-1) as WebSocket)).toBe(1000);
    const reply = new Promise<Body>((resolve) => {
      arrived = resolve;
    });
    connection.send({ prompt: "taken" });
    expect(await reply).toMatchObject({ echo: "taken" });
    expect(tokenProvider).toHaveBeenCalledTimes(2);
    expect(onError).not.toHaveBeenCalled();
    connection.close();
  });

  it("gets INTERNAL_ERROR for an engine's failure", async () => {
    const failure = new Promise<Error>((resolve) => {
      const connection = fal().realtime.connect(STUB, {
        throttleInterval: 0,
        onResult: () => {},
        onError: resolve,
      });
      connection.send({ fail: "error" });
    });
    expect((await failure).message).toBe("INTERNAL_ERROR: The stub was asked to fail.");
  });
});

describe("addresses of sockets", () => {
  it.each([
    [`/${STUB}/realtime`, {}],
    [`/run/${STUB}/realtime/`, {}],
    [`/${STUB}/realtime/realtime`, {}],
    [`/${STUB}/custom`, {}],
    [`/${STUB}/realtime`, { host: "fal.run" }],
  ])("%s %j", async (path, headers) => {
    await using socket = await connect(path, headers);
    say(socket, { prompt: "hello" });
    expect(await output(socket)).toMatchObject({ echo: "hello", attempt: 1 });
  });

  it.each<[string, string, Record<string, string>]>([
    ["no credential", `/${STUB}/realtime`, {}],
    ["a malformed key", `/${STUB}/realtime`, { authorization: "Key x" }],
    ["a forged token", `/${STUB}/realtime?fal_jwt_token=a.b.c`, {}],
  ])("accepts, notifies and closes with 1000: %s", async (_, path, headers) => {
    const socket = await openSocket(wsUrl(path), { headers });
    expect(await socket.next()).toBe('{"status":"error","error":"Unauthorized"}');
    expect((await socket.closed).code).toBe(1000);
  });

  it("refuses a token for another app and an expired one", async () => {
    const expired = await token("stub", 1);
    for (const jwt of [await token("qwen-image"), await token("tempera/other"), expired]) {
      if (jwt === expired)
        await new Promise((resolve) =>
          setTimeout(resolve, Number(decodeJwt(expired).exp) * 1000 - Date.now() + 5),
        );
      const socket = await openSocket(wsUrl(`/${STUB}/realtime?fal_jwt_token=${jwt}`));
      expect(await socket.next()).toBe('{"status":"error","error":"Unauthorized"}');
      expect((await socket.closed).code).toBe(1000);
    }
  });

  it.each([
    ["/tempera/nothing/realtime", "ENDPOINT_UNKNOWN"],
    ["/fal-ai/qwen-image/realtime", "REALTIME_UNSUPPORTED"],
    [`/${STUB}/realtime?max_buffering=61`, "REALTIME_QUERY_INVALID"],
  ])("closes %s with %s", async (path, error) => {
    const socket = await connect(path);
    expect(JSON.parse((await socket.next()) as string)).toMatchObject({ type: "x-fal-error", error });
    expect((await socket.closed).code).toBe(1000);
  });

  it("answers 404 as JSON anywhere else", async () => {
    const refused = await connect("/queue/tempera/stub").catch((error) => error);
    expect(refused).toMatchObject({
      status: 404,
      body: { detail: expect.stringContaining("/queue/tempera/stub") },
    });
    expect(refused.headers["x-fal-request-id"]).toBeTruthy();
  });
});

describe("frames", () => {
  it("answers text with text and msgpack with msgpack on one socket; timings are x-fal-message", async () => {
    await using socket = await connect();
    socket.send(JSON.stringify({ prompt: "text" }));
    const text = await socket.next();
    expect(JSON.parse(text as string)).toMatchObject({ echo: "text" });
    const timing = JSON.parse((await socket.next()) as string);
    expect(timing).toMatchObject({ type: "x-fal-message", action: "timings" });
    expect(timing.timing).toBeGreaterThan(0);
    say(socket, { prompt: "bytes" });
    expect(Buffer.isBuffer(await socket.next())).toBe(true);
  });

  it("answers an invalid input with an error, and keeps the socket open", async () => {
    await using socket = await connect();
    socket.send(new Uint8Array([0xc1]));
    expect(await output(socket)).toMatchObject({
      error: "INVALID_INPUT",
      reason: expect.stringContaining("extension type"),
    });
    socket.send(new Uint8Array(200).fill(0x91));
    expect(await output(socket)).toMatchObject({
      error: "INVALID_INPUT",
      reason: expect.stringContaining("nested"),
    });
    socket.send("{");
    expect(await output(socket)).toMatchObject({
      error: "INVALID_INPUT",
      reason: expect.stringContaining("not JSON"),
    });
    socket.send(`${"[".repeat(100_000)}${"]".repeat(100_000)}`);
    expect(await output(socket)).toMatchObject({ error: "INVALID_INPUT" });
    say(socket, { delay_ms: "soon" });
    const refused = await output(socket);
    expect(refused).toMatchObject({ error: "INVALID_INPUT", detail: [{ loc: ["body", "delay_ms"] }] });
    say(socket, { prompt: new Uint8Array(3) });
    expect(await output(socket)).toMatchObject({
      error: "INVALID_INPUT",
      reason: "prompt: Input should not be bytes",
    });
    for (const file_url of ["file:///etc/passwd", "attachment:0"]) {
      say(socket, { file_url });
      expect(await output(socket)).toMatchObject({
        error: "INVALID_INPUT",
        detail: [{ loc: ["body", "file_url"] }],
      });
      socket.send(JSON.stringify({ file_url }));
      expect(await output(socket)).toMatchObject({
        error: "INVALID_INPUT",
        detail: [{ loc: ["body", "file_url"] }],
      });
    }
    say(socket, { fail: "invalid" });
    expect(await output(socket)).toMatchObject({
      error: "INVALID_INPUT",
      reason: "fail: The stub was asked to refuse this input.",
    });
    say(socket, { prompt: "fine" });
    expect(await output(socket)).toMatchObject({ echo: "fine" });
  });

  it("fetches the files that an input names, as a request does", async () => {
    await using socket = await connect();
    const bytes = randomBytes(3_000);
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    const file_url = `data:image/png;base64,${bytes.toString("base64")}`;
    const described = { sha256, bytes: 3_000, content_type: "image/png" };
    say(socket, { prompt: "msgpack", payload: bytes, file_url });
    expect(await output(socket)).toMatchObject({ input_file: described });
    socket.send(JSON.stringify({ prompt: "text", file_url }));
    expect(await output(socket)).toMatchObject({ echo: "text", input_file: described });

    const stored = await test.call("/files/upload", {
      method: "POST",
      body: bytes,
      headers: { "content-type": "image/png" },
    });
    const { access_url: uploaded } = (await stored.json()) as { access_url: string };
    say(socket, { prompt: "address", file_url: uploaded });
    expect(await output(socket)).toMatchObject({ echo: "address", input_file: described });
    // Behind a slow input, and before another one: each is answered in its turn.
    say(socket, { prompt: "slow", delay_ms: 200 });
    say(socket, { file_url: "http://127.0.0.1:1/x.png" });
    say(socket, { prompt: "after" });
    expect(await output(socket)).toMatchObject({ echo: "slow" });
    expect(await output(socket)).toMatchObject({
      error: "INVALID_INPUT",
      detail: [{ loc: ["body", "file_url"], type: "file_download_error" }],
    });
    expect(await output(socket)).toMatchObject({ echo: "after" });
  });

  it("closes with 1009 for an oversized frame", async () => {
    const socket = await connect();
    socket.send(new Uint8Array(LIMITS.frameBytesMax + 1));
    expect((await socket.closed).code).toBe(1009);
  });

  it("reports an engine's failure, and then closes cleanly", async () => {
    const socket = await connect();
    say(socket, { fail: "error" });
    expect(await output(socket)).toMatchObject({
      error: "INTERNAL_ERROR",
      reason: "The stub was asked to fail.",
    });
    expect((await socket.closed).code).toBe(1000);
  });

  it("closes an idle socket with TIMEOUT and 1000, and not one whose input is in work", async () => {
    const socket = await connect();
    say(socket, { prompt: "slow", delay_ms: IDLE_MS + 500 });
    expect(await output(socket)).toMatchObject({ echo: "slow" });
    expect(await output(socket)).toMatchObject({ type: "x-fal-error", error: "TIMEOUT" });
    expect((await socket.closed).code).toBe(1000);
  });

  it("answers a close without a code with 1000", async () => {
    const socket = await connect();
    socket.ws.close();
    expect((await socket.closed).code).toBe(1000);
  });

  it("holds only the newest `max_buffering` inputs behind the one in work", async () => {
    await using socket = await connect(`/${STUB}/realtime?max_buffering=2`);
    say(socket, { prompt: "ready" });
    await output(socket);
    await socket.next(); // its timings: the engine is free
    for (let i = 1; i <= 8; i++) say(socket, { prompt: String(i), delay_ms: 300 });
    const answers = [await output(socket), await output(socket), await output(socket)].map(
      ({ echo }) => echo,
    );
    expect(answers).toEqual(["1", "7", "8"]);
  });

  it("survives a flood of inputs, and holds the newest 60", async () => {
    await using socket = await connect();
    say(socket, { prompt: "ready" });
    await output(socket);
    const sent = 3_000;
    for (let i = 1; i <= sent; i++) say(socket, { payload: i, delay_ms: 2 });
    const answers: number[] = [];
    while (answers.at(-1) !== sent) answers.push((await output(socket)).echo as number);
    expect(answers).toEqual([...answers].sort((a, b) => a - b));
    expect(answers.length).toBeLessThan(sent);
    expect(answers.slice(-LIMITS.framesBufferedMax)).toEqual(
      Array.from({ length: LIMITS.framesBufferedMax }, (_, i) => sent - LIMITS.framesBufferedMax + 1 + i),
    );
  });

  it("terminates a socket whose caller does not read", async () => {
    const socket = await connect();
    say(socket, { prompt: "ready" });
    await output(socket);
    socket.ws.pause();
    const payload = randomBytes(4 * 1024 * 1024); // does not compress
    // Each write is awaited: the gateway takes inputs, and drops those that an engine is too slow for, while
    // the outputs pile up, until it cuts the connection.
    const written = (): Promise<Error | undefined> =>
      new Promise((done) => socket.ws.send(encode({ payload }), (error) => done(error ?? undefined)));
    while (!(await written()));
    socket.ws.resume();
    expect((await socket.closed).code).toBe(1006);
  });
});

describe("raw sockets", () => {
  it("pass frames on unchanged, text as text and bytes as bytes", async () => {
    await using socket = await connect(`/${STUB}`);
    for (const frame of ["héllo, not JSON", Buffer.from([0xc1, 0, 255]), ""]) {
      socket.send(frame);
      expect(await socket.next()).toEqual(frame);
    }
  });
});

describe("slots", () => {
  it("make a session wait with its inputs while all are used; one closed meanwhile never runs", async () => {
    const holders = await Promise.all(Array.from({ length: SLOTS }, () => connect()));
    const activity = setInterval(() => {
      for (const holder of holders) say(holder, { prompt: "hold" });
    }, IDLE_MS / 3);
    try {
      await Promise.all(
        holders.map((holder) => {
          say(holder, { prompt: "hold" });
          return output(holder);
        }),
      );
      const start = new Date();
      await using abandoned = await connect();
      say(abandoned, { prompt: "never" }); // an input that waits for a slot keeps the socket open
      let waiting: string | undefined;
      await expect
        .poll(async () => {
          [waiting] = [...(await test.workflowsSince(start, "realtimeSession")).keys()];
          return waiting !== undefined && (await test.backlog(STUB)) > 0;
        })
        .toBe(true);
      await abandoned[Symbol.asyncDispose]();
      await expect.poll(() => test.workflow(waiting ?? "")).toBe("CANCELLED");

      await using patient = await connect();
      say(patient, { prompt: "patient" });
      await holders.pop()?.[Symbol.asyncDispose]();
      expect(await output(patient)).toMatchObject({ echo: "patient" });
    } finally {
      clearInterval(activity);
      await Promise.all(holders.map((holder) => holder[Symbol.asyncDispose]()));
    }
    await expect
      .poll(async () =>
        [...(await test.workflowsSince(new Date(0), "realtimeSession")).values()].includes("RUNNING"),
      )
      .toBe(false);
  });

  it("are freed when a revoked key ends its sessions", async () => {
    const made = await test.client.admin<{ key: string; key_id: string }>("POST", "/v1/keys", {
      alias: "short",
      owner: "short",
    });
    const socket = await openSocket(wsUrl(`/${STUB}/realtime`), {
      headers: { authorization: `Key ${made.key}` },
    });
    say(socket, { fail: "hang" });
    await test.client.admin("DELETE", `/v1/keys/${made.key.split(":")[0]}`);
    expect(await socket.next()).toBe('{"status":"error","error":"Unauthorized"}');
    expect((await socket.closed).code).toBe(1000);
  });
});

describe("sessions of one owner", () => {
  it("are limited: one too many is refused; other owners' and closed ones do not count", async () => {
    const holders = await Promise.all(Array.from({ length: SESSIONS_MAX }, () => connect()));
    for (const holder of holders) say(holder, { delay_ms: 60_000 }); // work keeps them open
    try {
      for (const path of [`/${STUB}/realtime`, `/${STUB}`]) {
        const socket = await connect(path);
        expect(JSON.parse((await socket.next()) as string)).toMatchObject({
          type: "x-fal-error",
          error: "CONCURRENT_REQUESTS_LIMIT",
          reason: expect.stringContaining(`${SESSIONS_MAX} realtime sessions`),
        });
        expect((await socket.closed).code).toBe(1000);
      }
      const other = await test.client.admin<{ key: string }>("POST", "/v1/keys", {
        alias: "other",
        owner: "other",
      });
      await using bob = await openSocket(wsUrl(`/${STUB}/realtime`), {
        headers: { authorization: `Key ${other.key}` },
      });
      await Promise.all(
        holders.splice(0, SESSIONS_MAX - SLOTS + 1).map((holder) => holder[Symbol.asyncDispose]()),
      );
      say(bob, { prompt: "bob" });
      expect(await output(bob)).toMatchObject({ echo: "bob" });
      await using again = await connect();
      say(again, { prompt: "room" });
      await Promise.all(holders.splice(0, 1).map((holder) => holder[Symbol.asyncDispose]()));
      expect(await output(again)).toMatchObject({ echo: "room" });
    } finally {
      await Promise.all(holders.map((holder) => holder[Symbol.asyncDispose]()));
    }
  });
});

describe("loss of an engine", () => {
  it("continues the session on another engine and keeps the socket open", async () => {
    await using socket = await connect();
    say(socket, { prompt: "before" });
    expect(await output(socket)).toMatchObject({ echo: "before", attempt: 1 });
    say(socket, { fail: "crash", fail_attempts: 1 });
    let resumed: Body = {};
    while (resumed.action !== "resumed") {
      const message = await socket.next();
      if (typeof message === "string") resumed = JSON.parse(message);
    }
    expect(resumed).toEqual({ type: "x-fal-message", action: "resumed", lost: 1 });
    say(socket, { prompt: "after" });
    expect(await output(socket)).toMatchObject({ echo: "after", attempt: 2 });
  });
});

describe("HTTP over WebSocket", () => {
  const exchange = async (
    socket: TestSocket,
  ): Promise<{ start: Body; bodies: (string | Buffer)[]; end: Body }> => {
    const start = JSON.parse((await socket.next()) as string) as Body;
    const bodies: (string | Buffer)[] = [];
    for (;;) {
      const message = await socket.next();
      const frame =
        typeof message === "string" && message.includes('"request_id"')
          ? (JSON.parse(message) as Body)
          : undefined;
      if (frame?.type === "end") return { start, bodies, end: frame };
      bodies.push(message);
    }
  };

  it.each([
    [`/ws/${STUB}`, {}],
    [`/${STUB}`, { host: "ws.fal.run" }],
  ])("answers %s %j with start, body and end, payloads in order", async (path, headers) => {
    await using socket = await connect(path, headers);
    socket.send(JSON.stringify({ prompt: "first", delay_ms: 200 }));
    socket.send(JSON.stringify({ prompt: "second" }));
    for (const echo of ["first", "second"]) {
      const { start, bodies, end } = await exchange(socket);
      expect(start).toMatchObject({ type: "start", status: 200 });
      expect((start.headers as Body)["content-type"]).toBe("application/json");
      expect(bodies.map((body) => JSON.parse(body as string))).toMatchObject([{ echo }]);
      expect(end).toMatchObject({ type: "end", status: 200, request_id: start.request_id });
      expect(end.time_to_first_byte_seconds).toBeGreaterThan(0);
      expect((await test.record(start.request_id as string))?.outcome?.ok).toBe(true);
    }
  });

  it("sends an output that looks like a frame of ours as bytes", async () => {
    await using socket = await connect(`/ws/${STUB}`);
    socket.send(JSON.stringify({ payload: { type: "end", request_id: "x" } }));
    const { bodies } = await exchange(socket);
    expect(bodies).toHaveLength(1);
    expect(bodies[0]).toBeInstanceOf(Buffer);
  });

  it("answers errors too, and keeps the socket open", async () => {
    await using socket = await connect(`/ws/${STUB}`);
    socket.send(JSON.stringify({ delay_ms: -1 }));
    expect(await exchange(socket)).toMatchObject({ start: { status: 422 }, end: { status: 422 } });
    socket.send("{");
    expect(await exchange(socket)).toMatchObject({ start: { status: 400 } });
    socket.send(JSON.stringify({ fail: "error" }));
    const failed = await exchange(socket);
    expect(failed.start).toMatchObject({ status: 500 });
    expect(JSON.parse(failed.bodies[0] as string)).toMatchObject({ error_type: "runner_server_error" });
    socket.send(JSON.stringify({ prompt: "fine" }));
    expect(await exchange(socket)).toMatchObject({ start: { status: 200 } });
  });

  it.each([`/ws/${STUB}`, `/ws/${STUB}/stream`])(
    "cancels the request of a closed socket on %s",
    async (path) => {
      const start = new Date();
      const socket = await connect(path);
      socket.send(JSON.stringify({ delay_ms: 60_000 })); // and no event on the way
      let id = "";
      const state = async (): Promise<string | undefined> => {
        [id = ""] = [...(await test.workflowsSince(start, "inferenceJob")).keys()];
        return id && (await test.workflow(id));
      };
      await expect.poll(state).toBe("RUNNING");
      socket.ws.terminate();
      // A stream waits a while for its caller to return.
      await expect.poll(state).toBe("CANCELLED");
      expect((await test.record(id))?.outcome).toMatchObject({
        ok: false,
        error: { code: "client_cancelled" },
      });
    },
  );

  it("refuses the upgrade with 401 without a key, 404 for an unknown endpoint", async () => {
    expect(await openSocket(wsUrl(`/ws/${STUB}`)).catch((error) => error)).toMatchObject({ status: 401 });
    expect(await connect("/ws/tempera/nothing").catch((error) => error)).toMatchObject({ status: 404 });
  });
});

describe("bounds of a gateway", () => {
  it("answers an upgrade with 503 while too many sockets are open", async () => {
    const open: TestSocket[] = [];
    let refused: unknown;
    while (!refused && open.length <= SOCKETS_MAX) {
      await connect(`/ws/${STUB}`).then(
        (socket) => open.push(socket),
        (error) => {
          refused = error;
        },
      );
    }
    expect(refused).toMatchObject({ status: 503, body: { detail: expect.stringContaining("WebSockets") } });
    await Promise.all(open.map((socket) => socket[Symbol.asyncDispose]()));
    await using again = await connect();
    say(again, { prompt: "room" });
    expect(await output(again)).toMatchObject({ echo: "room" });
  });
});

describe("shutdown", () => {
  it("ends realtime sockets with 1000, upon which clients connect again, and others with 1012", async () => {
    const [framed, raw, http] = [await connect(), await connect(`/${STUB}`), await connect(`/ws/${STUB}`)];
    say(framed, { prompt: "x" });
    await output(framed);
    await test.platform.stop();
    expect((await framed.closed).code).toBe(1000);
    expect((await raw.closed).code).toBe(1012);
    expect((await http.closed).code).toBe(1012);
  });
});
