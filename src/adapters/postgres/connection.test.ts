import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { connectPostgres, type Sql } from "./connection.ts";

const sockets: Socket[] = [];
/** Closes each connection when it asks for the types of arrays, as a server does that stops just then. */
let refusesTypes: boolean;
let server: Server;
let sql: Sql;

function message(letter: string, body: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeInt32BE(body.length + 4);
  return Buffer.concat([Buffer.from(letter), length, body]);
}

const READY = message("Z", Buffer.from("I"));
const GREETING = Buffer.concat([message("R", Buffer.alloc(4)), READY]);
const NO_ROWS = Buffer.concat([
  message("1", Buffer.alloc(0)),
  message("t", Buffer.alloc(2)),
  message("n", Buffer.alloc(0)),
  message("2", Buffer.alloc(0)),
  message("C", Buffer.from("SELECT 0\0")),
  READY,
]);

/** Speaks as much of PostgreSQL's protocol as the driver needs, and answers each query with no rows. */
beforeEach(async () => {
  refusesTypes = false;
  server = createServer((socket) => {
    let isGreeted = false;
    sockets.push(socket);
    socket.on("error", () => {});
    socket.on("data", () => {
      if (isGreeted && refusesTypes) return void socket.destroy();
      socket.write(isGreeted ? NO_ROWS : GREETING);
      isGreeted = true;
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  sql = connectPostgres(`postgres://x@127.0.0.1:${port}/x`, { maxConnections: 1 });
});
afterEach(async () => {
  await sql.end({ timeout: 0 });
  for (const socket of sockets.splice(0)) socket.destroy();
  server.close();
});

/** Resolves when the driver has seen the end of its connection. */
async function endConnection(): Promise<void> {
  const socket = sockets.at(-1) as Socket;
  const closed = once(socket, "close");
  socket.end();
  await closed;
}

// The driver is changed by patches/postgres*.patch; without that, each of these ends or stalls the process.
describe("a connection that the server has closed", () => {
  it("fails the next query of whoever has reserved it, and the process goes on", async () => {
    const reserved = await sql.reserve();
    await endConnection();
    await expect(reserved`select 1`.execute()).rejects.toMatchObject({ code: "CONNECTION_CLOSED" });
    reserved.release();
  });

  it("fails the transaction that was on it, and is opened again for the next query", async () => {
    const transaction = sql.begin(async (own) => {
      await endConnection();
      await own`select 1`;
    });
    await expect(transaction).rejects.toMatchObject({ code: "CONNECTION_CLOSED" });
    expect(await sql`select 1`).toHaveLength(0);
  });

  it("leaves no rejection unhandled when the driver was reading types for itself", async () => {
    const unhandled = vi.fn();
    process.prependListener("unhandledRejection", unhandled);
    refusesTypes = true;
    sql.reserve().catch(() => {});
    while (sockets.length < 2) await once(server, "connection");
    expect(unhandled).not.toHaveBeenCalled();
    process.removeListener("unhandledRejection", unhandled);
  });
});
