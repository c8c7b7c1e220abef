import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import { createAuthFailures } from "../auth/auth-failure-limiter.ts";
import { createBudgets } from "../limits/budgets.ts";
import { createSockets, type Sockets } from "./sockets.ts";

const GOOD = "6f1c2b3a-0000-4000-8000-00000000000a";
const idOf = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, "0")}`;
const log = { debug() {}, info() {}, warn() {}, error() {} };
const model = { endpoint: "fal-ai/stub", version: "1", realtime: false };

/** A gateway's sockets on a port, with one key and one model. */
class Gateway {
  readonly clients = new Set<Socket>();
  readonly server = createServer();
  readonly sockets: Sockets;
  /** Connections that the server has not closed. */
  readonly held = new Set<unknown>();
  /** Ends the rests of refusals under way. */
  readonly rests: (() => void)[] = [];
  /** Refusals rest until a test ends it; otherwise not at all. */
  isResting = false;
  readonly authFailures = createAuthFailures({
    rest: () => (this.isResting ? new Promise<void>((wake) => this.rests.push(wake)) : Promise.resolve()),
  });
  lookups = 0;

  constructor() {
    const api = {
      keyRing: {
        authenticate: async (header: string | undefined) => {
          this.lookups++;
          if (header === `Key ${GOOD}:secret`) {
            this.authFailures.accept(`${GOOD}:secret`);
            return { ownerId: "a", keyId: GOOD, scope: "API" };
          }
          throw new TemperaError(header === undefined ? "key_missing" : "key_unknown");
        },
      },
      tokens: {
        verify: async () => {
          this.lookups++;
          throw new TemperaError("token_invalid");
        },
      },
      registry: { route: (endpoint: string) => (endpoint === model.endpoint ? { model } : undefined) },
      log,
      bodyBytesMax: 1000,
      budgets: createBudgets(() => ({
        socketsMax: 2,
        socketsOfOwnerMax: 3,
        openCallsMax: 1,
        openCallsOfOwnerMax: 1,
        bodiesBytesMax: 1,
        bodiesBytesOfOwnerMax: 1,
        bodyBytesMax: 1000,
      })),
      trustProxy: true,
      realtime: { idleMs: 1000, sessionsMax: 1 },
    };
    const authFailures = this.authFailures;
    this.sockets = createSockets(
      { ...api, authFailures } as unknown as Parameters<typeof createSockets>[0],
      () => new Response(),
    );
    this.server.on("upgrade", this.sockets.upgrade);
    this.server.on("connection", (socket) => {
      this.held.add(socket);
      socket.once("close", () => this.held.delete(socket));
    });
  }

  /** Sends an upgrade, and keeps the connection. Resolves with the status of the answer. */
  async upgrade(path: string, from: string, authorization?: string): Promise<string> {
    // Half-open: this end goes on when the server has ended its own.
    const client = connect({ port: (this.server.address() as AddressInfo).port, allowHalfOpen: true });
    client.on("error", () => {}); // a refused connection may be reset
    this.clients.add(client);
    const head = [
      `GET ${path} HTTP/1.1`,
      "host: x",
      "connection: Upgrade",
      "upgrade: websocket",
      "sec-websocket-version: 13",
      "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
      `x-forwarded-for: 203.0.113.77, ${from}`,
      ...(authorization === undefined ? [] : [`authorization: ${authorization}`]),
    ];
    client.write(`${head.join("\r\n")}\r\n\r\n`);
    const [data] = (await once(client, "data")) as [Buffer];
    return data.toString("latin1").split("\r\n")[0]?.split(" ")[1] ?? "";
  }
}

let gateway: Gateway;
beforeEach(async () => {
  // A refused socket is cut when its caller does not answer the close in time: here, that time never comes.
  vi.useFakeTimers({ toFake: ["setTimeout"] });
  gateway = new Gateway();
  gateway.server.listen(0);
  await once(gateway.server, "listening");
});
afterEach(async () => {
  for (const client of gateway.clients) client.destroy();
  await gateway.sockets.stop();
  await new Promise((done) => gateway.server.close(done));
  vi.useRealTimers();
});

describe("upgrades that are refused", () => {
  it("leave no descriptor behind, although their callers never close", async () => {
    for (let n = 0; n < 20; n++)
      expect(await gateway.upgrade("/ws/fal-ai/stub", "192.0.2.1", n % 2 ? "Key x" : undefined)).toBe("401");
    expect(await gateway.upgrade("/nowhere", "192.0.2.1")).toBe("404");
    await expect.poll(() => gateway.held.size).toBe(0);
  });

  it("take no socket from those who have a key", async () => {
    for (let n = 0; n < 10; n++)
      expect(await gateway.upgrade("/run/fal-ai/stub/realtime", "192.0.2.1")).toBe("101");
    for (let n = 0; n < 2; n++)
      expect(await gateway.upgrade("/ws/fal-ai/stub", "192.0.2.1", `Key ${GOOD}:secret`)).toBe("101");
    expect(gateway.sockets.open).toBe(2);
    expect(await gateway.upgrade("/ws/fal-ai/stub", "192.0.2.1", `Key ${GOOD}:secret`)).toBe("503");
  });

  it("are bounded by address (a /64 of IPv6) while their sockets close, and others are served", async () => {
    const statuses: string[] = [];
    for (let n = 0; n <= LIMITS.handshakesOfAddressMax; n++)
      statuses.push(await gateway.upgrade("/run/fal-ai/stub/realtime", `2001:db8::${n.toString(16)}`));
    expect(statuses.filter((status) => status === "101")).toHaveLength(LIMITS.handshakesOfAddressMax);
    expect(statuses.at(-1)).toBe("429");
    expect(await gateway.upgrade("/run/fal-ai/stub/realtime", "2001:db8:0:1::1")).toBe("101");
  });
});

describe("keys that are guessed over WebSocket", () => {
  it.each(["/ws/fal-ai/stub", "/run/fal-ai/stub/realtime"])(
    "on %s are 429 after too many from one address, without a look-up",
    async (path) => {
      expect(await gateway.upgrade("/ws/fal-ai/stub", "192.0.2.1", `Key ${GOOD}:secret`)).toBe("101");
      for (let n = 0; n < LIMITS.authFailuresMax; n++)
        expect(await gateway.upgrade(path, "192.0.2.1", `Key ${idOf(n)}:x`)).not.toBe("429");
      gateway.lookups = 0;
      expect(await gateway.upgrade(path, "192.0.2.1", `Key ${idOf(999)}:x`)).toBe("429");
      expect(await gateway.upgrade(path, "192.0.2.1", `Key ${GOOD}:guessed`)).toBe("429");
      expect(await gateway.upgrade("/run/fal-ai/stub/realtime?fal_jwt_token=x", "192.0.2.1")).toBe("429");
      expect(gateway.lookups).toBe(0);
      expect(await gateway.upgrade("/ws/fal-ai/stub", "192.0.2.1", `Key ${GOOD}:secret`)).toBe("101");
      expect(await gateway.upgrade(path, "192.0.2.2", `Key ${idOf(1)}:x`)).not.toBe("429");
    },
  );

  it.each(["/ws/fal-ai/stub", "/run/fal-ai/stub/realtime"])("on %s are refused late", async (path) => {
    for (let n = 0; n < LIMITS.authFailuresMax; n++)
      await gateway.upgrade(path, "192.0.2.1", `Key ${idOf(n)}:x`);
    gateway.isResting = true;
    const refused = [1, 2, 3].map(() => gateway.upgrade(path, "192.0.2.1", "Key x:x"));
    await expect.poll(() => gateway.rests.length).toBe(3);
    for (const wake of gateway.rests) wake();
    expect(await Promise.all(refused)).toEqual(["429", "429", "429"]);
  });

  it("counts tokens as keys", async () => {
    for (let n = 0; n < LIMITS.authFailuresMax; n++)
      expect(await gateway.upgrade(`/run/fal-ai/stub/realtime?fal_jwt_token=${n}`, "192.0.2.1")).toBe("101");
    expect(await gateway.upgrade("/run/fal-ai/stub/realtime?fal_jwt_token=x", "192.0.2.1")).toBe("429");
  });
});
