/** Cases J: realtime and WebSocket. */

import { setTimeout as sleep } from "node:timers/promises";
import { createFalClient } from "@fal-ai/client";
import { decode, encode } from "@msgpack/msgpack";
import { WebSocket } from "ws";
import type { Case } from "../case.ts";
import { type Context, STUB } from "../context.ts";
import { check, detail, matches, same, status } from "../expect.ts";
import type { Json } from "../http.ts";

const wsUrl = (ctx: Context, path: string): string => ctx.url.replace(/^http/, "ws") + path;

interface Socket extends AsyncDisposable {
  ws: WebSocket;
  /** Waits for the next message: text unchanged, bytes as a Buffer. */
  next(): Promise<string | Buffer>;
  /** Waits for the next message other than `x-fal-message`, decoded. */
  output(): Promise<Json>;
  closed: Promise<number>;
}

function connect(ctx: Context, path: string, { key = true }: { key?: boolean } = {}): Promise<Socket> {
  const ws = new WebSocket(wsUrl(ctx, path), key ? { headers: { authorization: `Key ${ctx.key}` } } : {});
  const messages: (string | Buffer)[] = [];
  let wake = (): void => {};
  let over = false;
  ws.on("message", (data, isBinary) => {
    messages.push(isBinary ? (data as Buffer) : String(data));
    wake();
  });
  const closed = new Promise<number>((done) =>
    ws.once("close", (code) => {
      over = true;
      wake();
      done(code);
    }),
  );
  const socket: Socket = {
    ws,
    closed,
    async next() {
      for (;;) {
        const message = messages.shift();
        if (message !== undefined) return message;
        check(!over, "the socket closed without another message");
        await new Promise<void>((arrived) => {
          wake = arrived;
        });
      }
    },
    async output() {
      for (;;) {
        const message = await socket.next();
        const value = typeof message === "string" ? JSON.parse(message) : decode(message);
        if (value.type !== "x-fal-message") return value;
      }
    },
    async [Symbol.asyncDispose]() {
      if (ws.readyState === WebSocket.OPEN) ws.close();
      await closed;
    },
  };
  return new Promise((done, fail) => {
    ws.once("open", () => done(socket));
    ws.once("error", fail);
  });
}

const token = async (ctx: Context, apps: string[], seconds = 60): Promise<string> =>
  (
    await ctx.call("/rest/tokens/", {
      method: "POST",
      body: { allowed_apps: apps, token_expiration: seconds },
    })
  ).json();

/** Creates a token that has expired. */
async function expiredToken(ctx: Context, apps: string[]): Promise<string> {
  const jwt = await token(ctx, apps, 1);
  const { exp } = JSON.parse(Buffer.from(jwt.split(".")[1] ?? "", "base64url").toString());
  // One second is added, since the server may run on another machine's clock.
  await sleep(Math.max(0, exp * 1000 + 1_000 - Date.now()));
  return jwt;
}

/**
 * Checks that the socket is opened and then refused in the form that the JavaScript client understands: one
 * text message and a clean close (contract §5.3).
 */
async function checkRefused(ctx: Context, jwt: string, what: string): Promise<void> {
  await using socket = await connect(ctx, `/${STUB}/realtime?fal_jwt_token=${jwt}`, { key: false });
  const said = await socket.next();
  check(typeof said === "string", `${what}: the first message is not text`);
  same(JSON.parse(said), { status: "error", error: "Unauthorized" }, `${what}: the message`);
  same(await socket.closed, 1000, `${what}: the close code`);
}

/**
 * Directs the JavaScript client's sockets to the tested server; restores the global afterwards.
 */
async function withSockets<T>(
  ctx: Context,
  work: (opened: string[], sockets: WebSocket[]) => Promise<T>,
): Promise<T> {
  const opened: string[] = [];
  const sockets: WebSocket[] = [];
  const scope = globalThis as { WebSocket?: unknown };
  const before = scope.WebSocket;
  scope.WebSocket = class extends WebSocket {
    constructor(url: string) {
      opened.push(url);
      super(url.replace("wss://fal.run", wsUrl(ctx, "/run")));
      sockets.push(this);
    }
  };
  try {
    return await work(opened, sockets);
  } finally {
    // The client uses the global until its last socket has closed.
    await Promise.all(
      sockets.map(
        (ws) => ws.readyState === WebSocket.CLOSED || new Promise((done) => ws.once("close", done)),
      ),
    );
    scope.WebSocket = before;
  }
}

/** Opens a connection of the JavaScript client whose outputs are awaited one by one. */
function realtimeOf(ctx: Context, options: { tokenProvider?: () => Promise<string> } = {}) {
  const fal = createFalClient({
    credentials: ctx.key,
    proxyUrl: { url: `${ctx.url}/api/fal/proxy`, when: "always" },
  });
  let arrived = (_: Json): void => {};
  const errors: Error[] = [];
  const connection = fal.realtime.connect(STUB, {
    throttleInterval: 0,
    ...options,
    onResult: (result: Json) => arrived(result),
    onError: (error) => {
      errors.push(error);
      arrived(error);
    },
  });
  const ask = (input: Json): Promise<Json> =>
    new Promise((done) => {
      arrived = done;
      connection.send(input);
    });
  return { connection, ask, errors };
}

export const cases: Case[] = [
  {
    number: 103,
    title: "POST /tokens/: a JSON string, 120 s by default; a bad key is a 401",
    async run(ctx) {
      const jwt = status(
        await ctx.call("/rest/tokens/", { method: "POST", body: { allowed_apps: ["stub"] } }),
        200,
        "the token",
      ).json();
      matches(jwt, /^[\w-]+\.[\w-]+\.[\w-]+$/, "the token");
      const { exp, iat } = JSON.parse(Buffer.from(jwt.split(".")[1], "base64url").toString());
      same(exp - iat, 120, "its life in seconds");
      detail(
        status(
          await ctx.call("/rest/tokens/", {
            method: "POST",
            body: { allowed_apps: ["stub"] },
            key: `${crypto.randomUUID()}:x`,
          }),
          401,
          "a bad key",
        ),
        "401",
      );
    },
  },
  {
    number: 104,
    title: "/tokens without a slash, and /tokens/realtime",
    async run(ctx) {
      for (const path of ["/rest/tokens", "/rest/tokens/realtime"]) {
        const body = status(
          await ctx.call(path, { method: "POST", body: { allowed_apps: [STUB] } }),
          200,
          path,
        ).json();
        matches(typeof body === "string" ? body : body.token, /^[\w-]+\.[\w-]+\.[\w-]+$/, path);
      }
    },
  },
  {
    number: 105,
    title: "JS realtime echoes msgpack, byte arrays included",
    alone: true,
    run: (ctx) =>
      withSockets(ctx, async () => {
        const { connection, ask, errors } = realtimeOf(ctx);
        const bytes = new Uint8Array(1000).map((_, i) => i);
        const { echo } = await ask({ payload: { image: bytes } });
        check(Buffer.from(echo.image).equals(Buffer.from(bytes)), "the bytes are not the same");
        connection.close();
        same(errors.length, 0, "errors");
      }),
  },
  {
    number: 106,
    title: "PY realtime with a JWT and without",
    needs: ["tls"],
    async run(ctx) {
      for (const use_jwt of [true, false])
        same(
          (await ctx.python("realtime", { endpoint: STUB, use_jwt })).answer.echo,
          "hello",
          `use_jwt=${use_jwt}`,
        );
    },
  },
  {
    number: 107,
    title: "PY accepts an id that ends in /realtime",
    needs: ["tls"],
    run: async (ctx) =>
      same(
        (await ctx.python("realtime", { endpoint: `${STUB}/realtime`, use_jwt: true })).answer.echo,
        "hello",
        "the answer",
      ),
  },
  {
    number: 108,
    title: "a custom realtime path",
    needs: ["tls"],
    run: async (ctx) =>
      same(
        (await ctx.python("realtime", { endpoint: STUB, use_jwt: true, path: "/custom" })).answer.echo,
        "hello",
        "the answer",
      ),
  },
  {
    number: 109,
    title: "x-fal-message frames are sent, and clients do not surface them",
    alone: true,
    run: (ctx) =>
      withSockets(ctx, async () => {
        const { connection, ask } = realtimeOf(ctx);
        for (const prompt of ["a", "b", "c"]) same((await ask({ prompt })).echo, prompt, "the answer");
        connection.close();
        await using socket = await connect(ctx, `/${STUB}/realtime`);
        socket.ws.send(encode({ prompt: "x" }));
        let sent = false;
        for (let i = 0; i < 2; i++) {
          const message = await socket.next();
          sent ||= typeof message === "string" && message.includes("x-fal-message");
        }
        check(sent, "no x-fal-message was sent beside the answer");
      }),
  },
  {
    number: 110,
    title: "an exception: INTERNAL_ERROR in JS, RealtimeError in PY",
    alone: true,
    needs: ["tls"],
    async run(ctx) {
      await withSockets(ctx, async () => {
        const { ask } = realtimeOf(ctx);
        matches((await ask({ fail: "error" })).message, /^INTERNAL_ERROR: /, "JS's error");
      });
      same((await ctx.python("realtime_failure")).kind, "RealtimeError", "what PY raised");
    },
  },
  {
    number: 111,
    title: "idle: TIMEOUT and 1000; JS's next send connects again without an error",
    alone: true,
    needs: ["ownServer"],
    async run(ctx) {
      await using socket = await connect(ctx, `/${STUB}/realtime`);
      socket.ws.send(encode({ prompt: "x" }));
      await socket.output();
      const last = await socket.output();
      same([last.type, last.error], ["x-fal-error", "TIMEOUT"], "the last message");
      same(await socket.closed, 1000, "the close code");
      await withSockets(ctx, async (opened, sockets) => {
        const { connection, ask, errors } = realtimeOf(ctx);
        same((await ask({ prompt: "one" })).echo, "one", "the first answer");
        await new Promise((done) => sockets[0]?.once("close", done));
        same((await ask({ prompt: "two" })).echo, "two", "the second answer");
        same([opened.length, errors.length], [2, 0], "sockets and errors");
        connection.close();
      });
    },
  },
  {
    number: 112,
    title: "an expired token: Unauthorized; JS fetches another and continues",
    alone: true,
    async run(ctx) {
      const app = `${STUB}/realtime`;
      const [expired, fresh] = [await expiredToken(ctx, [app]), await token(ctx, [app])];
      await checkRefused(ctx, expired, "an expired token");
      await checkRefused(ctx, "not.a.token", "what is no token");
      await withSockets(ctx, async (opened, sockets) => {
        const tokens = [expired, fresh];
        const { connection, ask, errors } = realtimeOf(ctx, {
          tokenProvider: async () => tokens.shift() ?? "",
        });
        connection.send({ prompt: "refused" } as never);
        while (sockets.length === 0) await new Promise(setImmediate);
        await new Promise((done) => sockets[0]?.once("close", done));
        same((await ask({ prompt: "taken" })).echo, "taken", "the answer");
        same(
          opened.map((url) => new URL(url).searchParams.get("fal_jwt_token")),
          [expired, fresh],
          "the tokens that JS came with",
        );
        same(errors.length, 0, "errors");
        connection.close();
      });
    },
  },
  {
    number: 113,
    title: "a token for another app is refused",
    async run(ctx) {
      await checkRefused(ctx, await token(ctx, ["other"]), "a token for another app");
      // A token for this app is accepted in the same way, so the other one was refused because of its app.
      await using socket = await connect(ctx, `/${STUB}/realtime?fal_jwt_token=${await token(ctx, [STUB])}`, {
        key: false,
      });
      socket.ws.send(encode({ prompt: "taken" }));
      same((await socket.output()).echo, "taken", "the answer to the right token");
    },
  },
  {
    number: 114,
    title: "max_buffering=2 with a slow app: only the newest inputs are kept",
    async run(ctx) {
      await using socket = await connect(ctx, `/${STUB}/realtime?max_buffering=2`);
      socket.ws.send(encode({ prompt: "ready" }));
      await socket.output();
      await socket.next();
      for (let i = 1; i <= 8; i++) socket.ws.send(encode({ prompt: String(i), delay_ms: 400 }));
      const answers = [
        (await socket.output()).echo,
        (await socket.output()).echo,
        (await socket.output()).echo,
      ];
      same(answers.slice(-2), ["7", "8"], "the last answers");
    },
  },
  {
    number: 115,
    title: "a close without a code is answered with 1000",
    async run(ctx) {
      const socket = await connect(ctx, `/${STUB}/realtime`);
      socket.ws.close();
      same(await socket.closed, 1000, "the close code");
      await withSockets(ctx, async (_, sockets) => {
        const { connection, ask, errors } = realtimeOf(ctx);
        await ask({ prompt: "x" });
        const closed = new Promise<number>((done) => sockets[0]?.once("close", done));
        connection.close();
        same(await closed, 1000, "the code that JS is sent");
        same(errors.length, 0, "errors of JS");
      });
    },
    alone: true,
  },
  {
    number: 116,
    title: "text JSON is accepted as well as msgpack",
    async run(ctx) {
      await using socket = await connect(ctx, `/${STUB}/realtime`);
      socket.ws.send(JSON.stringify({ prompt: "text" }));
      same((await socket.output()).echo, "text", "the answer to text");
      socket.ws.send(encode({ prompt: "bytes" }));
      same((await socket.output()).echo, "bytes", "the answer to msgpack");
    },
  },
  {
    number: 117,
    title: "PY ws_connect passes frames untouched",
    needs: ["tls"],
    run: async (ctx) =>
      same(await ctx.python("raw_socket"), { text: "text as it is", bytes: "AAE=" }, "what came back"),
  },
  {
    number: 118,
    title: "HTTP over WebSocket: start, body, end; two payloads; a stream's frames",
    async run(ctx) {
      const exchange = async (socket: Socket): Promise<{ start: Json; bodies: Json[]; end: Json }> => {
        const start = JSON.parse(String(await socket.next()));
        const bodies: Json[] = [];
        for (;;) {
          const frame = JSON.parse(String(await socket.next()));
          if (frame.type === "end" && frame.request_id) return { start, bodies, end: frame };
          bodies.push(frame);
        }
      };
      await using socket = await connect(ctx, `/ws/${STUB}`);
      socket.ws.send(JSON.stringify({ prompt: "first" }));
      socket.ws.send(JSON.stringify({ prompt: "second" }));
      for (const echo of ["first", "second"]) {
        const { start, bodies, end } = await exchange(socket);
        same(
          [start.type, start.status, bodies.length, bodies[0].echo, end.status],
          ["start", 200, 1, echo, 200],
          "the frames",
        );
      }
      await using streamed = await connect(ctx, `/ws/${STUB}/stream`);
      streamed.ws.send(JSON.stringify({ prompt: "third", delay_ms: 50, steps: 3 }));
      const { bodies } = await exchange(streamed);
      check(bodies.length > 1, `${bodies.length} body frames of a stream`);
      same(bodies.at(-1).echo, "third", "the last frame");
    },
  },
];
